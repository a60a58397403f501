//! Codecs on a device: differentiable, broadcasting, in the dtype of the regressed values.

use burn::tensor::Tensor;

use super::host::TblrCodec;
use crate::boxes::{Corners, ImageSize, assert_last, clip, coordinates};

/// Distances from points to the edges of boxes: `(l, t, r, b) = (x - x1, y - y1, x2 - x, y2 - y)`
/// (FCOS, equation 1).
///
/// # Shapes
///
/// Points `[.., 2]` and boxes `[.., 4]` that broadcast give `[.., 4]`, in the unit of the
/// coordinates. A distance is negative when the point is outside.
///
/// # Panics
///
/// When a last dimension is wrong.
pub fn encode_distance<const D: usize>(points: Tensor<D>, boxes: Tensor<D>) -> Tensor<D> {
    assert_last(&boxes, 4, "boxes");
    let outward = coordinates(&boxes, [-1.0, -1.0, 1.0, 1.0]);
    let points = twice(points, &boxes);
    (boxes - points) * outward
}

impl TblrCodec {
    /// [`decode_host`](Self::decode_host) of every prior.
    ///
    /// # Shapes
    ///
    /// Priors `[.., 4]` and encoded boxes `[.., 4]` that broadcast give `[.., 4]`, in pixels.
    ///
    /// # Panics
    ///
    /// When a last dimension is not 4.
    pub fn decode<const D: usize>(
        &self,
        priors: Tensor<D>,
        encoded: Tensor<D>,
        size: Option<ImageSize>,
    ) -> Tensor<D> {
        assert_last(&encoded, 4, "encoded boxes");
        let (center_x, center_y, prior) = center(priors);
        let height = prior.height() * self.normalizer;
        let width = prior.width() * self.normalizer;
        let part = |i: usize| encoded.clone().slice_dim(D - 1, i..i + 1);
        let x1 = center_x.clone() - part(2) * width.clone();
        let y1 = center_y.clone() - part(0) * height.clone();
        let x2 = center_x + part(3) * width;
        let y2 = center_y + part(1) * height;
        let boxes = Tensor::cat(vec![x1, y1, x2, y2], D - 1);
        match size {
            Some(size) => clip(boxes, size),
            None => boxes,
        }
    }
}

/// Deltas from prior boxes to boxes, `((cx - cx') / w', (cy - cy') / h', ln(w / w'), ln(h / h'))`
/// for a prior with centre `(cx', cy')` and size `(w', h')` (R-CNN, Girshick et al. 2014,
/// appendix C; mmdetection 3.x `task_modules/coders/delta_xywh_bbox_coder.py`).
///
/// # Shapes
///
/// Priors `[.., 4]` and boxes `[.., 4]` that broadcast give `[.., 4]`, without unit. A box without
/// width or height has an infinite delta.
///
/// # Panics
///
/// When a last dimension is not 4.
pub fn encode_delta<const D: usize>(priors: Tensor<D>, boxes: Tensor<D>) -> Tensor<D> {
    let (prior_x, prior_y, prior) = center(priors);
    let (x, y, target) = center(boxes);
    let (width, height) = (prior.width(), prior.height());
    let dx = (x - prior_x) / width.clone();
    let dy = (y - prior_y) / height.clone();
    let dw = (target.width() / width).log();
    let dh = (target.height() / height).log();
    Tensor::cat(vec![dx, dy, dw, dh], D - 1)
}

/// Points `[.., 2]` as `[x, y, x, y]`, in the dtype of `like`.
fn twice<const D: usize>(points: Tensor<D>, like: &Tensor<D>) -> Tensor<D> {
    assert_last(&points, 2, "points");
    points.cast(like.dtype()).repeat_dim(D - 1, 2)
}

/// Centre x, centre y and coordinates of boxes, each `[.., 1]`.
fn center<const D: usize>(boxes: Tensor<D>) -> (Tensor<D>, Tensor<D>, Corners<D>) {
    let corners = Corners::split(boxes);
    let x = (corners.x1.clone() + corners.x2.clone()) * 0.5;
    let y = (corners.y1.clone() + corners.y2.clone()) * 0.5;
    (x, y, corners)
}

#[cfg(test)]
mod tests {
    use super::super::host::{decode_delta_host, decode_distance_host};
    use super::*;
    use aweigh_testkit::device;

