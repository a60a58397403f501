//! Antialiased shrinking: every output is the mean of the area that it covers.

use multiversion::multiversion;

use super::Part;
use crate::DecodedImage;

/// Overlap with a pixel that is too small to count, in pixels (OpenCV's `computeResizeAreaTab`).
const NOTHING: f64 = 1e-3;

/// Shrinks to a height and a width, neither of which is larger than that of the image.
///
/// The levels of OpenCV 4's `resize` with `INTER_AREA` (`resize.cpp`): weights and sums in f32,
/// rounded at the end. Sums in another order can differ by one level where they end at a half.
pub(super) fn shrink(image: &DecodedImage, part: Part) -> Vec<u8> {
    let [height, width] = part.size;
    let across = shares(image.width, part.whole[1]).skip(part.at[1]);
    let across: Vec<Share> = across.take(width).collect();
    let length = image.width * 3;
    let mut sums = vec![0.0; length];
    let mut out = vec![0; height * width * 3];
    let rows = out.chunks_exact_mut(width * 3);
    let down = shares(image.height, part.whole[0]).skip(part.at[0]);
    for (out, share) in rows.zip(down) {
        sums.fill(0.0);
        for row in share.from..share.to {
            let pixels = &image.pixels[row * length..][..length];
            add(pixels, share.weight(row), &mut sums);
        }
        sum_across(&sums, &across, out);
    }
    out
}

/// The pixels `from..to` that an output covers, and their weights, whose sum is 1.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Share {
    from: usize,
    to: usize,
    /// Of the first pixel.
    head: f32,
    /// Of those in between.
    inner: f32,
    /// Of the last pixel, where it is not the first.
    tail: f32,
}

impl Share {
    fn weight(&self, at: usize) -> f32 {
        if at == self.from {
            self.head
        } else if at + 1 == self.to {
            self.tail
        } else {
            self.inner
        }
    }
}

/// What the outputs along one side cover.
fn shares(from: usize, to: usize) -> impl Iterator<Item = Share> {
    let scale = 1.0 / (to as f64 / from as f64);
    (0..to).map(move |i| {
        let start = i as f64 * scale;
        let end = start + scale;
        let covered = scale.min(from as f64 - start);
        let last = (end.floor() as usize).min(from - 1);
        let first = (start.ceil() as usize).min(last);
        let (before, after) = (first as f64 - start, end - last as f64);
        let inner = (1.0 / covered) as f32;
        let (from, head) = match before > NOTHING {
            true => (first - 1, (before / covered) as f32),
            false => (first, inner),
        };
        let (to, tail) = match after > NOTHING {
            true => (last + 1, (after.min(1.0).min(covered) / covered) as f32),
            false => (last, inner),
        };
        // A single pixel that the output lies in has the weight of what would be the last one.
        let head = if to == from + 1 && before <= NOTHING {
            tail
        } else {
            head
        };
        Share {
            from,
            to,
            head,
            inner,
            tail,
        }
    })
}

/// Adds a weighted row.
#[multiversion(targets = "simd")]
fn add(row: &[u8], weight: f32, sums: &mut [f32]) {
    for (sum, level) in sums.iter_mut().zip(row) {
        *sum += weight * f32::from(*level);
    }
}

/// The weighted sums of pixels side by side, rounded to 8 bits.
#[multiversion(targets = "simd")]
fn sum_across(row: &[f32], shares: &[Share], out: &mut [u8]) {
    for (out, share) in out.chunks_exact_mut(3).zip(shares) {
        let pixels = row[share.from * 3..share.to * 3].chunks_exact(3);
        let mut sums = [0.0; 3];
        for (pixel, at) in pixels.zip(share.from..) {
            let weight = share.weight(at);
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += weight * value;
            }
        }
        // Halves up, as OpenCV does where it halves images; elsewhere it rounds them to even.
        out.copy_from_slice(&sums.map(|sum: f32| (sum + 0.5) as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_every_pixel_once() {
        for from in 1..40 {
            for to in 1..=from {
                let mut covered = vec![0.0; from];
                for share in shares(from, to) {
                    let mut sum = 0.0;
                    for (at, covered) in covered.iter_mut().enumerate() {
                        if (share.from..share.to).contains(&at) {
                            *covered += share.weight(at);
                            sum += share.weight(at);
                        }
                    }
                    // Overlaps that do not count are up to a thousandth.
                    assert!((sum - 1.0).abs() < 3e-3, "{from} to {to}: {share:?}");
                }
                let each = to as f32 / from as f32;
                let same = covered.iter().all(|sum| (sum - each).abs() < 3e-3);
                assert!(same, "{from} to {to}: {covered:?}");
            }
        }
    }

    #[test]
    fn stripes_become_grey() {
        let stripes = (0..6 * 60 * 3).map(|i| if i / 3 % 2 == 0 { 0 } else { 200 });
        let image = DecodedImage::made([6, 60], stripes.collect());
        let part = Part {
            whole: [3, 15],
            at: [0, 0],
            size: [3, 15],
        };
        let shrunk = shrink(&image, part);
        assert!(shrunk.iter().all(|level| *level == 100), "{shrunk:?}");
    }
}
