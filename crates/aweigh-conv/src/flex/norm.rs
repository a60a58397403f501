//! Group normalisation and its gradients.

use std::mem::MaybeUninit;
use std::ops::Range;

use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;

use super::tensors::{Contiguous, filled, set, tensor, timed_as, values};
use crate::kernels::group_norm::{self, Gradients, GroupNorm, NormSizes, Statistics};
use crate::ops::{GroupNormCall, SavedGroupNorm};
use crate::profile::{Kind, Pass};

/// Maps of one size.
struct Part<'a> {
    norm: GroupNorm<'a>,
    /// Where their values are.
    values: Range<usize>,
    /// Where their groups are.
    groups: Range<usize>,
}

/// The maps of each size.
fn parts<'a>(call: &GroupNormCall, weight: &'a [f32], bias: &'a [f32]) -> Vec<Part<'a>> {
    let (mut at, mut group) = (0, 0);
    let part = |&[batch, channels, height, width]: &[usize; 4]| {
        let groups = call.options.groups;
        let pixels = height * width;
        let part = Part {
            norm: GroupNorm {
                sizes: NormSizes {
                    batch,
                    channels,
                    pixels,
                    groups,
                },
                gamma: weight,
                beta: bias,
                epsilon: call.options.epsilon,
                activation: call.options.activation,
            },
            values: at..at + batch * channels * pixels,
            groups: group..group + batch * groups,
        };
        (at, group) = (part.values.end, part.groups.end);
        part
    };
    call.maps.iter().map(part).collect()
}

/// Number of groups, once the maps are known to be all of `x`.
fn expect(parts: &[Part<'_>], x: &Contiguous) -> usize {
    let last = parts.last();
    let values = last.map_or(0, |part| part.values.end);
    assert_eq!(values, x.values().len(), "values of normalised maps");
    last.map_or(0, |part| part.groups.end)
}

/// The normalised maps, and mean and inverse deviation of each group, `[groups, 2]`.
pub(super) fn forward(tensors: [FlexTensor; 3], call: &GroupNormCall) -> [FlexTensor; 2] {
    let [x, weight, bias] = tensors.map(Contiguous::new);
    let parts = parts(call, weight.values(), bias.values());
    let groups = expect(&parts, &x);
    timed_as(Kind::Norm, Pass::Forward, call.options.layer, || {
        let mut statistics = Vec::with_capacity(groups);
        let y = filled(x.0.shape(), |out| {
            let room = &mut statistics.spare_capacity_mut()[..groups];
            for part in &parts {
                let (x, out) = (
                    &x.values()[part.values.clone()],
                    &mut out[part.values.clone()],
                );
                group_norm::forward(set(), &part.norm, x, out, &mut room[part.groups.clone()]);
            }
        });
        // SAFETY: the kernel writes the statistics of each group.
        unsafe { statistics.set_len(groups) };
        let flat = statistics
            .iter()
            .flat_map(|s: &Statistics| [s.mean, s.rstd]);
        [y, tensor(flat.collect(), [groups, 2])]
    })
}

/// The gradients of the maps, if they are needed, the weight and the bias.
pub(super) fn backward(
    saved: SavedGroupNorm<FlexTensor>,
    grad: FlexTensor,
    call: &GroupNormCall,
    needs_x: bool,
) -> [Option<FlexTensor>; 3] {
    let [x, weight, bias] = [saved.x, saved.weight, saved.bias].map(Contiguous::new);
    let grad = Contiguous::new(grad);
    let pairs = saved.statistics.storage::<f32>().chunks_exact(2);
    let statistics = pairs.map(|pair| Statistics {
        mean: pair[0],
        rstd: pair[1],
    });
    let statistics: Vec<_> = statistics.collect();
    let parts = parts(call, weight.values(), bias.values());
    assert_eq!(expect(&parts, &x), statistics.len(), "groups");
    assert_eq!(grad.values().len(), x.values().len(), "gradient of a norm");
    let channels = weight.values().len();
    timed_as(Kind::Norm, Pass::Backward, call.options.layer, || {
        let mut sums = [vec![0.0f32; channels], vec![0.0f32; channels]];
        let mut all = |mut of_x: Option<&mut [MaybeUninit<f32>]>| {
            for part in &parts {
                let of_x = of_x.as_mut().map(|x| &mut x[part.values.clone()]);
                let (x, grad) = (x.values(), grad.values());
                let (x, grad) = (&x[part.values.clone()], &grad[part.values.clone()]);
                let statistics = &statistics[part.groups.clone()];
                let mut of_bias = Vec::new();
                let of_weight = values(channels, |gamma| {
                    of_bias = values(channels, |beta| {
                        let to = Gradients {
                            x: of_x,
                            gamma,
                            beta,
                        };
                        group_norm::backward(set(), &part.norm, x, statistics, grad, to);
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
