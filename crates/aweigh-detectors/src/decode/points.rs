//! The points that predict an object, read back from the device.

use burn::tensor::{Int, Tensor, TensorData, Transaction};

use super::Branch;

/// How far below the logit of the threshold a logit may lie whose sigmoid, rounded, is still above
/// the threshold; in units of probability and of the logit.
const ROUNDING: f64 = 1e-6;

/// What some points of an image predict.
pub(super) struct Selected {
    /// Index of each point among all points of the image, ascending.
    pub(super) indices: Vec<usize>,
    /// `[C, N]`
    logits: Vec<f32>,
    /// `[V, N]`
    values: Vec<f32>,
}

impl Selected {
    /// The logits of a class, `[N]`.
    pub(super) fn logits(&self, class: usize) -> &[f32] {
        row(&self.logits, class, self.indices.len())
    }

    /// Number of classes, C.
    pub(super) fn classes(&self) -> usize {
        rows(&self.logits, self.indices.len())
    }

    /// What the point of an index in `indices` predicts, `[V]`.
    pub(super) fn values(&self, index: usize) -> impl Iterator<Item = f32> {
        let count = self.indices.len();
        let channels = 0..rows(&self.values, count);
        channels.map(move |channel| row(&self.values, channel, count)[index])
    }
}

fn rows(values: &[f32], count: usize) -> usize {
    values.len().checked_div(count).unwrap_or(0)
}

fn row(values: &[f32], index: usize, count: usize) -> &[f32] {
    &values[index * count..(index + 1) * count]
}

/// The logit that no score above `threshold` is below.
pub(super) fn lowest_logit(threshold: f32) -> f32 {
    let probability = f64::from(threshold) - ROUNDING;
    if probability <= 0.0 {
        return f32::NEG_INFINITY;
    }
    ((probability / (1.0 - probability)).ln() - ROUNDING) as f32
}

/// For each branch and image, the points with a score that may be above `threshold`.
///
/// Waits for the device twice: the best logit of every point is a small part of what was
/// predicted, and so is what the points with a good one predict.
pub(super) fn read(branches: &[Branch<'_>], threshold: f32) -> Vec<Vec<Selected>> {
    let chosen = choose(branches, threshold);
    let maps = branches.iter().zip(&chosen).flat_map(|(branch, images)| {
        // Not every device has tensors without elements.
        let images = images.iter().enumerate().filter(|(_, i)| !i.is_empty());
        images.flat_map(|(image, indices)| select(branch, image, indices))
    });
    let mut read = synchronise(maps.collect()).into_iter();
    let mut next = |indices: &[usize]| {
        let present = !indices.is_empty();
        let map = present.then(|| read.next().expect("one result for each map"));
        map.unwrap_or_default()
    };
    let mut selected = |indices: Vec<usize>| Selected {
        logits: next(&indices),
        values: next(&indices),
        indices,
    };
    let of_branch = |images: Vec<Vec<usize>>| images.into_iter().map(&mut selected).collect();
    chosen.into_iter().map(of_branch).collect()
}

/// For each branch and image, the indices of the points with a score that may be above `threshold`.
fn choose(branches: &[Branch<'_>], threshold: f32) -> Vec<Vec<Vec<usize>>> {
    let lowest = lowest_logit(threshold);
    // Not a number is no reason to leave a point out: another class of it may be a number.
    let good = |logit: f32| logit >= lowest || logit.is_nan();
    let of_image = |best: &[f32]| (0..best.len()).filter(|i| good(best[*i])).collect();
    let best = branches.iter().map(|b| b.logits.clone().max_dim(1)); // [B, 1, P]
    let of_branch = |(best, branch): (Vec<f32>, &Branch<'_>)| {
        let [_, _, points] = branch.logits.dims();
        best.chunks(points).map(of_image).collect()
    };
    let best = synchronise(best.collect()).into_iter();
    best.zip(branches).map(of_branch).collect()
}

/// What points of one image predict: logits `[C, N]` and values `[V, N]`.
fn select(branch: &Branch<'_>, image: usize, indices: &[usize]) -> [Tensor<2>; 2] {
    let indices: Vec<i64> = indices.iter().map(|index| *index as i64).collect();
    let count = indices.len();
    let indices = TensorData::new(indices, [count]);
    let indices = Tensor::<1, Int>::from_data(indices, &branch.logits.device());
    [&branch.logits, &branch.values].map(|map| {
        let of_image = map.clone().narrow(0, image, 1).squeeze_dim::<2>(0);
        of_image.select(1, indices.clone())
    })
}

/// Reads several tensors with one synchronisation.
fn synchronise<const D: usize>(tensors: Vec<Tensor<D>>) -> Vec<Vec<f32>> {
    if tensors.is_empty() {
        return Vec::new();
    }
    let transaction = tensors
        .into_iter()
        .fold(Transaction::default(), |t, map| t.register(map));
    let read = transaction.execute().into_iter();
    read.map(|data| data.iter::<f32>().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::sigmoid;

    #[test]
    fn no_score_above_the_threshold_has_a_lower_logit() {
        for threshold in [0.0, 1e-7, 1e-3, 0.05, 0.3, 0.5, 0.9, 0.999, 0.999_999, 1.0] {
            let lowest = lowest_logit(threshold);
            // The nearest logits below.
            let mut below = lowest;
            for _ in 0..10_000 {
                below = below.next_down();
                let score = sigmoid(below);
                assert!(score <= threshold, "{below}: {score} > {threshold}");
            }
            assert!(sigmoid(lowest - 0.1) <= threshold);
        }
    }

    #[test]
    fn the_lowest_logit_is_close_to_that_of_the_threshold() {
        for threshold in [0.01_f32, 0.05, 0.5, 0.99] {
            let logit = (threshold / (1.0 - threshold)).ln();
            let distance = logit - lowest_logit(threshold);
            assert!(distance > 0.0 && distance < 1e-3, "{threshold}: {distance}");
        }
    }
}
