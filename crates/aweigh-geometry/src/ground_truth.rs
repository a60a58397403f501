//! Ground truth of a batch, padded so that assignment is one tensor program for all images.

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};

use crate::HostTruth;
use crate::points::{LevelShape, PointOrigin, pyramid_points};

/// Stands for an image without an end; finite so that every backend's shading language can write
/// it.
const UNBOUNDED: f32 = 1e30;

/// Ground truth of a batch.
///
/// M and I are the largest counts of the batch rounded up to a bucket, and at least 1. Slots
/// beyond an image's own count are zero boxes of class 0 whose `valid` flag is false. The tensors
/// live on a device without autodiff: they are constants of every loss.
#[derive(Debug, Clone)]
pub struct GroundTruth {
    /// Boxes `[B, M, 4]`, f32, in pixels of the network input.
    pub boxes: Tensor<3>,
    /// Classes `[B, M]` in `0..C`.
    pub labels: Tensor<2, Int>,
    /// Which slots hold a box, `[B, M]`.
    pub valid: Tensor<2, Bool>,
    /// Ignore regions `[B, I, 4]`, f32.
    pub ignore_boxes: Tensor<3>,
    /// Which slots hold an ignore region, `[B, I]`.
    pub ignore_valid: Tensor<2, Bool>,
    /// Width and height of each image with its own padding, in pixels, `[B, 2]`. What lies beyond
    /// only pads the image to the size of the batch.
    pub extent: Tensor<2>,
}

impl GroundTruth {
    /// Pads the ground truth of each image to common sizes and uploads it.
    ///
    /// M and I are taken from the buckets 1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, ..., so that a
    /// run meets few shapes and kernels are reused. An autodiff `device` is replaced by its inner
    /// device. Images reach over the whole batch until [`with_sizes`](Self::with_sizes) is called.
    ///
    /// # Panics
    ///
    /// When an image has another number of labels than of boxes.
    pub fn from_host(images: &[HostTruth], device: &Device) -> Self {
        for (index, image) in images.iter().enumerate() {
            let (boxes, labels) = (image.boxes.len(), image.labels.len());
            assert_eq!(boxes, labels, "boxes and labels of image {index}");
        }
        let device = device.clone().inner();
        let (boxes, valid) = pad_boxes(images, |image| &image.boxes, &device);
        let (ignore_boxes, ignore_valid) = pad_boxes(images, |image| &image.ignore, &device);
        let [_, slots] = valid.dims();
        let labels = images
            .iter()
            .flat_map(|image| padded(image.labels.iter().map(|l| *l as i64), slots, 0))
            .collect();
        let labels = TensorData::new(labels, [images.len(), slots]);
        Self {
            boxes,
            labels: Tensor::from_data(labels, &device),
            valid,
            ignore_boxes,
            ignore_valid,
            extent: Tensor::full([images.len(), 2], UNBOUNDED, (&device, DType::F32)),
        }
    }

    /// Sets the `[height, width]` of each image with its own padding, in pixels.
    ///
    /// # Panics
    ///
    /// When there is not one size per image.
    pub fn with_sizes(self, sizes: &[[usize; 2]]) -> Self {
        let (images, device) = (self.images(), self.extent.device());
        assert_eq!(sizes.len(), images, "sizes of images");
        let sides = sizes.iter().flat_map(|[height, width]| [*width, *height]);
        let sides: Vec<f32> = sides.map(|side| side as f32).collect();
        let data = TensorData::new(sides, [images, 2]);
        Self {
            extent: Tensor::from_data(data, (&device, DType::F32)),
            ..self
        }
    }

    /// Whether each cell of the pyramid starts inside of its image
    /// (mmdetection 3.x, `valid_flags` of the prior generators).
    ///
    /// # Shapes
    ///
    /// Returns `[B, P]`.
    pub fn covers(&self, levels: &[LevelShape]) -> Tensor<2, Bool> {
        let corners = pyramid_points(levels, PointOrigin::Corner, &self.extent.device());
        let [points, _] = corners.dims();
        let full = [self.images(), points, 2];
        let corners = corners.unsqueeze_dim::<3>(0).expand(full); // [B, P, 2]
        let extent = self.extent.clone().unsqueeze_dim::<3>(1).expand(full);
        corners.lower(extent).all_dim(2).squeeze_dim(2)
    }

    /// Number of images B.
    pub fn images(&self) -> usize {
        self.boxes.dims()[0]
    }

    /// Slots per image M.
    pub fn slots(&self) -> usize {
        self.boxes.dims()[1]
    }
}

