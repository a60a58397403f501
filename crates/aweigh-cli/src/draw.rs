//! Labelled boxes drawn on pictures, readable from thumbnails to photographs of many megapixels.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use aweigh_data::DecodedImage;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;

use crate::colour::class_colour;
use crate::pen::Pen;
use crate::plates::{Plate, place};
use crate::text::{Fonts, Letters};

/// Keeps the one-pixel strokes of small letters free of visible artefacts.
const JPEG_QUALITY: u8 = 92;

/// Smallest height of a line of text, in pixels.
const SMALLEST_TEXT: u32 = 11;

/// Width of the widest label that is not cut, in heights of its text: some forty letters.
const WIDEST_LABEL: i32 = 24;

/// One box to draw.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LabelledBox {
    /// `[x1, y1, x2, y2]` in pixels of the picture.
    pub(crate) bbox: [f32; 4],
    /// Class index; it picks the colour.
    pub(crate) class: usize,
    /// Text at the box; cut where it is long.
    pub(crate) name: String,
    /// Text after it, such as the score: never cut in favour of the name.
    pub(crate) detail: String,
}

/// Draws `boxes` on `picture`, the first of them on top.
pub(crate) fn draw_boxes(picture: &mut RgbImage, boxes: &[LabelledBox], fonts: &Fonts) {
    let look = Look::for_size(picture.width(), picture.height());
    let mut pen = Pen { picture };
    for labelled in boxes.iter().rev() {
        let [x1, y1, x2, y2] = pixel_rectangle(labelled.bbox, pen.size(), look.line);
        let edges = [x1, y1, x2 - 1, y2 - 1].map(|side| side as f32);
        pen.frame(edges, look.line, class_colour(labelled.class), 1.0);
    }
    // Plates go last: a box must not strike through the text of its neighbour.
    draw_plates(&mut pen, boxes, look.line, Letters::new(fonts, look.text));
}

fn draw_plates(pen: &mut Pen<'_>, boxes: &[LabelledBox], line: i32, letters: Letters<'_>) {
    let size = pen.size();
    let labels = boxes
        .iter()
        .map(|labelled| (labelled, labelled.text(letters, size[0])));
    let labels: Vec<_> = labels.filter(|(_, text)| !text.is_empty()).collect();
    let plates = labels.iter().map(|(labelled, text)| Plate {
        bbox: with_line(pixel_rectangle(labelled.bbox, size, line), line),
        size: letters.plate(text),
    });
    let corners = place(&plates.collect::<Vec<_>>(), size);
    for ((labelled, text), corner) in labels.iter().zip(corners).rev() {
        pen.plate(corner, text, letters, class_colour(labelled.class));
    }
}

/// A decoded picture, to be drawn on.
pub(crate) fn to_picture(decoded: DecodedImage) -> RgbImage {
    let (width, height) = (decoded.width as u32, decoded.height as u32);
    RgbImage::from_raw(width, height, decoded.pixels)
        .expect("a decoded picture has three bytes per pixel")
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

/// Line width and height of text that suit one picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Look {
    line: i32,
    text: u32,
}

impl Look {
    /// Text of about a thirtieth of the shorter side, lines of about a 200th.
    fn for_size(width: u32, height: u32) -> Self {
        let short = width.min(height);
        Self {
            line: (short / 200).max(1) as i32,
            text: (short / 30).max(SMALLEST_TEXT),
        }
    }
}

impl LabelledBox {
    /// What its plate says, given the width of the picture: so much of the name as there is room
    /// for, and the detail.
    fn text(&self, letters: Letters<'_>, width: i32) -> String {
        let widest = width.min(WIDEST_LABEL * letters.height());
        let room = (widest - 2 * letters.margin()).max(0);
        let detail = match self.detail.as_str() {
            "" => String::new(),
            detail if self.name.is_empty() => detail.to_owned(),
            detail => format!(" {detail}"),
        };
        let name = letters.shortened(&self.name, room - letters.width(&detail));
        letters.shortened(format!("{name}{detail}").trim_start(), room)
    }
}

/// The box in whole pixels, its corners so little outside the picture that its line is not seen.
fn pixel_rectangle(bbox: [f32; 4], [width, height]: [i32; 2], line: i32) -> [i32; 4] {
    let whole =
        |value: f32, side: i32| (value.round() as i32).clamp(-2 * line - 1, side + 2 * line + 1);
    let [x1, y1, x2, y2] = bbox;
    [
        whole(x1, width),
        whole(y1, height),
        whole(x2, width),
        whole(y2, height),
    ]
}

