//! Smooth marks, frames and text on a picture.

use embedded_graphics::mono_font::{MonoFont, MonoTextStyle, iso_8859_1 as font};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Baseline, Text};
use image::RgbImage;

use crate::draw::{Canvas, text_colour};

/// Font and enlargement of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Letters {
    font: &'static MonoFont<'static>,
    zoom: u32,
}

impl Letters {
    /// For headings, 20 rows at a `zoom` of 1.
    pub(super) fn large(zoom: u32) -> Self {
        let font = &font::FONT_10X20;
        Self { font, zoom }
    }

    /// For all other text, 20 rows.
    pub(super) fn medium(zoom: u32) -> Self {
        let font = &font::FONT_10X20;
        Self { font, zoom }
    }

    /// For the numbers of boxes, 13 rows.
    pub(super) fn small(zoom: u32) -> Self {
        let font = &font::FONT_7X13_BOLD;
        Self { font, zoom }
    }

    /// Width and height of a [plate](Pen::plate) with `text`, in pixels.
    pub(super) fn plate(self, text: &str) -> [i32; 2] {
        let width = self.width(text.chars().count()) as i32 + 2 * self.margin();
        [width, self.height() as i32]
    }

    /// Space between a text and the sides of its plate, in pixels.
    fn margin(self) -> i32 {
        2 * self.zoom as i32
    }

    /// Width of `count` letters, in pixels.
    pub(super) fn width(self, count: usize) -> u32 {
        self.font.character_size.width * self.zoom * count as u32
    }

    /// Height of the letters, in pixels.
    pub(super) fn height(self) -> u32 {
        self.font.character_size.height * self.zoom
    }

    /// Distance from a line to the next, in pixels.
    pub(super) fn line(self) -> u32 {
        self.height() * 5 / 4
    }
}

/// Draws on a picture; what lies outside of it is left out.
#[derive(Debug)]
pub(super) struct Pen<'a> {
    pub(super) picture: &'a mut RgbImage,
}

impl Pen<'_> {
    /// A filled circle.
    pub(super) fn disc(&mut self, [x, y]: [f32; 2], radius: f32, colour: Rgb888) {
        self.paint([x, y], radius, colour, |dx, dy| radius - dx.hypot(dy));
    }

    /// A circle of a line of `width`.
    pub(super) fn ring(&mut self, [x, y]: [f32; 2], radius: f32, width: f32, colour: Rgb888) {
        self.paint([x, y], radius + width, colour, |dx, dy| {
            width / 2.0 - (dx.hypot(dy) - radius).abs()
        });
    }

    /// Two diagonal lines of `width`.
    pub(super) fn cross(&mut self, [x, y]: [f32; 2], radius: f32, width: f32, colour: Rgb888) {
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
        colour: Rgb888,
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
    pub(super) fn fill(&mut self, [x, y, width, height]: [i32; 4], colour: Rgb888, opacity: f32) {
        let [right, bottom] = [self.picture.width() as i32, self.picture.height() as i32];
        for y in y.max(0)..(y + height).min(bottom) {
            for x in x.max(0)..(x + width).min(right) {
                self.blend([x, y], colour, opacity);
            }
        }
    }

    /// The outline of a box, its line on both sides of the edge.
    pub(super) fn frame(&mut self, bbox: [f32; 4], line: i32, colour: Rgb888, opacity: f32) {
        let [x1, y1, x2, y2] = bbox.map(|side| side.round() as i32 - line / 2);
        let [width, height] = [x2 - x1 + line, y2 - y1 + line];
        self.fill([x1, y1, width, line], colour, opacity);
        self.fill([x1, y2, width, line], colour, opacity);
        self.fill([x1, y1 + line, line, height - 2 * line], colour, opacity);
        self.fill([x2, y1 + line, line, height - 2 * line], colour, opacity);
    }

    /// Diagonal lines across a box, `step` pixels apart.
    pub(super) fn hatch(&mut self, bbox: [f32; 4], step: i32, colour: Rgb888) {
        const OPACITY: f32 = 0.6;
        let [x1, y1, x2, y2] = bbox.map(|side| side.round() as i32);
        for y in y1..y2 {
            for x in (x1..x2).filter(|x| (x + y).rem_euclid(step) == 0) {
                self.blend([x, y], colour, OPACITY);
            }
        }
    }

    /// One line of text whose upper left corner is at `x`, `y`.
    pub(super) fn text(&mut self, [x, y]: [i32; 2], text: &str, letters: Letters, colour: Rgb888) {
        let mut canvas = Canvas {
            picture: self.picture,
            origin: Point::new(x, y),
            zoom: letters.zoom,
        };
        let style = MonoTextStyle::new(letters.font, colour);
        // The canvas clips, so drawing cannot fail.
        let Ok(_) =
            Text::with_baseline(text, Point::zero(), style, Baseline::Top).draw(&mut canvas);
    }

    /// Text on a plate of `colour`.
    pub(super) fn plate(&mut self, [x, y]: [i32; 2], text: &str, letters: Letters, colour: Rgb888) {
        let [width, height] = letters.plate(text);
        self.fill([x, y, width, height], colour, 1.0);
        self.text(
            [x + letters.margin(), y],
            text,
            letters,
            text_colour(colour),
        );
    }

    fn blend(&mut self, [x, y]: [i32; 2], colour: Rgb888, opacity: f32) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else {
            return;
        };
        if let Some(pixel) = self.picture.get_pixel_mut_checked(x, y) {
            let over = [colour.r(), colour.g(), colour.b()];
            for (below, over) in pixel.0.iter_mut().zip(over) {
                let mixed = f32::from(*below) * (1.0 - opacity) + f32::from(over) * opacity;
                *below = mixed.round() as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// The bounding rectangle of all that was drawn on a black picture of 40 x 30 pixels.
    fn check(draw: impl Fn(&mut Pen<'_>), wanted: Option<[u32; 4]>) {
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
        assert_eq!(area, wanted);
    }

    #[test]
    fn marks_are_centred_and_frames_lie_on_their_box() {
        let ink = Rgb888::WHITE;
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
        let ink = Rgb888::WHITE;
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
        check(
            |pen| pen.plate([35, -5], "12", Letters::small(1), ink),
            Some([35, 0, 40, 8]),
        );
    }
}
