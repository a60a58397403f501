//! Labelled boxes drawn on pictures, readable from thumbnails to photographs of many megapixels.

use std::convert::Infallible;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use aweigh_data::{DecodeConfig, Stored};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle, iso_8859_1 as font};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{
    PrimitiveStyle, PrimitiveStyleBuilder, Rectangle, StrokeAlignment,
};
use embedded_graphics::text::{Baseline, Text};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{Rgb, RgbImage};

/// Keeps the one-pixel strokes of small letters free of visible artefacts.
const JPEG_QUALITY: u8 = 92;

/// One box to draw.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LabelledBox {
    /// `[x1, y1, x2, y2]` in pixels of the picture.
    pub(crate) bbox: [f32; 4],
    /// Class index; it picks the colour.
    pub(crate) class: usize,
    /// Text above the box.
    pub(crate) text: String,
}

/// Draws `boxes` on `picture`, the first of them on top.
pub(crate) fn draw_boxes(picture: &mut RgbImage, boxes: &[LabelledBox]) {
    let look = Look::for_size(picture.width(), picture.height());
    for labelled in boxes.iter().rev() {
        draw_outline(picture, labelled, look);
    }
    // Labels go last: a box must not strike through the text of its neighbour.
    for labelled in boxes.iter().rev() {
        draw_label(picture, labelled, look);
    }
}

/// Reads the picture of a file, and how it is stored there.
///
/// # Errors
/// When the file is not a readable picture, or one that the configuration refuses.
pub(crate) fn load(path: &Path, decoding: &DecodeConfig) -> Result<(RgbImage, Stored)> {
    let decoded = aweigh_data::decode(path, decoding)?;
    let (width, height) = (decoded.width as u32, decoded.height as u32);
    let picture = RgbImage::from_raw(width, height, decoded.pixels)
        .context("a decoded picture has three bytes per pixel")?;
    Ok((picture, decoded.stored))
}

/// Writes `picture` to `path`, as JPEG when the extension says so and as PNG otherwise.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn save(picture: &RgbImage, path: &Path) -> Result<()> {
    let write = || -> Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        if is_jpeg(path) {
            picture.write_with_encoder(JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY))?;
        } else {
            picture.write_with_encoder(PngEncoder::new(&mut out))?;
        }
        Ok(out.flush()?)
    };
    write().with_context(|| format!("{}: the picture cannot be written", path.display()))
}

/// Whether the extension of `path` is one of JPEG's.
pub(crate) fn is_jpeg(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("jpg") || e.eq_ignore_ascii_case("jpeg"))
}

/// Line width and text size that suit one picture.
#[derive(Debug, Clone, Copy)]
struct Look {
    line: u32,
    font: &'static MonoFont<'static>,
    /// Each pixel of the font becomes a square of this side: the largest font has only 20 rows.
    zoom: u32,
}

impl Look {
    /// Text of about a thirtieth of the shorter side, lines of about a 200th.
    fn for_size(width: u32, height: u32) -> Self {
        let short = width.min(height);
        let (font, zoom) = match short / 30 {
            0..=8 => (&font::FONT_5X8, 1),
            9..=11 => (&font::FONT_6X10, 1),
            12..=14 => (&font::FONT_7X13_BOLD, 1),
            15..=18 => (&font::FONT_9X15_BOLD, 1),
            rows => (&font::FONT_10X20, (rows / 20).max(1)),
        };
        Self {
            line: (short / 200).max(1),
            font,
            zoom,
        }
    }

    fn text_size(&self, text: &str) -> Size {
        let glyph = self.font.character_size * self.zoom;
        Size::new(glyph.width * text.chars().count() as u32, glyph.height)
    }
}

fn draw_outline(picture: &mut RgbImage, labelled: &LabelledBox, look: Look) {
    let style = PrimitiveStyleBuilder::new()
        .stroke_color(class_colour(labelled.class))
        .stroke_width(look.line)
        .stroke_alignment(StrokeAlignment::Center)
        .build();
    let area = pixel_rectangle(labelled.bbox, picture);
    // The canvas clips, so drawing cannot fail.
    let Ok(()) = area.into_styled(style).draw(&mut Canvas::whole(picture));
}