/// The area that a box covers with its line.
fn with_line([x1, y1, x2, y2]: [i32; 4], line: i32) -> [i32; 4] {
    let half = line / 2;
    [x1 - half, y1 - half, x2 + half, y2 + half]
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn labelled(bbox: [f32; 4], name: &str) -> LabelledBox {
        LabelledBox {
            bbox,
            class: 0,
            name: name.to_owned(),
            detail: String::new(),
        }
    }

    /// The bounding rectangle of everything that `boxes` painted on a black picture.
    fn painted(size: [u32; 2], boxes: &[LabelledBox]) -> Option<[u32; 4]> {
        let mut picture = RgbImage::new(size[0], size[1]);
        draw_boxes(&mut picture, boxes, &Fonts::without_system());
        let lit = picture
            .enumerate_pixels()
            .filter(|(_, _, p)| p.0 != [0, 0, 0]);
        lit.fold(None, |area: Option<[u32; 4]>, (x, y, _)| {
            let [x1, y1, x2, y2] = area.unwrap_or([x, y, x + 1, y + 1]);
            Some([x1.min(x), y1.min(y), x2.max(x + 1), y2.max(y + 1)])
        })
    }

    fn check(boxes: &[LabelledBox], expected: Option<[u32; 4]>) {
        assert_eq!(painted([100, 80], boxes), expected, "{boxes:?}");
    }

    #[test]
    fn boxes_stay_in_place_and_inside_the_picture() {
        check(&[], None);
        check(
            &[labelled([10.0, 20.0, 30.0, 40.0], "")],
            Some([10, 20, 30, 40]),
        );
        check(&[labelled([-50.0, -50.0, 400.0, 300.0], "")], None);
        let fonts = Fonts::without_system();
        let [width, height] = Letters::new(&fonts, 11).plate("ab").map(|side| side as u32);
        let at_50 = |y1, y2| Some([50, y1, 50 + width, y2]);
        check(
            &[labelled([50.0, 40.0, 54.0, 44.0], "ab")],
            at_50(40 - height, 44),
        );
        // No room above: the label moves inside the picture.
        check(&[labelled([50.0, 0.0, 54.0, 44.0], "ab")], at_50(0, 44));
        // No room on the right: it moves to the left.
        check(
            &[labelled([95.0, 40.0, 99.0, 44.0], "ab")],
            Some([100 - width, 40 - height, 100, 44]),
        );
        // Another label for the same box lies below the first one.
        let twice = [
            labelled([50.0, 40.0, 54.0, 44.0], "ab"),
            labelled([50.0, 40.0, 54.0, 44.0], "ab"),
        ];
        check(&twice, at_50(40 - height, 44 + height));
    }

    #[test]
    fn a_long_label_is_cut_and_keeps_its_score() {
        let fonts = Fonts::without_system();
        let letters = Letters::new(&fonts, 11);
        let check = |name: &str, detail: &str, width, expected: &str| {
            let detail = detail.to_owned();
            let labelled = LabelledBox {
                detail,
                ..labelled([0.0; 4], name)
            };
            let text = labelled.text(letters, width);
            assert_eq!(text, expected, "{name} on {width}");
            assert!(
                text.is_empty() || letters.plate(&text)[0] <= width,
                "{name}"
            );
        };
        let long = "a ".repeat(150);
        let width = |text: &str| letters.plate(text)[0];
        check("cat", "0.87", 100, "cat 0.87");
        check(&long, "0.87", width("a a a… 0.87"), "a a a… 0.87");
        check(&long, "0.87", width("… 0.87"), "… 0.87");
        check(&long, "0.87", width("0.87"), "0.87");
        check(&long, "0.87", width("0…"), "0…");
        check(&long, "", width("a…"), "a…");
        check(&long, "0.87", 1, "");
        check("", "0.87", 100, "0.87");
        let wide = labelled([0.0; 4], &long).text(letters, 4000);
        assert!((240..=264).contains(&letters.plate(&wide)[0]), "{wide}");
        check("", "", 100, "");
    }

    #[test]
    fn odd_boxes_and_texts_do_not_panic() {
        for bbox in [
            [f32::NAN; 4],
            [f32::INFINITY; 4],
            [f32::MIN, f32::MIN, f32::MAX, f32::MAX],
            [30.0, 30.0, 10.0, 10.0],
            [5.0; 4],
        ] {
            painted(
                [40, 30],
                &[labelled(bbox, "a label far wider than the picture")],
            );
        }
        for name in [
            "émoji 🚲",
            "e\u{301}\u{301}",
            "\u{301}",
            "שלום a",
            "\n\t\0",
            " ",
            "\u{200d}\u{fe0f}",
        ] {
            for size in [[1, 1], [3, 200], [200, 3], [90, 60]] {
                painted(size, &[labelled([0.0, 0.0, 1.0, 1.0], name)]);
            }
        }
    }

    #[test]
    fn lines_and_letters_grow_with_the_picture() {
        let sizes = [(64, 64), (256, 192), (640, 480), (1333, 800), (4000, 3000)];
        let looks = sizes.map(|(w, h)| Look::for_size(w, h));
        assert_eq!(looks.map(|look| look.line), [1, 1, 2, 4, 15]);
        assert_eq!(looks.map(|look| look.text), [11, 11, 16, 26, 100]);
    }

    #[test]
    fn the_extension_decides_the_format() {
        let folder = tempfile::tempdir().unwrap();
        let picture = RgbImage::from_pixel(20, 10, Rgb([200, 100, 50]));
        let check = |name: &str, start: &[u8]| {
            let path = folder.path().join(name);
            save(&picture, &path).unwrap();
            assert!(std::fs::read(&path).unwrap().starts_with(start), "{name}");
            let read = aweigh_data::decode(&path, &aweigh_data::DecodeConfig::default()).unwrap();
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
}
