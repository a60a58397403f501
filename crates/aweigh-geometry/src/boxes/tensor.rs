//! Areas and overlaps of boxes on a device.
//!
//! The functions are differentiable, work in the dtype of their inputs and broadcast.

use burn::tensor::{Tensor, TensorData};

use super::host::ImageSize;

/// Smallest union (or area) that an overlap is divided by, in square pixels
/// (mmdetection 3.x `structures/bbox/bbox_overlaps.py`).
pub const AREA_EPSILON: f64 = 1e-6;

/// The coordinates of boxes, one tensor each, so that overlaps are elementwise programs.
///
/// Two sets of boxes meet by broadcasting: `[.., 1]` with `[.., 1]` for aligned boxes,
/// `[B, N, 1]` with `[B, 1, M]` for all pairs.
#[derive(Debug, Clone)]
pub struct Corners<const D: usize> {
    /// Left edge.
    pub x1: Tensor<D>,
    /// Upper edge.
    pub y1: Tensor<D>,
    /// Right edge.
    pub x2: Tensor<D>,
    /// Lower edge.
    pub y2: Tensor<D>,
}

impl<const D: usize> Corners<D> {
    /// Splits boxes `[.., 4]` into coordinates `[.., 1]`.
    ///
    /// # Panics
    ///
    /// When the last dimension is not 4.
    pub fn split(boxes: Tensor<D>) -> Self {
        assert_last(&boxes, 4, "boxes");
        let column = |i: usize| boxes.clone().slice_dim(D - 1, i..i + 1);
        Self {
            x1: column(0),
            y1: column(1),
            x2: column(2),
            y2: column(3),
        }
    }

    /// `x2 - x1`.
    pub fn width(&self) -> Tensor<D> {
        self.x2.clone() - self.x1.clone()
    }

    /// `y2 - y1`.
    pub fn height(&self) -> Tensor<D> {
        self.y2.clone() - self.y1.clone()
    }

    /// `width * height`.
    pub fn area(&self) -> Tensor<D> {
        self.width() * self.height()
    }

    /// Area of the intersection, zero for boxes that are apart.
    pub fn intersection(&self, other: &Self) -> Tensor<D> {
        let width =
            minimum(self.x2.clone(), other.x2.clone()) - maximum(self.x1.clone(), other.x1.clone());
        let height =
            minimum(self.y2.clone(), other.y2.clone()) - maximum(self.y1.clone(), other.y1.clone());
        width.clamp_min(0.0) * height.clamp_min(0.0)
    }

    /// Width and height of the smallest box around both.
    pub fn enclosing(&self, other: &Self) -> [Tensor<D>; 2] {
        let width =
            maximum(self.x2.clone(), other.x2.clone()) - minimum(self.x1.clone(), other.x1.clone());
        let height =
            maximum(self.y2.clone(), other.y2.clone()) - minimum(self.y1.clone(), other.y1.clone());
        [width.clamp_min(0.0), height.clamp_min(0.0)]
    }
}

impl Corners<3> {
    /// Turns coordinates `[B, M, 1]` into `[B, 1, M]`, the second operand of all pairs.
    fn transposed(self) -> Self {
        Self {
            x1: self.x1.swap_dims(1, 2),
            y1: self.y1.swap_dims(1, 2),
            x2: self.x2.swap_dims(1, 2),
            y2: self.y2.swap_dims(1, 2),
        }
    }
}

/// Larger of two elements.
///
/// Where they are equal each gets half of the gradient, as in PyTorch; equal boxes therefore have
/// a zero gradient in every overlap loss. Inputs must be finite.
fn maximum<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    if !a.is_tracked() && !b.is_tracked() {
        return a.max_pair(b);
    }
    let margin = a.clone().without_autodiff() - b.clone().without_autodiff();
    select(a, b, margin)
}

/// Smaller of two elements, with the gradient rule of [`maximum`].
fn minimum<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    if !a.is_tracked() && !b.is_tracked() {
        return a.min_pair(b);
    }
    let margin = b.clone().without_autodiff() - a.clone().without_autodiff();
    select(a, b, margin)
}