/// Boxes `[B, N, 4]` and the flags `[B, N]` of the filled slots.
fn pad_boxes(
    images: &[HostTruth],
    part: impl Fn(&HostTruth) -> &Vec<[f32; 4]>,
    device: &Device,
) -> (Tensor<3>, Tensor<2, Bool>) {
    let most = images.iter().map(|image| part(image).len()).max();
    let slots = bucket(most.unwrap_or(0));
    let boxes: Vec<[f32; 4]> = images
        .iter()
        .flat_map(|image| padded(part(image).iter().copied(), slots, [0.0; 4]))
        .collect();
    let valid: Vec<bool> = images
        .iter()
        .flat_map(|image| padded(part(image).iter().map(|_| true), slots, false))
        .collect();
    let boxes = TensorData::new(boxes.into_flattened(), [images.len(), slots, 4]);
    let valid = TensorData::new(valid, [images.len(), slots]);
    (
        Tensor::from_data(boxes, (device, DType::F32)),
        Tensor::from_data(valid, device),
    )
}

fn padded<T: Clone>(
    values: impl Iterator<Item = T>,
    slots: usize,
    filler: T,
) -> impl Iterator<Item = T> {
    values.chain(std::iter::repeat(filler)).take(slots)
}

/// Smallest bucket of at least `count` slots: powers of two, and from 32 on also three quarters
/// of them.
fn bucket(count: usize) -> usize {
    let power = count.max(1).next_power_of_two();
    let between = power / 4 * 3;
    if power > 32 && count <= between {
        between
    } else {
        power
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::device;

    #[test]
    fn buckets_grow_slowly() {
        let check = |count, slots| assert_eq!(bucket(count), slots, "{count} boxes");
        check(0, 1);
        check(1, 1);
        check(3, 4);
        check(17, 32);
        check(32, 32);
        check(33, 48);
        check(49, 64);
        check(65, 96);
        check(97, 128);
        check(129, 192);
    }

    fn image(count: usize, ignored: usize) -> HostTruth {
        HostTruth {
            boxes: vec![[1.0, 2.0, 3.0, 4.0]; count],
            labels: (1..=count).collect(),
            ignore: vec![[5.0; 4]; ignored],
        }
    }

    #[test]
    fn images_are_padded_to_a_common_size() {
        let truth = GroundTruth::from_host(&[image(3, 0), image(1, 2)], &device().autodiff());
        assert_eq!(truth.boxes.dims(), [2, 4, 4]);
        assert_eq!(truth.ignore_boxes.dims(), [2, 2, 4]);
        assert!(!truth.boxes.is_autodiff());
        let labels: Vec<i64> = truth.labels.try_into_vec_as().expect("labels");
        assert_eq!(labels, [1, 2, 3, 0, 1, 0, 0, 0]);
        let valid: Vec<bool> = truth.valid.try_into_vec_as().expect("flags");
        let expected = [true, true, true, false, true, false, false, false];
        assert_eq!(valid, expected);
        let ignored: Vec<bool> = truth.ignore_valid.try_into_vec_as().expect("flags");
        assert_eq!(ignored, [false, false, true, true]);
    }

    #[test]
    fn a_batch_without_boxes_has_one_invalid_slot() {
        let truth = GroundTruth::from_host(&[image(0, 0), image(0, 0)], &device());
        assert_eq!((truth.images(), truth.slots()), (2, 1));
        let valid: Vec<bool> = truth.valid.try_into_vec_as().expect("flags");
        assert_eq!(valid, [false, false]);
    }

    #[test]
    fn images_cover_the_cells_that_start_inside() {
        let levels = [LevelShape::new(2, 3, 8), LevelShape::new(1, 2, 16)];
        let truth = GroundTruth::from_host(&[image(0, 0), image(0, 0)], &device());
        let check = |truth: &GroundTruth, expected: [bool; 16]| {
            let covered: Vec<bool> = truth.covers(&levels).try_into_vec_as().expect("flags");
            assert_eq!(covered, expected, "{:?}", truth.extent);
        };
        check(&truth, [true; 16]);
        let truth = truth.with_sizes(&[[8, 9], [16, 17]]);
        let [t, f] = [true, false];
        check(&truth, [t, t, f, f, f, f, t, f, t, t, t, t, t, t, t, t]);
    }

    #[test]
    #[should_panic(expected = "boxes and labels of image 1")]
    fn missing_labels_are_named() {
        let mut broken = image(2, 0);
        broken.labels.pop();
        let _ = GroundTruth::from_host(&[image(1, 0), broken], &device());
    }
}