    fn row<const N: usize>(values: [f32; N]) -> Tensor<2> {
        Tensor::from_data([values], &device())
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.try_into_vec_as().expect("a readable tensor")
    }

    /// Encodes a box at a point and decodes it again.
    fn check(point: [f32; 2], edges: [f32; 4], distances: [f32; 4]) {
        assert_eq!(values(encode_distance(row(point), row(edges))), distances);
        assert_eq!(decode_distance_host(point, distances, None), edges);
    }

    #[test]
    fn distances_are_left_top_right_bottom() {
        check([5.0, 4.0], [1.0, 2.0, 9.0, 12.0], [4.0, 2.0, 4.0, 8.0]);
        check([0.0, 0.0], [1.0, 2.0, 9.0, 12.0], [-1.0, -2.0, 9.0, 12.0]);
        check([3.0, 3.0], [3.0, 3.0, 3.0, 3.0], [0.0; 4]);
    }

    #[test]
    fn points_broadcast_over_the_batch() {
        let points = Tensor::<3>::from_data([[[0.0, 0.0], [10.0, 20.0]]], &device());
        let boxes = Tensor::<3>::ones([3, 2, 4], &device());
        let distances = encode_distance(points, boxes);
        assert_eq!(distances.dims(), [3, 2, 4]);
        let last = values(distances.slice([2..3, 1..2]));
        assert_eq!(last, [9.0, 19.0, -9.0, -19.0]);
    }

    #[test]
    fn decoding_clips_to_the_image() {
        let size = Some(ImageSize::new(6.0, 8.0));
        let host = decode_distance_host([4.0, 3.0], [9.0; 4], size);
        assert_eq!(host, [0.0, 0.0, 8.0, 6.0]);
    }

    #[test]
    fn tblr_is_in_units_of_the_prior() {
        let codec = TblrCodec::default();
        let prior = [8.0, 16.0, 16.0, 32.0]; // centre (12, 24), 8 wide, 16 high
        let target = [4.0, 8.0, 20.0, 56.0];
        let encoded = [0.25, 0.5, 0.25, 0.25];
        assert_eq!(values(codec.decode(row(prior), row(encoded), None)), target);
        assert_eq!(codec.decode_host(prior, encoded, None), target);
    }

    #[test]
    fn deltas_are_shifts_and_logarithms_of_the_prior() {
        let prior = [10.0, 10.0, 30.0, 20.0]; // centre (20, 15), 20 wide, 10 high
        let check = |target: [f32; 4], [dx, dy, dw, dh]: [f32; 4]| {
            let delta = [dx, dy, dw.ln(), dh.ln()];
            assert_eq!(values(encode_delta(row(prior), row(target))), delta);
            let decoded = decode_delta_host(prior, delta, None);
            for (got, expected) in decoded.into_iter().zip(target) {
                // A rounding of the logarithm and one of the exponential.
                assert!(
                    (got - expected).abs() < 1e-4,
                    "{decoded:?} is not {target:?}"
                );
            }
        };
        check(prior, [0.0, 0.0, 1.0, 1.0]);
        check([25.0, 5.0, 35.0, 25.0], [0.5, 0.0, 0.5, 2.0]);
        check([0.0, 35.0, 80.0, 45.0], [1.0, 2.5, 4.0, 1.0]);
    }

    #[test]
    fn boxes_grow_at_most_a_thousand_sixteenths_of_the_prior() {
        let prior = [0.0, 0.0, 16.0, 16.0];
        let [x1, y1, x2, y2] = decode_delta_host(prior, [0.0, 0.0, 9.0, -9.0], None);
        // A rounding of the exponential.
        assert!((x2 - x1 - 1000.0).abs() < 1e-2, "{x1} {x2}");
        assert!((y2 - y1 - 0.256).abs() < 1e-5, "{y1} {y2}");
        let size = Some(ImageSize::new(10.0, 20.0));
        let clipped = decode_delta_host(prior, [0.0, 0.0, 9.0, 9.0], size);
        assert_eq!(clipped, [0.0, 0.0, 20.0, 10.0]);
    }

    #[test]
    #[should_panic(expected = "points need a last dimension of 2, got [1, 4]")]
    fn wrong_shapes_are_named() {
        let _ = encode_distance(row([0.0; 4]), row([0.0; 4]));
    }
}