/// `a` where `margin` is positive, `b` where it is negative, both halves where it is zero.
fn select<const D: usize>(a: Tensor<D>, b: Tensor<D>, margin: Tensor<D>) -> Tensor<D> {
    let share = margin.sign() * 0.5 + 0.5;
    let rest = share.clone().neg() + 1.0;
    a * share + b * rest
}

/// Area of each box: `(x2 - x1) * (y2 - y1)`.
///
/// # Shapes
///
/// `[.., 4]` of rank `D` gives `[..]` of rank `E = D - 1`, in square pixels.
///
/// # Panics
///
/// When the last dimension is not 4 or `E` is not `D - 1`.
pub fn area<const D: usize, const E: usize>(boxes: Tensor<D>) -> Tensor<E> {
    Corners::split(boxes).area().squeeze_dim(D - 1)
}

/// Intersection over union, elementwise: `|a ∩ b| / max(|a ∪ b|, 1e-6)`.
pub fn iou_of<const D: usize>(a: &Corners<D>, b: &Corners<D>) -> Tensor<D> {
    let intersection = a.intersection(b);
    let union = a.area() + b.area() - intersection.clone();
    intersection / union.clamp_min(AREA_EPSILON)
}

/// Generalised intersection over union, elementwise: `iou - (|hull| - |a ∪ b|) / |hull|`, both
/// areas at least `epsilon` square pixels, in `[-1, 1]` (Rezatofighi et al. 2019, algorithm 1).
pub fn giou_of<const D: usize>(a: &Corners<D>, b: &Corners<D>, epsilon: f64) -> Tensor<D> {
    let intersection = a.intersection(b);
    let union = (a.area() + b.area() - intersection.clone()).clamp_min(epsilon);
    let [width, height] = a.enclosing(b);
    let hull = (width * height).clamp_min(epsilon);
    intersection / union.clone() - (hull.clone() - union) / hull
}

/// Intersection over union of all pairs.
///
/// # Shapes
///
/// `[B, N, 4]` and `[B, M, 4]` give `[B, N, M]`; a batch of 1 broadcasts.
///
/// # Panics
///
/// When the last dimension is not 4.
pub fn pairwise_iou(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    iou_of(&Corners::split(a), &Corners::split(b).transposed()) // [B, N, M]
}

/// Intersection over the area of the first box, of all pairs: `|a ∩ b| / max(|a|, 1e-6)`.
///
/// # Shapes
///
/// `[B, N, 4]` and `[B, M, 4]` give `[B, N, M]`; a batch of 1 broadcasts.
///
/// # Panics
///
/// When the last dimension is not 4.
pub fn pairwise_iof(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    let (a, b) = (Corners::split(a), Corners::split(b).transposed());
    a.intersection(&b) / a.area().clamp_min(AREA_EPSILON) // [B, N, M]
}

/// Moves every corner into the image, as [`clip_host`](super::host::clip_host).
///
/// # Shapes
///
/// `[.., 4]` gives `[.., 4]`.
///
/// # Panics
///
/// When the last dimension is not 4.
pub fn clip<const D: usize>(boxes: Tensor<D>, size: ImageSize) -> Tensor<D> {
    assert_last(&boxes, 4, "boxes");
    let limit = coordinates(&boxes, [size.width, size.height, size.width, size.height]);
    boxes.clamp_min(0.0).min_pair(limit)
}

/// A constant `[1, .., 1, 4]` that combines with `like`: same device, dtype and rank.
pub(crate) fn coordinates<const D: usize>(like: &Tensor<D>, values: [f32; 4]) -> Tensor<D> {
    let mut shape = [1; D];
    shape[D - 1] = 4;
    let data = TensorData::new(values.to_vec(), shape);
    Tensor::from_data(data, (&like.device(), like.dtype()))
}

