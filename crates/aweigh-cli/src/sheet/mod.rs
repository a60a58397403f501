//! Sheets that show, level by level, which points the boxes of an image train.

mod boxes;
mod layout;
mod legend;
mod panel;
mod table;

use aweigh_train::explain::{ExplainedImage, LevelRoles, Stage};
use image::{Rgb, RgbImage, imageops};

use crate::pen::{BLACK, Pen, WHITE};
use crate::text::{Fonts, Letters};
use layout::Layout;

pub(crate) use boxes::table as box_table;

const DARK: Rgb<u8> = Rgb([70; 3]);
const FAINT: Rgb<u8> = Rgb([125; 3]);
const ALARM: Rgb<u8> = Rgb([190, 0, 0]);

/// What the sheets of an image have in common.
#[derive(Debug)]
pub(crate) struct Sheets<'a> {
    /// Which points the boxes train.
    pub(crate) explained: &'a ExplainedImage,
    /// The picture as it is in its file.
    pub(crate) picture: &'a RgbImage,
    /// Indices of the levels to show.
    pub(crate) levels: &'a [usize],
    /// Names of the classes that the fonts have.
    pub(crate) names: &'a [String],
    pub(crate) fonts: &'a Fonts,
}

impl<'a> Sheets<'a> {
    /// The sheet of a stage: heading, legend, one panel per level, a table of the boxes.
    pub(crate) fn draw(&self, stage: &Stage) -> RgbImage {
        let shown: Vec<&LevelRoles> = self.levels.iter().map(|l| &stage.levels[*l]).collect();
        let finest = shown.iter().map(|level| level.shape.stride).min();
        let layout = Layout::new(shown.len(), self.explained.input, finest.unwrap_or(1));
        let table = boxes::table(self.explained, stage, self.names);
        let letters = self.letters(&layout);
        let mut cells = self.panels(&layout, &shown);
        let mut parts = vec![legend::draw(self, stage, &layout)];
        // The table goes where the last row of panels has room, or below.
        let free = layout.free_width(cells.len());
        if table.fits([free, cells[0].height()], letters) {
            cells.push(table.draw(free, letters));
            parts.push(grid(&cells, &layout));
        } else {
            parts.push(grid(&cells, &layout));
            parts.push(table.draw(layout.width(), letters));
        }
        framed(&stack(&parts, layout.margin()), layout.margin())
    }

    /// Letters of all text.
    fn letters(&self, layout: &Layout) -> Letters<'a> {
        Letters::new(self.fonts, 20 * layout.unit)
    }

    /// Letters of the numbers of boxes.
    fn small_letters(&self, layout: &Layout) -> Letters<'a> {
        Letters::new(self.fonts, 16 * layout.unit)
    }

    /// The levels, each with its title.
    fn panels(&self, layout: &Layout, shown: &[&LevelRoles]) -> Vec<RgbImage> {
        let letters = self.letters(layout);
        let names = self.levels.iter().map(|l| &self.explained.levels[*l].name);
        let titles: Vec<Vec<String>> = names
            .zip(shown)
            .map(|(name, level)| wrap(&panel::title(name, level), layout.panel[0], letters))
            .collect();
        let lines = titles.iter().map(Vec::len).max().unwrap_or(0);
        let background = panel::background(self, layout);
        let of_level = |(level, title): (&&LevelRoles, &Vec<String>)| {
            let title = paragraph(title, lines, layout.panel[0], letters);
            stack(&[title, panel::draw(self, layout, level, &background)], 0)
        };
        shown.iter().zip(&titles).map(of_level).collect()
    }
}

/// The colour of a box: hues far apart for neighbours, dark enough for a pale picture.
fn box_colour(slot: usize) -> Rgb<u8> {
    /// Steps of the golden section never repeat and fill the circle evenly.
    const HUE_STEP: f64 = 0.618_033_988_749_895;
    /// Brightest luma (BT.601) of a colour that stands out.
    const LUMA: f64 = 120.0;
    let hue = (slot as f64 * HUE_STEP).fract() * 6.0;
    let channel = |shift: f64| {
        let distance = ((hue + shift).rem_euclid(6.0) - 3.0).abs() - 1.0;
        255.0 * distance.clamp(0.0, 1.0)
    };
    let [r, g, b] = [channel(0.0), channel(4.0), channel(2.0)];
    let dim = (LUMA / (0.299 * r + 0.587 * g + 0.114 * b)).min(0.9);
    Rgb([r, g, b].map(|value| (value * dim) as u8))
}

