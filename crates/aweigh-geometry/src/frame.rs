//! Where an image lies in the network input.

use crate::ImageSize;
use crate::boxes::clip_host;

/// An image in the upper left corner of the network input, resized from its original size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageFrame {
    /// Height and width after resizing, before padding, in pixels.
    pub size: [usize; 2],
    /// Resized over original size along x and y.
    pub scale: [f32; 2],
}

impl ImageFrame {
    /// An image of `original` height and width that is resized to `size`.
    pub fn new(original: [usize; 2], size: [usize; 2]) -> Self {
        let scale = [1, 0].map(|side| (size[side] as f64 / original[side] as f64) as f32);
        Self { size, scale }
    }

    /// Maps a box of the original image to pixels of the network input.
    pub fn to_input(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let [x, y] = self.scale;
        [x1 * x, y1 * y, x2 * x, y2 * y]
    }

    /// Maps a box of the network input back to original pixels.
    pub fn to_original(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let [x, y] = self.scale;
        [x1 / x, y1 / y, x2 / x, y2 / y]
    }

    /// Moves the corners of a box of the network input into the image.
    pub fn clip(&self, bbox: [f32; 4]) -> [f32; 4] {
        let [height, width] = self.size.map(|side| side as f32);
        clip_host(bbox, ImageSize::new(height, width))
    }

    /// Exchanges left and right: a box of the network input where it lies in the mirrored image.
    pub fn mirror(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let width = self.size[1] as f32;
        [width - x2, y1, width - x1, y2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_is_kept_per_axis() {
        let frame = ImageFrame::new([48, 64], [800, 1067]);
        assert_eq!(frame.scale, [1067.0 / 64.0, 800.0 / 48.0]);
    }

    #[test]
    fn boxes_move_between_the_image_and_the_input() {
        let frame = ImageFrame::new([10, 20], [40, 40]);
        let original = [1.0, 2.0, 3.0, 5.0];
        let input = [2.0, 8.0, 6.0, 20.0];
        assert_eq!(frame.to_input(original), input);
        assert_eq!(frame.to_original(input), original);
        assert_eq!(frame.mirror(input), [34.0, 8.0, 38.0, 20.0]);
        assert_eq!(frame.clip([-1.0, 2.0, 41.0, 50.0]), [0.0, 2.0, 40.0, 40.0]);
    }
}
