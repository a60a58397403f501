//! Ignore regions: parts of an image whose content is neither object nor background.

use aweigh_geometry::GroundTruth;
use burn::tensor::{Bool, Tensor};

/// Marks the points that lie strictly inside an ignore region of their image.
///
/// # Shapes
///
/// - `points`: `[P, 2]`, (x, y) in pixels
/// - returns `[B, P]`
pub fn inside_any(points: &Tensor<2>, truth: &GroundTruth) -> Tensor<2, Bool> {
    let [num_points, _] = points.dims();
    let [batch, regions, _] = truth.ignore_boxes.dims();
    let point = |axis: usize| -> Tensor<3> { points.clone().narrow(1, axis, 1).unsqueeze_dim(0) }; // [1, P, 1]
    let side = |i: usize| truth.ignore_boxes.clone().narrow(2, i, 1).swap_dims(1, 2); // [B, 1, I]
    let across = (point(0) - side(0)).min_pair(side(2) - point(0));
    let down = (point(1) - side(1)).min_pair(side(3) - point(1));
    let usable = truth.ignore_valid.clone().unsqueeze_dim::<3>(1); // [B, 1, I]
    let inside = across
        .min_pair(down)
        .greater_elem(0.0)
        .bool_and(usable.expand([batch, num_points, regions])); // [B, P, I]
    inside.any_dim(2).squeeze_dim(2)
}
