//! The size of the network's input and its levels, from the sizes of images and boxes.

use aweigh_data::CocoDataset;

use super::network::Network;
use crate::TrainError;
use crate::config::{Backend, Experiment};
use crate::statistics::{Census, Quantiles, Statistics};

/// Side of the input of the small recipes, in pixels.
const USUAL: f32 = 256.0;
/// Size that nine of ten boxes of a class should have at least, in pixels of the input.
const SMALLEST: f32 = 12.0;
/// Part of all boxes from which on a class counts.
const COMMON: f64 = 0.01;
/// Size from which on a coarser level pays, in pixels of the input.
const LARGE: f32 = 256.0;
/// Part of the boxes that something should learn.
const LEARNT: f64 = 0.99;

/// Longest side of an input that a backend computes in reasonable time, in pixels.
fn limit(backend: Backend) -> f32 {
    match backend {
        Backend::Cpu => 512.0,
        _ => 1024.0,
    }
}

/// Images per step.
pub(super) fn batch(backend: Backend, images: usize) -> usize {
    let usual = match backend {
        Backend::Cpu => 4,
        _ => 8,
    };
    usual.min(images).max(1)
}

/// Input and levels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sizes {
    /// Shorter and longer side of the input, in pixels, multiples of 32.
    pub(super) edges: [u32; 2],
    /// Input over image.
    pub(super) scale: f32,
    /// Strides of the levels, in pixels of the input.
    pub(super) strides: Vec<usize>,
    /// Square roots of areas of boxes, in pixels of the input.
    pub(super) boxes: Quantiles,
    /// Of the common class with the smallest boxes, what nine of ten have at least.
    pub(super) smallest: f32,
    /// Part of the boxes that something learns.
    pub(super) learnt: f64,
}

/// Chooses the smallest input at which something learns nearly all boxes, or that at which most are
/// learnt.
///
/// # Errors
///
/// When there is no box, or `part_learnt` fails.
pub(super) fn choose(
    statistics: &Statistics,
    backend: Backend,
    network: &Network,
    part_learnt: impl Fn(&Sizes) -> Result<f64, TrainError>,
) -> Result<Sizes, TrainError> {
    const STEP: f32 = 1.25;
    let (Some(short), Some(long), Some(boxes)) =
        (statistics.short_side, statistics.long_side, statistics.size)
    else {
        return Err(TrainError::NothingToLearn {
            annotations: statistics.annotations.clone(),
        });
    };
    let smallest = smallest(statistics).unwrap_or(boxes.p10);
    let usual = Usual {
        sides: [short.median, long.median],
        boxes,
        smallest,
    };
    let most = (limit(backend) / long.median).min(2.0);
    let wanted = (USUAL / long.median)
        .min(1.0)
        .max(SMALLEST / smallest.max(1.0));
    let mut scale = wanted.min(most);
    let mut best: Option<Sizes> = None;
    loop {
        let mut sizes = usual.at(scale, network);
        sizes.learnt = part_learnt(&sizes)?;
        let enough = sizes.learnt >= LEARNT;
        if best.as_ref().is_none_or(|best| sizes.learnt > best.learnt) {
            best = Some(sizes.clone());
        }
        if enough || scale >= most {
            return Ok(best.unwrap_or(sizes));
        }
        scale = (scale * STEP).min(most);
    }
}

/// Part of the boxes of a dataset that something learns.
///
/// # Errors
///
/// When the experiment is not valid.
pub(super) fn part_learnt(
    experiment: &Experiment,
    dataset: &CocoDataset,
) -> Result<f64, TrainError> {
    let census = Census::glance(experiment, dataset)?;
    Ok(1.0 - census.unlearnt as f64 / census.boxes.max(1) as f64)
}

