//! The pixels of a batch, in panels of some vectors.

use std::ops::Range;

/// Panels of at most `width` neighbouring pixels of an image, counted through the batch.
///
/// No panel spans two images, so that each is a run of values in memory.
#[derive(Clone, Copy)]
pub(crate) struct Panels {
    pixels: usize,
    width: usize,
    per_image: usize,
}

/// The part of a range of panels that lies in one image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) image: usize,
    pub(crate) pixels: Range<usize>,
    /// Its first panel, counted from the start of the range.
    pub(crate) panel: usize,
}

impl Panels {
    /// Panels of images of `pixels`.
    pub(crate) fn new(pixels: usize, width: usize) -> Self {
        Self {
            pixels,
            width,
            per_image: pixels.div_ceil(width),
        }
    }

    /// Panels of an image.
    pub(crate) fn per_image(&self) -> usize {
        self.per_image
    }

    /// Splits a range of panels by image.
    #[inline(always)]
    pub(crate) fn parts(&self, panels: Range<usize>) -> impl Iterator<Item = Part> {
        let (panels, all) = (*self, panels);
        let mut next = all.start;
        std::iter::from_fn(move || {
            (next < all.end).then(|| {
                let (image, first) = (next / panels.per_image, next % panels.per_image);
                let last = (all.end - next).min(panels.per_image - first) + first;
                let part = Part {
                    image,
                    pixels: first * panels.width..(last * panels.width).min(panels.pixels),
                    panel: next - all.start,
                };
                next += last - first;
                part
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Image, first pixel and number of pixels of a panel.
    fn of(panels: &Panels, panel: usize) -> (usize, usize, usize) {
        let (image, first) = (
            panel / panels.per_image,
            panel % panels.per_image * panels.width,
        );
        (image, first, panels.width.min(panels.pixels - first))
    }

    #[test]
    fn parts_cover_every_pixel_of_the_panels_once() {
        for pixels in [1, 15, 16, 17, 50] {
            let panels = Panels::new(pixels, 16);
            let count = 3 * panels.per_image();
            for start in 0..count {
                for end in start..=count {
                    let mut seen = Vec::new();
                    for part in panels.parts(start..end) {
                        let first = of(&panels, start + part.panel);
                        assert_eq!((part.image, part.pixels.start), (first.0, first.1));
                        seen.extend(part.pixels.map(|p| (part.image, p)));
                    }
                    let expected: Vec<_> = (start..end)
                        .map(|panel| of(&panels, panel))
                        .flat_map(|(image, first, n)| (first..first + n).map(move |p| (image, p)))
                        .collect();
                    assert_eq!(seen, expected);
                }
            }
        }
    }
}