/// White paper.
fn blank([width, height]: [u32; 2]) -> RgbImage {
    RgbImage::from_pixel(width, height, WHITE)
}

/// Breaks a text into lines that fit a width; a word that does not is cut.
fn wrap(text: &str, width: u32, letters: Letters<'_>) -> Vec<String> {
    let width = width as i32;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let longer = lines.last().map(|line| format!("{line} {word}"));
        match (lines.last_mut(), longer) {
            (Some(line), Some(longer)) if letters.width(&longer) <= width => *line = longer,
            _ => lines.push(letters.shortened(word, width)),
        }
    }
    lines
}

/// Lines of text as a picture with room for at least `count` of them.
fn paragraph(lines: &[String], count: usize, width: u32, letters: Letters<'_>) -> RgbImage {
    let line = letters.line();
    let mut picture = blank([width, line as u32 * lines.len().max(count) as u32]);
    let mut pen = Pen {
        picture: &mut picture,
    };
    for (index, text) in lines.iter().enumerate() {
        pen.text([0, index as i32 * line], text, letters, BLACK);
    }
    picture
}

/// Pictures one below the other.
fn stack(parts: &[RgbImage], gap: u32) -> RgbImage {
    let width = parts.iter().map(RgbImage::width).max().unwrap_or(0);
    let heights: u32 = parts.iter().map(RgbImage::height).sum();
    let mut all = blank([width, heights + gap * (parts.len() as u32 - 1)]);
    let mut y = 0;
    for part in parts {
        imageops::replace(&mut all, part, 0, y.into());
        y += part.height() + gap;
    }
    all
}

/// Cells in rows and columns.
fn grid(cells: &[RgbImage], layout: &Layout) -> RgbImage {
    let rows = cells.chunks(layout.columns).map(|row| {
        let height = row.iter().map(RgbImage::height).max().unwrap_or(0);
        let mut all = blank([layout.width(), height]);
        for (index, cell) in row.iter().enumerate() {
            let x = index as u32 * (layout.panel[0] + layout.margin());
            imageops::replace(&mut all, cell, x.into(), 0);
        }
        all
    });
    stack(&rows.collect::<Vec<RgbImage>>(), layout.margin())
}

/// A picture with a margin on all sides.
fn framed(picture: &RgbImage, margin: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let mut all = blank([width + 2 * margin, height + 2 * margin]);
    imageops::replace(&mut all, picture, margin.into(), margin.into());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_breaks_between_words() {
        let fonts = Fonts::without_system();
        let letters = Letters::new(&fonts, 20);
        let width = |text: &str| letters.width(text) as u32;
        let check = |text, width, lines: &[&str]| {
            assert_eq!(wrap(text, width, letters), lines, "{text}");
        };
        check("one two three", width("one two three"), &["one two three"]);
        check(
            "one two three",
            width("one two three") - 1,
            &["one two", "three"],
        );
        check("one two three", width("three"), &["one", "two", "three"]);
        check("a photograph", width("photo…"), &["a", "photo…"]);
        check("", 10, &[""]);
    }

    #[test]
    fn box_colours_differ_and_are_not_too_bright() {
        let luma =
            |Rgb([r, g, b]): Rgb<u8>| 299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b);
        let distance = |a: Rgb<u8>, b: Rgb<u8>| -> u32 {
            let channels = a.0.into_iter().zip(b.0);
            channels.map(|(a, b)| u32::from(a.abs_diff(b))).sum()
        };
        for slot in 0..100 {
            assert!(luma(box_colour(slot)) <= 120_000, "{slot}");
            assert!(
                distance(box_colour(slot), box_colour(slot + 1)) > 100,
                "{slot}"
            );
        }
    }
}