/// What nine of ten boxes have at least, of the common class where that is least.
fn smallest(statistics: &Statistics) -> Option<f32> {
    let common = |boxes: usize| boxes as f64 >= COMMON * statistics.boxes as f64;
    let classes = statistics
        .classes
        .iter()
        .filter(|class| common(class.boxes));
    let sizes = classes.filter_map(|class| Some(class.size?.p10));
    sizes.min_by(f32::total_cmp)
}

/// Images and boxes as they are.
struct Usual {
    sides: [f32; 2],
    boxes: Quantiles,
    smallest: f32,
}

impl Usual {
    /// The sizes at this part of the usual one.
    fn at(&self, scale: f32, network: &Network) -> Sizes {
        let edge = |side: f32| ((side * scale / 32.0).round() as u32).max(2) * 32;
        let boxes = self.boxes.times(scale);
        let smallest = self.smallest * scale;
        Sizes {
            edges: self.sides.map(edge),
            scale,
            // Rounding of a scale that makes them just as large does not count.
            strides: network.strides(smallest < 0.99 * SMALLEST, boxes.p90 > LARGE),
            boxes,
            smallest,
            learnt: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(value: f32) -> Option<Quantiles> {
        Quantiles::of([value])
    }

    fn statistics(sides: [f32; 2], boxes: f32) -> Statistics {
        Statistics {
            annotations: "a.json".into(),
            images: 10,
            boxes: 10,
            ignore_regions: 0,
            short_side: same(sides[0]),
            long_side: same(sides[1]),
            boxes_per_image: same(1.0),
            size: same(boxes),
            aspect_ratio: same(1.0),
            classes: Vec::new(),
            sizes: Vec::new(),
        }
    }

    #[test]
    fn inputs_follow_images_boxes_and_backend() {
        let check = |sides, boxes, backend, edges: [u32; 2], strides: &[usize]| {
            let statistics = statistics(sides, boxes);
            let sizes = choose(&statistics, backend, &Network::small(), |_| Ok(1.0));
            let sizes = sizes.expect("chooses");
            assert_eq!(
                (sizes.edges, &sizes.strides[..]),
                (edges, strides),
                "{sides:?} {boxes}"
            );
        };
        use Backend::{Cpu, Cuda};
        check([480.0, 640.0], 60.0, Cpu, [192, 256], &[8, 16, 32]);
        // Small boxes ask for more pixels, up to what the processor can do.
        check([480.0, 640.0], 20.0, Cpu, [288, 384], &[8, 16, 32]);
        check([1080.0, 1920.0], 20.0, Cpu, [288, 512], &[4, 8, 16, 32]);
        check([1080.0, 1920.0], 20.0, Cuda, [576, 1024], &[4, 8, 16, 32]);
        // Small images stay as they are.
        check([100.0, 128.0], 40.0, Cpu, [96, 128], &[8, 16, 32]);
        check([480.0, 640.0], 700.0, Cuda, [192, 256], &[8, 16, 32, 64]);
    }

    #[test]
    fn inputs_grow_until_boxes_are_learnt() {
        let statistics = statistics([480.0, 640.0], 60.0);
        let learnt =
            |from: u32| move |sizes: &Sizes| Ok(if sizes.edges[1] >= from { 1.0 } else { 0.5 });
        let edges = |from| {
            let sizes = choose(&statistics, Backend::Cpu, &Network::small(), learnt(from));
            sizes.expect("chooses").edges
        };
        assert_eq!(edges(0), [192, 256]);
        assert_eq!(edges(400), [288, 416]);
        // Nothing helps: the smallest is as good as any.
        assert_eq!(edges(10_000), [192, 256]);
    }

    #[test]
    fn a_dataset_without_boxes_is_refused() {
        let mut statistics = statistics([480.0, 640.0], 60.0);
        statistics.size = None;
        let error = choose(&statistics, Backend::Cpu, &Network::small(), |_| Ok(1.0));
        let error = error.expect_err("has no box").to_string();
        assert_eq!(
            error,
            "a.json: no box to learn; expected annotations with a `bbox`"
        );
    }
}
