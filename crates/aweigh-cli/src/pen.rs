//! Smooth marks, frames and text on a picture.
//!
//! `imageproc` draws text with the same crate, but circles with hard edges and lines one pixel wide,
//! and brings linear algebra along: thirty crates more.

use image::{Rgb, RgbImage};

use crate::colour::text_colour;
use crate::text::Letters;

/// Draws on a picture; what lies outside of it is left out.
#[derive(Debug)]
pub(crate) struct Pen<'a> {
    pub(crate) picture: &'a mut RgbImage,
}

impl Pen<'_> {
    /// Width and height of the picture, in pixels.
    pub(crate) fn size(&self) -> [i32; 2] {
        [self.picture.width(), self.picture.height()].map(|side| side as i32)
    }

    /// A filled circle.
    pub(crate) fn disc(&mut self, [x, y]: [f32; 2], radius: f32, colour: Rgb<u8>) {
        self.paint([x, y], radius, colour, |dx, dy| radius - dx.hypot(dy));
    }

    /// A circle of a line of `width`.
    pub(crate) fn ring(&mut self, [x, y]: [f32; 2], radius: f32, width: f32, colour: Rgb<u8>) {
        self.paint([x, y], radius + width, colour, |dx, dy| {
            width / 2.0 - (dx.hypot(dy) - radius).abs()
        });
    }

    /// Two diagonal lines of `width`.
    pub(crate) fn cross(&mut self, [x, y]: [f32; 2], radius: f32, width: f32, colour: Rgb<u8>) {
        self.paint([x, y], radius, colour, |dx, dy| {
            let along = dx.abs().max(dy.abs());
            let across = (dx.abs() - dy.abs()).abs() * std::f32::consts::FRAC_1_SQRT_2;
            (width / 2.0 - across).min(radius - along)
        });
    }

    /// Covers the pixels around `center` by how far they lie `inside`, in pixels.
    fn paint(
        &mut self,
        center: [f32; 2],
        reach: f32,
        colour: Rgb<u8>,
        inside: impl Fn(f32, f32) -> f32,
    ) {
        let [xs, ys] = center.map(|c| (c - reach).floor() as i32..=(c + reach).ceil() as i32);
        for y in ys {
            for x in xs.clone() {
                // Pixel x covers x to x + 1.
                let [dx, dy] = [x as f32 + 0.5 - center[0], y as f32 + 0.5 - center[1]];
                self.blend([x, y], colour, (inside(dx, dy) + 0.5).clamp(0.0, 1.0));
            }
        }
    }

    /// A rectangle of whole pixels, `[x, y, width, height]`.
    pub(crate) fn fill(&mut self, [x, y, width, height]: [i32; 4], colour: Rgb<u8>, opacity: f32) {
        let [right, bottom] = self.size();
        for y in y.max(0)..(y + height).min(bottom) {
            for x in x.max(0)..(x + width).min(right) {
                self.blend([x, y], colour, opacity);
            }
        }
    }

    /// The outline of a box, its line on both sides of the edge.
    pub(crate) fn frame(&mut self, bbox: [f32; 4], line: i32, colour: Rgb<u8>, opacity: f32) {
        let [x1, y1, x2, y2] = bbox.map(|side| side.round() as i32 - line / 2);
        let [width, height] = [x2 - x1 + line, y2 - y1 + line];
        self.fill([x1, y1, width, line], colour, opacity);
        self.fill([x1, y2, width, line], colour, opacity);
        self.fill([x1, y1 + line, line, height - 2 * line], colour, opacity);
        self.fill([x2, y1 + line, line, height - 2 * line], colour, opacity);
    }

    /// Diagonal lines across a box, `step` pixels apart.
    pub(crate) fn hatch(&mut self, bbox: [f32; 4], step: i32, colour: Rgb<u8>) {
        const OPACITY: f32 = 0.6;
        let [x1, y1, x2, y2] = bbox.map(|side| side.round() as i32);
        for y in y1..y2 {
            for x in (x1..x2).filter(|x| (x + y).rem_euclid(step) == 0) {
                self.blend([x, y], colour, OPACITY);
            }
        }
    }

    /// One line of text whose upper left corner is at `x`, `y`.
    pub(crate) fn text(
        &mut self,
        [x, y]: [i32; 2],
        text: &str,
        letters: Letters<'_>,
        colour: Rgb<u8>,
    ) {
        letters.draw(text, [x, y], |at, covered| {
            self.blend(at, colour, covered.min(1.0))
        });
    }

    /// Text on a plate of `colour`.
    pub(crate) fn plate(
        &mut self,
        [x, y]: [i32; 2],
        text: &str,
        letters: Letters<'_>,
        colour: Rgb<u8>,
    ) {
        let [width, height] = letters.plate(text);
        self.fill([x, y, width, height], colour, 1.0);
        self.text(
            [x + letters.margin(), y],
            text,
            letters,
            text_colour(colour),
        );
    }

    fn blend(&mut self, [x, y]: [i32; 2], colour: Rgb<u8>, opacity: f32) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else {
            return;
        };
        if let Some(pixel) = self.picture.get_pixel_mut_checked(x, y) {
            for (below, over) in pixel.0.iter_mut().zip(colour.0) {
                let mixed = f32::from(*below) * (1.0 - opacity) + f32::from(over) * opacity;
                *below = mixed.round() as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::colour::WHITE;
    use crate::text::Fonts;

    /// The bounding rectangle of all that was drawn on a black picture of 40 x 30 pixels.
    fn check(draw: impl Fn(&mut Pen<'_>), expected: Option<[u32; 4]>) {
        let mut picture = RgbImage::new(40, 30);
        draw(&mut Pen {
            picture: &mut picture,
        });
        let drawn = picture
            .enumerate_pixels()
            .filter(|(_, _, p)| **p != Rgb([0; 3]));
        let area = drawn.fold(None, |area: Option<[u32; 4]>, (x, y, _)| {
            let [x1, y1, x2, y2] = area.unwrap_or([x, y, x + 1, y + 1]);
            Some([x1.min(x), y1.min(y), x2.max(x + 1), y2.max(y + 1)])
        });
        assert_eq!(area, expected);
    }

    #[test]
    fn marks_are_centred_and_frames_lie_on_their_box() {
        let ink = WHITE;
        check(|pen| pen.disc([10.0, 12.0], 3.0, ink), Some([7, 9, 13, 15]));
        check(
            |pen| pen.ring([10.0, 12.0], 3.0, 2.0, ink),
            Some([6, 8, 14, 16]),
        );
        check(
            |pen| pen.cross([10.0, 12.0], 3.0, 1.0, ink),
            Some([7, 9, 13, 15]),
        );
        let bbox = [5.0, 6.0, 20.0, 16.0];
        check(|pen| pen.frame(bbox, 1, ink, 1.0), Some([5, 6, 21, 17]));
        check(|pen| pen.frame(bbox, 2, ink, 1.0), Some([4, 5, 21, 17]));
        check(|pen| pen.hatch(bbox, 4, ink), Some([5, 6, 20, 16]));
    }

    #[test]
    fn what_lies_outside_is_left_out() {
        let ink = WHITE;
        check(|pen| pen.disc([-9.0, 12.0], 3.0, ink), None);
        check(
            |pen| pen.disc([40.0, 30.0], 2.0, ink),
            Some([38, 28, 40, 30]),
        );
        check(
            |pen| pen.frame([-50.0, -50.0, 400.0, 300.0], 2, ink, 1.0),
            None,
        );
        check(|pen| pen.frame([f32::NAN; 4], 1, ink, 0.0), None);
        let fonts = Fonts::without_system();
        let letters = Letters::new(&fonts, 13);
        check(
            |pen| pen.plate([35, -5], "12", letters, ink),
            Some([35, 0, 40, 8]),
        );
    }
}
