//! Normalisation and its gradients.

use std::mem::MaybeUninit;
use std::ops::Range;

use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;

use super::tensors::{Contiguous, filled, set, tensor, timed_as, values};
use crate::kernels::norm::{self, Gradients, Norm, NormSizes, Statistics};
use crate::ops::{NormCall, SavedNorm};
use crate::profile::{Kind, Pass};

/// Maps of one size.
struct Part<'a> {
    norm: Norm<'a>,
    /// Where their values are.
    values: Range<usize>,
    /// Where the sets that are normalised together are.
    sets: Range<usize>,
}

/// The maps of each size.
fn parts<'a>(call: &NormCall, weight: &'a [f32], bias: &'a [f32]) -> Vec<Part<'a>> {
    let (mut at, mut set) = (0, 0);
    let part = |&[batch, channels, height, width]: &[usize; 4]| {
        let sizes = NormSizes {
            batch,
            channels,
            pixels: height * width,
            over: call.over,
        };
        let part = Part {
            norm: Norm {
                sizes,
                gamma: weight,
                beta: bias,
                epsilon: call.epsilon,
                activation: call.activation,
            },
            values: at..at + sizes.len(),
            sets: set..set + sizes.sets(),
        };
        (at, set) = (part.values.end, part.sets.end);
        part
    };
    call.maps.iter().map(part).collect()
}

/// Number of sets, once the maps are known to be all of `x`.
fn expect(parts: &[Part<'_>], x: &Contiguous) -> usize {
    let last = parts.last();
    let values = last.map_or(0, |part| part.values.end);
    assert_eq!(values, x.values().len(), "values of normalised maps");
    last.map_or(0, |part| part.sets.end)
}

/// The normalised maps, and mean and variance of each set, `[sets, 2]`.
pub(super) fn forward(tensors: [FlexTensor; 3], call: &NormCall) -> (FlexTensor, FlexTensor) {
    let [x, weight, bias] = tensors.map(Contiguous::new);
    let parts = parts(call, weight.values(), bias.values());
    let sets = expect(&parts, &x);
    timed_as(Kind::Norm, Pass::Forward, call.layer, || {
        let mut statistics = Vec::with_capacity(sets);
        let y = filled(x.0.shape(), |out| {
            let room = &mut statistics.spare_capacity_mut()[..sets];
            for part in &parts {
                let (x, out) = (
                    &x.values()[part.values.clone()],
                    &mut out[part.values.clone()],
                );
                norm::forward(set(), &part.norm, x, out, &mut room[part.sets.clone()]);
            }
        });
        // SAFETY: the kernel writes the statistics of each set.
        unsafe { statistics.set_len(sets) };
        let flat = statistics
            .iter()
            .flat_map(|s: &Statistics| [s.mean, s.variance]);
        (y, tensor(flat.collect(), [sets, 2]))
    })
}

/// The gradients of the maps, if they are needed, the weight and the bias.
pub(super) fn backward(
    saved: SavedNorm<FlexTensor>,
    grad: FlexTensor,
    call: &NormCall,
    needs_x: bool,
) -> [Option<FlexTensor>; 3] {
    let [x, weight, bias] = [saved.x, saved.weight, saved.bias].map(Contiguous::new);
    let grad = Contiguous::new(grad);
    let pairs = saved.statistics.storage::<f32>().chunks_exact(2);
    let statistics = pairs.map(|pair| Statistics {
        mean: pair[0],
        variance: pair[1],
    });
    let statistics: Vec<_> = statistics.collect();
    let parts = parts(call, weight.values(), bias.values());
    assert_eq!(expect(&parts, &x), statistics.len(), "sets of a norm");
    assert_eq!(grad.values().len(), x.values().len(), "gradient of a norm");
    let channels = weight.values().len();
    timed_as(Kind::Norm, Pass::Backward, call.layer, || {
        let mut sums = [vec![0.0f32; channels], vec![0.0f32; channels]];
        let mut all = |mut of_x: Option<&mut [MaybeUninit<f32>]>| {
            for part in &parts {
                let of_x = of_x.as_mut().map(|x| &mut x[part.values.clone()]);
                let (x, grad) = (x.values(), grad.values());
                let (x, grad) = (&x[part.values.clone()], &grad[part.values.clone()]);
                let statistics = &statistics[part.sets.clone()];
                let mut of_bias = Vec::new();
                let of_weight = values(channels, |gamma| {
                    of_bias = values(channels, |beta| {
                        let to = Gradients {
                            x: of_x,
                            gamma,
                            beta,
                        };
                        norm::backward(set(), &part.norm, x, statistics, grad, to);
                    });
                });
                for (sums, found) in sums.iter_mut().zip([of_weight, of_bias]) {
                    sums.iter_mut()
                        .zip(found)
                        .for_each(|(sum, found)| *sum += found);
                }
            }
        };
        let of_x = match needs_x {
            true => Some(filled(x.0.shape(), |out| all(Some(out)))),
            false => {
                all(None);
                None
            }
        };
        let [of_weight, of_bias] = sums.map(|sums| Some(tensor(sums, [channels])));
        [of_x, of_weight, of_bias]
    })
}
