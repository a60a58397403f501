//! Sums of gradients over all processes.
//!
//! Gradients travel in buckets, long enough that the time of a message counts for little and short
//! enough that one is on its way while the next is read back from the device.

use std::collections::VecDeque;

use aweigh_distributed::ProcessGroup;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData, Transaction};

/// Adds up the gradients of `model` over all processes, and the `scalars` of the step, each `[1]`.
///
/// A bucket has so many values, or one parameter more. The first one has the scalars, and which
/// parameters have a gradient: one without keeps being without.
pub(crate) fn sum_gradients<M: Module>(
    group: &dyn ProcessGroup,
    model: &M,
    gradients: GradientsParams,
    scalars: &mut [(String, Tensor<1>)],
    bucket_values: usize,
) -> GradientsParams {
    let mut taken = Take {
        gradients,
        slots: Vec::new(),
    };
    model.visit(&mut taken);
    let mut slots = taken.slots;
    let ends = bucket_ends(slots.iter().map(|slot| slot.values), bucket_values);
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let buckets: Vec<_> = starts.zip(ends.iter().copied()).collect();
    let mut sums =
        VecDeque::from(
            group.sum(1 + buckets.len(), &mut |index| match index.checked_sub(1) {
                None => header(scalars, &slots),
                Some(bucket) => {
                    let (start, end) = buckets[bucket];
                    read(&mut slots[start..end])
                }
            }),
        );
    let header = sums.pop_front().expect("the first bucket");
    let (of_scalars, present) = header.split_at(scalars.len());
    for ((_, scalar), sum) in scalars.iter_mut().zip(of_scalars) {
        *scalar = Tensor::from_floats([*sum], &scalar.device());
    }
    let mut put = Put {
        gradients: GradientsParams::new(),
        present: present.iter().copied(),
        sums,
        used: 0,
    };
    model.visit(&mut put);
    put.gradients
}

/// A parameter that is trained.
struct Slot {
    values: usize,
    /// Its gradient, `[N]`, if it has one that is not read yet.
    gradient: Option<Tensor<1>>,
}

/// The ends of runs of parameters, each run with at least `limit` values but for the last one.
fn bucket_ends(sizes: impl ExactSizeIterator<Item = usize>, limit: usize) -> Vec<usize> {
    let count = sizes.len();
    let (mut ends, mut values) = (Vec::new(), 0);
    for (index, size) in sizes.enumerate() {
        values += size;
        if values >= limit || index + 1 == count {
            ends.push(index + 1);
            values = 0;
        }
    }
    ends
}

/// The scalars, then 1 for each parameter with a gradient and 0 for others.
fn header(scalars: &[(String, Tensor<1>)], slots: &[Slot]) -> Vec<f32> {
    let present = |slot: &Slot| f32::from(u8::from(slot.gradient.is_some()));
    let mut header = read_back(scalars.iter().map(|(_, scalar)| scalar.clone()));
    header.extend(slots.iter().map(present));
    header
}

/// The gradients of some parameters, one after the other; zeros for those that are absent.
fn read(slots: &mut [Slot]) -> Vec<f32> {
    let device = slots
        .iter()
        .find_map(|slot| Some(slot.gradient.as_ref()?.device()));
    let Some(device) = device else {
        return vec![0.0; slots.iter().map(|slot| slot.values).sum()];
    };
    read_back(slots.iter_mut().map(|slot| {
        let zeros = || Tensor::zeros([slot.values], &device);
        slot.gradient.take().unwrap_or_else(zeros)
    }))
}

/// The values of tensors `[N]`, which are read from their device at once.
fn read_back(tensors: impl Iterator<Item = Tensor<1>>) -> Vec<f32> {
    let all = tensors.fold(Transaction::default(), Transaction::register);
    let mut values = Vec::new();
    for data in all.execute() {
        values.extend_from_slice(data.as_slice::<f32>().expect("gradients are f32"));
    }
    values
}

/// Takes the gradient of each parameter that is trained, flattened.
struct Take {
    gradients: GradientsParams,
    slots: Vec<Slot>,
}

impl ModuleVisitor for Take {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        let gradient = self.gradients.remove::<D>(param.id);
        self.slots.push(Slot {
            values: param.lazy_shape().num_elements(),
            gradient: gradient.map(|gradient| gradient.reshape([-1])),
        });
    }
}

/// Gives each parameter its sum.
struct Put<P> {
    gradients: GradientsParams,
    /// Of each parameter in how many processes it has a gradient.
    present: P,
    sums: VecDeque<Vec<f32>>,
    /// Values of the first bucket that are given.
    used: usize,
}

impl<P: Iterator<Item = f32>> ModuleVisitor for Put<P> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        let id: ParamId = param.id;
        let (shape, device): (_, Device) = (param.lazy_shape(), param.lazy_device().inner());
        let bucket = self.sums.front().expect("a bucket for every parameter");
        let end = self.used + shape.num_elements();
        let values = bucket[self.used..end].to_vec();
        self.used = end;
        if end == bucket.len() {
            self.sums.pop_front();
            self.used = 0;
        }
        if self.present.next().expect("a flag for every parameter") > 0.0 {
            let sum = Tensor::from_data(TensorData::new(values, shape), &device);
            self.gradients.register::<D>(id, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_distributed::Alone;
    use burn::nn::{Linear, LinearConfig};

    #[test]
    fn buckets_have_enough_values_and_leave_no_parameter_out() {
        let check = |sizes: &[usize], limit, expected: &[usize]| {
            let ends = bucket_ends(sizes.iter().copied(), limit);
            assert_eq!(ends, expected, "{sizes:?} {limit}");
        };
        check(&[], 4, &[]);
        check(&[1, 2, 3], 4, &[3]);
        check(&[1, 3, 3], 4, &[2, 3]);
        check(&[9, 1, 9], 4, &[1, 3]);
        check(&[4, 4], 4, &[1, 2]);
    }

    /// A layer with a gradient for its weight and none for its bias.
    #[test]
    fn one_process_gets_its_gradients_and_scalars_back() {
        let device = Device::flex().autodiff();
        for bucket_values in [1, 100] {
            let layer: Linear = LinearConfig::new(2, 2).init(&device);
            let (weight, bias) = (layer.weight.id, layer.bias.as_ref().unwrap().id);
            let expected = [[1.0_f32, 2.0], [3.0, 4.0]];
            let mut gradients = GradientsParams::new();
            let inner = device.clone().inner();
            gradients.register(weight, Tensor::<2>::from_floats(expected, &inner));
            let mut scalars = [("loss".to_owned(), Tensor::from_floats([5.0], &inner))];
            let sums = sum_gradients(&Alone, &layer, gradients, &mut scalars, bucket_values);
            let sum = sums.get::<2>(weight).unwrap().into_data();
            assert_eq!(sum, TensorData::from(expected));
            assert!(sums.get::<1>(bias).is_none());
            assert_eq!(scalars[0].1.clone().into_scalar::<f32>(), 5.0);
        }
    }
}