/// Text on a filled background above the box, or inside it where the picture ends.
fn draw_label(picture: &mut RgbImage, labelled: &LabelledBox, look: Look) {
    if labelled.text.is_empty() {
        return;
    }
    let margin = look.zoom.max(look.line / 2).max(1);
    let size = look.text_size(&labelled.text) + Size::new_equal(2 * margin);
    let area = pixel_rectangle(labelled.bbox, picture);
    let corner = label_corner(area.top_left, size, picture, look.line);
    let background = class_colour(labelled.class);
    let plate = Rectangle::new(corner, size).into_styled(PrimitiveStyle::with_fill(background));
    let Ok(()) = plate.draw(&mut Canvas::whole(picture));
    let style = MonoTextStyle::new(look.font, text_colour(background));
    let mut letters = Canvas {
        origin: corner + Point::new_equal(margin as i32),
        zoom: look.zoom,
        picture,
    };
    let Ok(_) =
        Text::with_baseline(&labelled.text, Point::zero(), style, Baseline::Top).draw(&mut letters);
}

/// Where a label of `size` goes for a box whose top left corner is `corner`.
fn label_corner(corner: Point, size: Size, picture: &RgbImage, line: u32) -> Point {
    let half = (line / 2) as i32;
    let above = corner.y - half - size.height as i32;
    let y = if above >= 0 {
        above
    } else {
        corner.y.max(0) + half
    };
    let last = picture.width() as i32 - size.width as i32;
    Point::new((corner.x - half).min(last).max(0), y)
}

/// The box in whole pixels, its corners at most a few pixels outside the picture.
fn pixel_rectangle(bbox: [f32; 4], picture: &RgbImage) -> Rectangle {
    let whole = |value: f32, side: u32| value.clamp(-8.0, side as f32 + 8.0).round() as i32;
    let (width, height) = picture.dimensions();
    Rectangle::with_corners(
        Point::new(whole(bbox[0], width), whole(bbox[1], height)),
        Point::new(whole(bbox[2], width) - 1, whole(bbox[3], height) - 1),
    )
}

/// Bright colours whose hues lie far apart for neighbouring classes.
fn class_colour(class: usize) -> Rgb888 {
    /// Steps of the golden section never repeat and fill the circle evenly.
    const HUE_STEP: f64 = 0.618_033_988_749_895;
    let hue = (0.33 + class as f64 * HUE_STEP).fract() * 6.0;
    let channel = |shift: f64| {
        let distance = ((hue + shift).rem_euclid(6.0) - 3.0).abs() - 1.0;
        (40.0 + 215.0 * distance.clamp(0.0, 1.0)).round() as u8
    };
    Rgb888::new(channel(0.0), channel(4.0), channel(2.0))
}

/// Black or white, whichever stands out more on `background` (luma of BT.601).
pub(crate) fn text_colour(background: Rgb888) -> Rgb888 {
    let luma = 299 * u32::from(background.r())
        + 587 * u32::from(background.g())
        + 114 * u32::from(background.b());
    if luma > 128_000 {
        Rgb888::BLACK
    } else {
        Rgb888::WHITE
    }
}

/// A picture as embedded-graphics sees it: shifted, enlarged and clipped.
pub(crate) struct Canvas<'a> {
    pub(crate) picture: &'a mut RgbImage,
    /// Where the drawing's own origin lies.
    pub(crate) origin: Point,
    /// Each pixel of the drawing becomes a square of this side.
    pub(crate) zoom: u32,
}

