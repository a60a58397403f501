//! Which boxes a method can learn, whatever a detector predicts.

use aweigh_geometry::{GroundTruth, HostTruth, LevelShape};
use burn::tensor::Device;

use crate::method::{MethodConfig, SizeLimits};

pub use crate::method::Cause;

/// Boxes that are assigned at once where each is an image of its own.
const AT_ONCE: usize = 64;

/// An image as assignment sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// The pyramid of the network input.
    pub levels: Vec<LevelShape>,
    /// `[height, width]` of the image with its own padding, in pixels of the network input.
    pub size: [usize; 2],
    /// Boxes, labels and ignore regions in pixels of the network input.
    pub truth: HostTruth,
}

impl Scene {
    /// One batch of images of this size.
    fn batch(&self, images: &[HostTruth], device: &Device) -> GroundTruth {
        GroundTruth::from_host(images, device).with_sizes(&vec![self.size; images.len()])
    }
}

/// For each box of an image, why nothing learns it, or `None` where something does.
///
/// This is geometry alone, so that it holds for any weights:
///
/// - FCOS, FoveaBox and RetinaNet assign by nothing else;
/// - FSAF chooses the level of a box by losses, among the levels where the box has effective
///   points: it is learnt if it has one on any level (with levels by size, on that level);
/// - of RepPoints the first stage counts, since what the second learns depends on predictions;
/// - of RetinaNet joint with FSAF a box is learnt if either branch learns it.
///
/// # Panics
///
/// When the options do not fit the number of levels.
pub fn unlearnt(method: &dyn MethodConfig, scene: &Scene, device: &Device) -> Vec<Option<Cause>> {
    let boxes = scene.truth.boxes.len();
    let batch = scene.batch(std::slice::from_ref(&scene.truth), device);
    let learnt = learnt(method, &scene.levels, &batch, SizeLimits::Kept);
    let missed: Vec<usize> = (0..boxes).filter(|slot| !learnt[*slot]).collect();
    let mut causes = vec![None; boxes];
    for part in missed.chunks(AT_ONCE) {
        for (slot, cause) in part.iter().zip(find_causes(method, scene, part, device)) {
            causes[*slot] = Some(cause);
        }
    }
    causes
}

/// For each box of an image, the number of points or anchors of each level that learn it, `[box][level]`,
/// by geometry alone as in [`unlearnt`].
///
/// # Panics
///
/// When the options do not fit the number of levels.
pub fn learners(method: &dyn MethodConfig, scene: &Scene, device: &Device) -> Vec<Vec<usize>> {
    let batch = scene.batch(std::slice::from_ref(&scene.truth), device);
    let ends: Vec<usize> = scene
        .levels
        .iter()
        .scan(0, |end, level| {
            *end += level.points();
            Some(*end)
        })
        .collect();
    let mut learners = vec![vec![0; ends.len()]; scene.truth.boxes.len()];
    for branch in method.reachable(&scene.levels, &batch, SizeLimits::Kept) {
        let [_, all] = branch.positive.dims();
        // The anchors of a point follow each other.
        let per_point = all / ends.last().copied().unwrap_or(1).max(1);
        let (slot, positive) = (branch.slot.to_data(), branch.positive.to_data());
        let all = slot.iter::<i64>().zip(positive.iter::<bool>()).enumerate();
        for (at, (slot, _)) in all.filter(|(_, (_, positive))| *positive) {
            let level = ends.partition_point(|end| *end * per_point <= at);
            learners[slot as usize][level] += 1;
        }
    }
    learners
}

/// Why nothing learns these boxes: each is assigned once more as the only one of its image.
fn find_causes(
    method: &dyn MethodConfig,
    scene: &Scene,
    slots: &[usize],
    device: &Device,
) -> Vec<Cause> {
    let Scene { levels, truth, .. } = scene;
    let alone = |ignore: &[[f32; 4]]| -> GroundTruth {
        let image = |slot: &usize| HostTruth {
            boxes: vec![truth.boxes[*slot]],
            labels: vec![truth.labels[*slot]],
            ignore: ignore.to_vec(),
        };
        scene.batch(&slots.iter().map(image).collect::<Vec<_>>(), device)
    };
    let with_regions = learnt(method, levels, &alone(&truth.ignore), SizeLimits::Kept);
    let free = alone(&[]);
    let without = learnt(method, levels, &free, SizeLimits::Kept);
    let of_any_size = learnt(method, levels, &free, SizeLimits::Lifted);
    let cause = |i: usize| match () {
        () if with_regions[i] => Cause::Hidden,
        () if without[i] => Cause::Ignored,
        () if of_any_size[i] => Cause::OutOfRange,
        () => Cause::BetweenPoints,
    };
    (0..slots.len()).map(cause).collect()
}

/// Whether something learns each slot, image after image.
fn learnt(
    method: &dyn MethodConfig,
    levels: &[LevelShape],
    truth: &GroundTruth,
    sizes: SizeLimits,
) -> Vec<bool> {
    let slots = truth.slots();
    let mut learnt = vec![false; truth.images() * slots];
    for branch in method.reachable(levels, truth, sizes) {
        let [_, points] = branch.positive.dims();
        let (slot, positive) = (branch.slot.to_data(), branch.positive.to_data());
        let all = slot.iter::<i64>().zip(positive.iter::<bool>()).enumerate();
        for (at, (slot, _)) in all.filter(|(_, (_, positive))| *positive) {
            learnt[at / points * slots + slot as usize] = true;
        }
    }
    learnt
}
