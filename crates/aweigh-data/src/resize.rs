//! Resizing of 8-bit RGB as OpenCV does it: bilinear, bit for bit, or by areas.
//!
//! A network that was trained on OpenCV's pixels sees these very pixels. Libraries round elsewhere:
//! `fast_image_resize` on 8 bits after each of two passes, which makes a tenth to a third of all
//! values larger by one. On f32 it takes ten times as long and still differs in a tenth of them,
//! because OpenCV drops bits on the way. Its box filter takes or leaves whole pixels, where areas
//! have parts of them.

mod area;

use std::borrow::Cow;

use multiversion::multiversion;
use serde::{Deserialize, Serialize};

use crate::DecodedImage;

/// One, in the fixed point of the weights (OpenCV's `INTER_RESIZE_COEF_SCALE`).
const ONE: i16 = 2048;

/// Bits of a sum across that its sum down does without.
const DROPPED: u32 = 4;

/// Values of a pixel that are computed together; the fourth belongs to the next pixel, which
/// overwrites it.
const LANES: usize = 4;

/// Bytes that are read from the first of two neighbouring pixels on.
const READ: usize = 8;

/// How images are resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Between the nearest pixels, without antialiasing: the references' (OpenCV's `INTER_LINEAR`).
    #[default]
    Bilinear,
    /// The mean of the area that a pixel covers (OpenCV's `INTER_AREA`), which keeps fine texture
    /// from aliasing where images become much smaller. Bilinear where a side becomes larger.
    Area,
}

/// A part of a resized image; sizes and places are rows before columns, in pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Height and width of the resized image.
    pub(crate) whole: [usize; 2],
    /// Upper left corner of the part.
    pub(crate) at: [usize; 2],
    /// Height and width of the part.
    pub(crate) size: [usize; 2],
}

/// Resizes to height and width.
///
/// # Panics
/// If a side is 0.
pub(crate) fn resize(image: Cow<'_, DecodedImage>, size: [usize; 2], resize: Resize) -> Vec<u8> {
    if [image.height, image.width] == size {
        return image.into_owned().pixels;
    }
    let part = Part {
        whole: size,
        at: [0, 0],
        size,
    };
    resize_part(&image, part, resize)
}

/// Resizes to a height and a width, and makes a part of the result only.
///
/// # Panics
/// If a side is 0.
pub(crate) fn resize_part(image: &DecodedImage, part: Part, resize: Resize) -> Vec<u8> {
    let [height, width] = part.whole;
    assert!(height * width > 0, "size must be positive");
    let shrinks = height <= image.height && width <= image.width;
    match resize {
        Resize::Area if shrinks => area::shrink(image, part),
        _ => bilinear(image, part),
    }
}

/// Resizes to height and width, bilinear with half-pixel centres and no antialiasing: output pixel
/// `i` is interpolated at `(i + 0.5) * scale - 0.5`.
///
/// The same bytes as those of OpenCV 4's `resize` with `INTER_LINEAR` (`resize.cpp`): weights of 11
/// bits, sums of rows exact but for their last 4 bits, the weighted rows cut to quarters of a level,
/// their sum rounded.
fn bilinear(image: &DecodedImage, part: Part) -> Vec<u8> {
    let [height, width] = part.size;
    let mut across = Across::new(image, &part);
    let mut out = vec![0; height * width * 3];
    let rows = out.chunks_exact_mut(width * 3);
    let down = taps(image.height, part.whole[0]).skip(part.at[0]);
    for (out, tap) in rows.zip(down) {
        let [upper, lower] = across.rows(tap.at);
        weigh_down(upper, lower, tap.weights, out);
    }
    out
}

/// The two pixels, or rows, that an output lies between, and their weights.
#[derive(Clone, Copy)]
struct Tap {
    at: [usize; 2],
    weights: [i16; 2],
}

/// The taps of all outputs along one side, in OpenCV's precision: f64, then f32 from the position on.
///
/// Beyond the outermost pixel centres both taps are the outermost pixel.
fn taps(from: usize, to: usize) -> impl Iterator<Item = Tap> {
    let scale = 1.0 / (to as f64 / from as f64);
    let clip = move |at: isize| at.clamp(0, from as isize - 1) as usize;
    let weight = |part: f32| (part * f32::from(ONE)).round_ties_even() as i16;
    (0..to).map(move |i| {
        let position = ((i as f64 + 0.5) * scale - 0.5) as f32;
        let low = position.floor();
        let part = position - low;
        Tap {
            at: [clip(low as isize), clip(low as isize + 1)],
            weights: [weight(1.0 - part), weight(part)],
        }
    })
}

/// Resizes rows, and keeps the last two.
struct Across<'a> {
    image: &'a DecodedImage,
    taps: Vec<Tap>,
    /// Which rows of the image `rows` are.
    held: [Option<usize>; 2],
    /// Sums across without their dropped bits, up to 255 * 2048 / 16; one value more than a row has.
    rows: [Vec<i16>; 2],
    /// A row with as many bytes behind it as are read there.
    padded: Vec<u8>,
}

impl<'a> Across<'a> {
    fn new(image: &'a DecodedImage, part: &Part) -> Self {
        // Across, the outermost pixel alone counts; down, its row counts twice. The two differ,
        // since every weighted row is cut.
        let inner = |tap: Tap| match tap.at {
            [left, right] if left == right => Tap {
                weights: [ONE, 0],
                ..tap
            },
            _ => tap,
        };
        let taps = taps(image.width, part.whole[1]).map(inner);
        let row = vec![0; part.size[1] * 3 + LANES - 3];
        Self {
            image,
            taps: taps.skip(part.at[1]).take(part.size[1]).collect(),
            held: [None; 2],
            rows: [row.clone(), row],
            padded: vec![0; image.width * 3 + READ - 3],
        }
    }