impl<'a> Canvas<'a> {
    fn whole(picture: &'a mut RgbImage) -> Self {
        Self {
            picture,
            origin: Point::zero(),
            zoom: 1,
        }
    }
}

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        Size::new(self.picture.width(), self.picture.height())
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        let (width, height) = self.picture.dimensions();
        let zoom = self.zoom as i32;
        for Pixel(point, colour) in pixels {
            let corner = self.origin + point * zoom;
            for y in (corner.y..corner.y + zoom).filter(|y| (0..height as i32).contains(y)) {
                for x in (corner.x..corner.x + zoom).filter(|x| (0..width as i32).contains(x)) {
                    let rgb = Rgb([colour.r(), colour.g(), colour.b()]);
                    self.picture.put_pixel(x as u32, y as u32, rgb);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(bbox: [f32; 4], text: &str) -> LabelledBox {
        LabelledBox {
            bbox,
            class: 0,
            text: text.to_owned(),
        }
    }

    /// The bounding rectangle of everything that `boxes` painted on a black picture.
    fn painted(size: [u32; 2], boxes: &[LabelledBox]) -> Option<[u32; 4]> {
        let mut picture = RgbImage::new(size[0], size[1]);
        draw_boxes(&mut picture, boxes);
        let lit = picture
            .enumerate_pixels()
            .filter(|(_, _, p)| p.0 != [0, 0, 0]);
        lit.fold(None, |area: Option<[u32; 4]>, (x, y, _)| {
            let [x1, y1, x2, y2] = area.unwrap_or([x, y, x + 1, y + 1]);
            Some([x1.min(x), y1.min(y), x2.max(x + 1), y2.max(y + 1)])
        })
    }

    fn check(size: [u32; 2], boxes: &[LabelledBox], want: Option<[u32; 4]>) {
        assert_eq!(painted(size, boxes), want, "{boxes:?} on {size:?}");
    }

    #[test]
    fn boxes_stay_in_place_and_inside_the_picture() {
        check([100, 80], &[], None);
        check(
            [100, 80],
            &[labelled([10.0, 20.0, 30.0, 40.0], "")],
            Some([10, 20, 30, 40]),
        );
        check(
            [100, 80],
            &[labelled([-50.0, -50.0, 400.0, 300.0], "")],
            None,
        );
        // A label as wide as two glyphs of 5 x 8 with a margin of one pixel, above the box.
        check(
            [100, 80],
            &[labelled([50.0, 40.0, 54.0, 44.0], "ab")],
            Some([50, 30, 62, 44]),
        );
        // No room above: the label moves inside the picture.
        check(
            [100, 80],
            &[labelled([50.0, 0.0, 54.0, 44.0], "ab")],
            Some([50, 0, 62, 44]),
        );
        // No room on the right: it moves to the left.
        check(
            [100, 80],
            &[labelled([95.0, 40.0, 99.0, 44.0], "ab")],
            Some([88, 30, 100, 44]),
        );
    }

    #[test]
    fn the_extension_decides_the_format() {
        let folder = tempfile::tempdir().unwrap();
        let picture = RgbImage::from_pixel(20, 10, Rgb([200, 100, 50]));
        let check = |name: &str, start: &[u8]| {
            let path = folder.path().join(name);
            save(&picture, &path).unwrap();
            assert!(std::fs::read(&path).unwrap().starts_with(start), "{name}");
            let read = aweigh_data::decode(&path, &DecodeConfig::default()).unwrap();
            assert_eq!((read.width, read.height), (20, 10), "{name}");
            assert!(read.pixels[0].abs_diff(200) < 3, "{name}");
        };
        check("a.jpg", b"\xff\xd8");
        check("a.JPEG", b"\xff\xd8");
        check("a.png", b"\x89PNG");
        let error = save(&picture, Path::new("no/folder/a.png"))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "no/folder/a.png: the picture cannot be written");
    }

    #[test]
    fn odd_boxes_and_texts_do_not_panic() {
        for bbox in [
            [f32::NAN; 4],
            [f32::INFINITY; 4],
            [30.0, 30.0, 10.0, 10.0],
            [5.0; 4],
        ] {
            painted(
                [40, 30],
                &[labelled(bbox, "a label far wider than the picture")],
            );
        }
        painted([1, 1], &[labelled([0.0, 0.0, 1.0, 1.0], "émoji 🚲")]);
    }

    #[test]
    fn lines_and_letters_grow_with_the_picture() {
        let sizes = [(256, 192), (640, 480), (1333, 800), (4000, 3000)];
        let looks = sizes.map(|(w, h)| Look::for_size(w, h));
        assert_eq!(looks.map(|l| l.line), [1, 2, 4, 15]);
        assert_eq!(looks.map(|l| l.text_size("x").height), [8, 15, 20, 100]);
    }

    #[test]
    fn neighbouring_classes_have_different_colours() {
        let colours: Vec<_> = (0..80).map(class_colour).collect();
        for pair in colours.windows(2) {
            let distance = |f: fn(&Rgb888) -> u8| f(&pair[0]).abs_diff(f(&pair[1])) as u32;
            let total = distance(Rgb888::r) + distance(Rgb888::g) + distance(Rgb888::b);
            assert!(total > 150, "{pair:?}");
        }
    }
}
