//! Samples of 16 bits as 8 bits.

use image::{DynamicImage, RgbImage};

use super::config::SixteenBit;
use crate::DataError;

/// Samples closer together than this share 16 of the 256 grey levels of the full range.
const NARROW: u16 = 16 * 256;

/// An image as 8-bit RGB without alpha, and the smallest and largest of samples of 16 bits.
///
/// # Errors
/// If the samples have 16 bits and their range has not been measured yet.
pub(super) fn to_rgb8(
    image: DynamicImage,
    mode: SixteenBit,
) -> Result<(RgbImage, Option<[u16; 2]>), DataError> {
    if image.color().bytes_per_pixel() / image.color().channel_count() == 1 {
        return Ok((image.into_rgb8(), None));
    }
    let ends = mode.ends()?;
    let image = image.into_rgb16();
    let table: Vec<u8> = (0..=u16::MAX).map(|sample| level(sample, ends)).collect();
    let extent = extent(image.as_raw());
    let pixels = image.as_raw().iter();
    let pixels = pixels.map(|sample| table[usize::from(*sample)]).collect();
    let image = RgbImage::from_raw(image.width(), image.height(), pixels);
    Ok((image.expect("as many samples as before"), extent))
}

/// The smallest and the largest sample.
pub(super) fn extent(samples: &[u16]) -> Option<[u16; 2]> {
    Some([*samples.iter().min()?, *samples.iter().max()?])
}

/// The 8-bit level of a sample, rounded to the nearest.
fn level(sample: u16, [low, high]: [u16; 2]) -> u8 {
    let span = u32::from(high - low).max(1);
    let above = u32::from(sample.clamp(low, high) - low);
    ((above * 255 + span / 2) / span) as u8
}

/// Whether samples in this extent become next to one grey level.
pub(crate) fn is_narrow([low, high]: [u16; 2], mode: SixteenBit) -> bool {
    match mode {
        SixteenBit::Full => high - low < NARROW,
        // Somebody chose the range for all pictures: one may well use a small part of it.
        SixteenBit::Range([first, last]) => high <= first || low >= last,
        SixteenBit::Measured => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};

    #[test]
    fn the_full_range_is_that_of_the_image_crate() {
        let ramp = ImageBuffer::from_fn(256, 256, |x, y| Luma([(256 * y + x) as u16]));
        let image = DynamicImage::ImageLuma16(ramp);
        let (found, extent) = to_rgb8(image.clone(), SixteenBit::Full).expect("converts");
        assert_eq!(found, image.into_rgb8());
        assert_eq!(extent, Some([0, u16::MAX]));
    }

    #[test]
    fn a_range_is_linear_and_clipped() {
        let check = |sample, expected| assert_eq!(level(sample, [1000, 1510]), expected);
        check(0, 0);
        check(1000, 0);
        check(1002, 1);
        check(1255, 128);
        check(1509, 255);
        check(1510, 255);
        check(u16::MAX, 255);
    }

    #[test]
    fn every_kind_of_pixel_keeps_its_colours_and_drops_alpha() {
        let check = |image: DynamicImage, expected: [u8; 3], extent: [u16; 2]| {
            let (image, found) = to_rgb8(image, SixteenBit::Range([100, 355])).expect("converts");
            assert_eq!(image.get_pixel(1, 1).0, expected);
            assert_eq!(found, Some(extent));
        };
        let grey = ImageBuffer::from_pixel(2, 2, Luma([110_u16]));
        check(grey.into(), [10; 3], [110, 110]);
        let alpha = ImageBuffer::from_pixel(2, 2, LumaA([110_u16, 7]));
        check(alpha.into(), [10; 3], [110, 110]);
        let colour = ImageBuffer::from_pixel(2, 2, Rgb([110_u16, 120, 400]));
        check(colour.into(), [10, 20, 255], [110, 400]);
        let both = ImageBuffer::from_pixel(2, 2, Rgba([110_u16, 120, 50, 0]));
        check(both.into(), [10, 20, 0], [50, 120]);
    }

    #[test]
    fn a_range_must_be_measured_first() {
        let image: DynamicImage = ImageBuffer::from_pixel(2, 2, Luma([110_u16])).into();
        let error = to_rgb8(image, SixteenBit::Measured).expect_err("not measured");
        let message = error.to_string();
        assert!(message.starts_with("`data.sixteen_bit`: \"range\" is measured when"));
        let image = DynamicImage::new_rgb8(2, 2);
        to_rgb8(image, SixteenBit::Measured).expect("has 8 bits");
    }

    #[test]
    fn few_grey_levels_are_narrow() {
        let check = |extent, mode, expected| assert_eq!(is_narrow(extent, mode), expected);
        check([1220, 1390], SixteenBit::Full, true);
        check([0, 4095], SixteenBit::Full, true);
        check([0, 4096], SixteenBit::Full, false);
        check([0, 65535], SixteenBit::Full, false);
        check([1220, 1390], SixteenBit::Range([0, 4095]), false);
        check([1220, 1390], SixteenBit::Range([0, 1220]), true);
        check([1220, 1390], SixteenBit::Range([1390, 2000]), true);
        check([1220, 1390], SixteenBit::Range([1300, 1310]), false);
    }
}