/// Panics with the shape when the last dimension of `tensor` is not `size`.
pub(crate) fn assert_last<const D: usize>(tensor: &Tensor<D>, size: usize, what: &str) {
    let shape = tensor.dims();
    assert_eq!(
        shape[D - 1],
        size,
        "{what} need a last dimension of {size}, got {shape:?}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::device;

    const A: [f32; 4] = [0.0, 0.0, 10.0, 10.0];

    fn row(b: [f32; 4]) -> Tensor<2> {
        Tensor::from_data([b], &device())
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.try_into_vec_as().expect("a readable tensor")
    }

    fn corners(b: [f32; 4]) -> Corners<2> {
        Corners::split(row(b))
    }

    /// Overlaps `[iou, giou]` of `A` with another box.
    fn check(b: [f32; 4], expected: [f32; 2]) {
        let iou = iou_of(&corners(A), &corners(b));
        let giou = giou_of(&corners(A), &corners(b), AREA_EPSILON);
        for (got, expected) in [iou, giou].map(values).iter().zip(expected) {
            // A few roundings of numbers near 1.
            let close = (got[0] - expected).abs() < 1e-6;
            assert!(close, "{b:?}: {got:?} is not {expected}");
        }
    }

    #[test]
    fn overlaps_of_two_boxes() {
        check(A, [1.0, 1.0]);
        check([0.0, 0.0, 10.0, 5.0], [0.5, 0.5]);
        check([5.0, 0.0, 15.0, 10.0], [1.0 / 3.0, 1.0 / 3.0]);
        check([10.0, 0.0, 20.0, 10.0], [0.0, 0.0]);
        check([20.0, 0.0, 30.0, 10.0], [0.0, -1.0 / 3.0]);
        check([3.0, 3.0, 3.0, 3.0], [0.0, 0.0]);
    }

    #[test]
    fn two_boxes_without_area_overlap_nowhere() {
        let point = corners([4.0, 4.0, 4.0, 4.0]);
        assert_eq!(values(iou_of(&point, &point)), [0.0]);
    }

    #[test]
    fn pairs_have_one_row_per_first_box() {
        let a = Tensor::<3>::from_data([[A, [0.0, 0.0, 20.0, 10.0]]], &device());
        let b = Tensor::<3>::from_data([[A, [10.0, 0.0, 20.0, 10.0], [0.0; 4]]], &device());
        let iou = pairwise_iou(a.clone(), b.clone());
        assert_eq!(iou.dims(), [1, 2, 3]);
        assert_eq!(values(iou), [1.0, 0.0, 0.0, 0.5, 0.5, 0.0]);
        assert_eq!(values(pairwise_iof(a, b)), [1.0, 0.0, 0.0, 0.5, 0.5, 0.0]);
    }

    #[test]
    fn overlap_of_a_first_box_without_area_is_zero() {
        let a = Tensor::<3>::from_data([[[5.0, 5.0, 5.0, 5.0]]], &device());
        let b = Tensor::<3>::from_data([[A]], &device());
        assert_eq!(values(pairwise_iof(a, b)), [0.0]);
    }

    #[test]
    fn areas_keep_the_leading_dimensions() {
        let boxes = Tensor::<3>::from_data([[A], [[1.0, 2.0, 3.0, 5.0]]], &device());
        let area: Tensor<2> = area(boxes);
        assert_eq!(area.dims(), [2, 1]);
        assert_eq!(values(area), [100.0, 6.0]);
    }

    #[test]
    fn clipping_moves_corners_into_the_image() {
        let size = ImageSize::new(6.0, 8.0);
        let outside = [-1.0, -2.0, 9.0, 9.0];
        assert_eq!(values(clip(row(outside), size)), [0.0, 0.0, 8.0, 6.0]);
    }

    #[test]
    fn equal_elements_share_the_gradient() {
        let device = device().autodiff();
        let a = Tensor::<1>::from_data([1.0, 2.0, 3.0], &device).require_grad();
        let b = Tensor::<1>::from_data([2.0, 2.0, 2.0], &device).require_grad();
        let larger = maximum(a.clone(), b.clone());
        let smaller = minimum(a.clone(), b.clone());
        assert_eq!(values(larger.clone()), [2.0, 2.0, 3.0]);
        assert_eq!(values(smaller.clone()), [1.0, 2.0, 2.0]);
        let gradients = (larger * 2.0 + smaller).sum().backward();
        assert_eq!(values(a.grad(&gradients).unwrap()), [1.0, 1.5, 2.0]);
        assert_eq!(values(b.grad(&gradients).unwrap()), [2.0, 1.5, 1.0]);
    }

    #[test]
    #[should_panic(expected = "boxes need a last dimension of 4, got [1, 3]")]
    fn wrong_shapes_are_named() {
        let three = Tensor::<2>::from_data([[0.0, 0.0, 1.0]], &device());
        let _: Tensor<1> = area(three);
    }
}
