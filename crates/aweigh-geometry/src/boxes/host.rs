//! Conversions and clipping of single boxes.

use std::ops::{Add, Sub};

/// Height and width of an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageSize {
    /// Largest y of a box.
    pub height: f32,
    /// Largest x of a box.
    pub width: f32,
}

impl ImageSize {
    /// Size of an image of `height` rows and `width` columns.
    pub const fn new(height: f32, width: f32) -> Self {
        Self { height, width }
    }
}

/// Moves every corner into the image: x into `[0, width]`, y into `[0, height]`.
pub fn clip_host([x1, y1, x2, y2]: [f32; 4], size: ImageSize) -> [f32; 4] {
    let x = |v: f32| v.max(0.0).min(size.width);
    let y = |v: f32| v.max(0.0).min(size.height);
    [x(x1), y(y1), x(x2), y(y2)]
}

/// The box of half the given width and height to each side of a point.
pub fn centered_at([x, y]: [f32; 2], [half_width, half_height]: [f32; 2]) -> [f32; 4] {
    [
        x - half_width,
        y - half_height,
        x + half_width,
        y + half_height,
    ]
}

/// `[x, y, width, height]` with the upper left corner, as in COCO files, to `[x1, y1, x2, y2]`.
pub fn xywh_to_xyxy<T: Copy + Add<Output = T>>([x, y, width, height]: [T; 4]) -> [T; 4] {
    [x, y, x + width, y + height]
}

/// `[x1, y1, x2, y2]` to `[x, y, width, height]` with the upper left corner, as in COCO files.
pub fn xyxy_to_xywh<T: Copy + Sub<Output = T>>([x1, y1, x2, y2]: [T; 4]) -> [T; 4] {
    [x1, y1, x2 - x1, y2 - y1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_moves_corners_into_the_image() {
        let clipped = clip_host([-1.0, -2.0, 9.0, 9.0], ImageSize::new(6.0, 8.0));
        assert_eq!(clipped, [0.0, 0.0, 8.0, 6.0]);
    }

    #[test]
    fn conversions_are_inverse() {
        let b = [1.0, 2.0, 5.0, 10.0];
        assert_eq!(xyxy_to_xywh(b), [1.0, 2.0, 4.0, 8.0]);
        assert_eq!(xywh_to_xyxy(xyxy_to_xywh(b)), b);
    }
}