    /// These two rows of the image, resized.
    fn rows(&mut self, wanted: [usize; 2]) -> [&[i16]; 2] {
        if self.held[1] == Some(wanted[0]) {
            self.held.swap(0, 1);
            self.rows.swap(0, 1);
        }
        for (slot, row) in wanted.into_iter().enumerate() {
            if self.held[slot] != Some(row) {
                self.held[slot] = Some(row);
                self.weigh(slot, row);
            }
        }
        [&self.rows[0], &self.rows[1]]
    }

    fn weigh(&mut self, slot: usize, row: usize) {
        let length = self.image.width * 3;
        let source = &self.image.pixels[row * length..];
        let out = &mut self.rows[slot];
        if source.len() >= self.padded.len() {
            // What is read beyond the row has no weight.
            return weigh_across(source, &self.taps, out);
        }
        self.padded[..length].copy_from_slice(&source[..length]);
        weigh_across(&self.padded, &self.taps, out);
    }
}

/// The weighted sums of pixels side by side.
#[multiversion(targets = "simd")]
fn weigh_across(row: &[u8], taps: &[Tap], out: &mut [i16]) {
    for (pixel, tap) in taps.iter().enumerate() {
        let start = tap.at[0] * 3;
        // Arrays leave the lanes without bounds checks, and so vectors.
        let read: [u8; READ] = row[start..start + READ].try_into().expect("as many bytes");
        let weights = tap.weights.map(i32::from);
        let sums: [i16; LANES] = std::array::from_fn(|lane| {
            let [left, right] = [read[lane], read[lane + 3]].map(i32::from);
            ((left * weights[0] + right * weights[1]) >> DROPPED) as i16
        });
        out[pixel * 3..pixel * 3 + LANES].copy_from_slice(&sums);
    }
}

/// The weighted sums of rows, rounded to 8 bits.
#[multiversion(targets = "simd")]
fn weigh_down(upper: &[i16], lower: &[i16], [high, low]: [i16; 2], out: &mut [u8]) {
    // The upper half of a product is what a vector instruction gives: quarters of a level.
    let cut = |sum: i16, weight: i16| ((i32::from(sum) * i32::from(weight)) >> 16) as i16;
    for ((out, upper), lower) in out.iter_mut().zip(upper).zip(lower) {
        *out = ((cut(*upper, high) + cut(*lower, low) + 2) >> 2) as u8;
    }
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
        let resized = resize(Cow::Owned(image), to, Resize::Bilinear);
        assert_eq!(resized.len(), expected.len());
        for (got, expected) in resized.iter().zip(expected) {
            // Half a level by rounding, up to half a level too little by cutting two rows to
            // quarters, and 0.13 for weights of 11 bits in both passes.
            assert!(
                (f64::from(*got) - expected).abs() <= 1.13,
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
        check([1, 300], [2, 5]);
        check([300, 1], [7, 9]);
        check([2, 2], [1, 1]);
    }

    #[test]
    fn areas_are_for_shrinking() {
        let pixels = (0..8 * 8 * 3).map(|i| (i * 7919 % 256) as u8);
        let image = DecodedImage::made([8, 8], pixels.collect());
        let resized = |size, kind| resize(Cow::Borrowed(&image), size, kind);
        let check = |size, same| {
            let [bilinear, area] = [Resize::Bilinear, Resize::Area].map(|kind| resized(size, kind));
            assert_eq!(bilinear == area, same, "{size:?}");
        };
        check([16, 16], true);
        check([9, 3], true);
        check([3, 3], false);
        check([8, 3], false);
    }

    #[test]
    fn a_part_is_that_of_the_whole() {
        let pixels = (0..40 * 50 * 3).map(|i| (i * 7919 % 251) as u8);
        let image = DecodedImage::made([40, 50], pixels.collect());
        let check = |whole: [usize; 2], at: [usize; 2], size: [usize; 2]| {
            for kind in [Resize::Bilinear, Resize::Area] {
                let all = resize(Cow::Borrowed(&image), whole, kind);
                let rows = all.chunks_exact(whole[1] * 3).skip(at[0]).take(size[0]);
                let expected = rows.flat_map(|row| &row[at[1] * 3..][..size[1] * 3]);
                let part = resize_part(&image, Part { whole, at, size }, kind);
                assert!(part.iter().eq(expected), "{kind:?} {whole:?} {at:?}");
            }
        };
        check([20, 25], [0, 0], [20, 25]);
        check([20, 25], [7, 9], [13, 5]);
        check([100, 130], [11, 3], [60, 100]);
        check([100, 130], [99, 129], [1, 1]);
        check([40, 50], [5, 6], [30, 40]);
        check([30, 60], [5, 20], [25, 40]);
    }

    #[test]
    fn same_size_is_untouched() {
        let image = DecodedImage::made([2, 2], (0..12).collect());
        for kind in [Resize::Bilinear, Resize::Area] {
            let same = resize(Cow::Borrowed(&image), [2, 2], kind);
            assert_eq!(same, (0..12).collect::<Vec<u8>>());
        }
    }
}
