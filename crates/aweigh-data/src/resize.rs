//! Bilinear resizing of 8-bit RGB.

use std::borrow::Cow;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::DecodedImage;

/// Resizes to height and width, bilinear with half-pixel centres and no antialiasing: output pixel
/// `i` is interpolated at `(i + 0.5) * scale - 0.5`, as OpenCV's `INTER_LINEAR`.
///
/// # Panics
/// If a side is 0.
pub(crate) fn resize(image: Cow<'_, DecodedImage>, [height, width]: [usize; 2]) -> Vec<u8> {
    assert!(height * width > 0, "size must be positive");
    if [image.height, image.width] == [height, width] {
        return image.into_owned().pixels;
    }
    let source = ImageRef::new(
        image.width as u32,
        image.height as u32,
        &image.pixels,
        PixelType::U8x3,
    )
    .expect("a decoded image has three bytes per pixel");
    let mut target = Image::new(width as u32, height as u32, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Interpolation(FilterType::Bilinear));
    Resizer::new()
        .resize(&source, &mut target, &options)
        .expect("both images have the same kind of pixels");
    target.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Textbook bilinear interpolation with half-pixel centres and repeated borders.
    fn reference(image: &DecodedImage, [height, width]: [usize; 2]) -> Vec<f64> {
        let tap = |i: usize, from: usize, to: usize| {
            let at =
                ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, from as f64 - 1.0);
            let low = at as usize;
            (low, (low + 1).min(from - 1), at - low as f64)
        };
        let mut out = Vec::with_capacity(height * width * 3);
        for (y1, y2, v) in (0..height).map(|y| tap(y, image.height, height)) {
            for (x1, x2, u) in (0..width).map(|x| tap(x, image.width, width)) {
                for c in 0..3 {
                    let at =
                        |y: usize, x: usize| f64::from(image.pixels[(y * image.width + x) * 3 + c]);
                    let top = at(y1, x1) * (1.0 - u) + at(y1, x2) * u;
                    let bottom = at(y2, x1) * (1.0 - u) + at(y2, x2) * u;
                    out.push(top * (1.0 - v) + bottom * v);
                }
            }
        }
        out
    }

    fn check(from: [usize; 2], to: [usize; 2]) {
        let pixels = (0..from[0] * from[1] * 3).map(|i| (i * 7919 % 256) as u8);
        let image = DecodedImage::made(from, pixels.collect());
        let expected = reference(&image, to);
        let resized = resize(Cow::Owned(image), to);
        assert_eq!(resized.len(), expected.len());
        for (got, expected) in resized.iter().zip(expected) {
            // Both passes, across and down, round to 8 bits: half a step each, and a little for
            // fixed-point weights.
            assert!(
                (f64::from(*got) - expected).abs() <= 1.1,
                "{got} {expected}"
            );
        }
    }

    #[test]
    fn equals_textbook_bilinear() {
        check([8, 8], [16, 16]);
        check([13, 9], [31, 20]);
        check([48, 64], [19, 26]);
        check([5, 7], [5, 21]);
        check([1, 1], [4, 3]);
    }

    #[test]
    fn same_size_is_untouched() {
        let image = DecodedImage::made([2, 2], (0..12).collect());
        let same = resize(Cow::Owned(image), [2, 2]);
        assert_eq!(same, (0..12).collect::<Vec<u8>>());
    }
}
