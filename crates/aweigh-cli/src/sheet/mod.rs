//! Sheets that show, level by level, which points the boxes of an image train.

mod boxes;
mod layout;
mod legend;
mod panel;
mod pen;
mod table;

use aweigh_train::explain::{ExplainedImage, LevelRoles, Stage};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::RgbColor;
use image::{Rgb, RgbImage, imageops};

use layout::Layout;
use pen::{Letters, Pen};

pub(crate) use boxes::table as box_table;

const DARK: Rgb888 = Rgb888::new(70, 70, 70);
const FAINT: Rgb888 = Rgb888::new(125, 125, 125);
const ALARM: Rgb888 = Rgb888::new(190, 0, 0);

/// What the sheets of an image have in common.
#[derive(Debug)]
pub(crate) struct Sheets<'a> {
    /// Which points the boxes train.
    pub(crate) explained: &'a ExplainedImage,
    /// The picture as it is in its file.
    pub(crate) picture: &'a RgbImage,
    /// Indices of the levels to show.
    pub(crate) levels: &'a [usize],
}

impl Sheets<'_> {
    /// The sheet of a stage: heading, legend, one panel per level, a table of the boxes.
    pub(crate) fn draw(&self, stage: &Stage) -> RgbImage {
        let shown: Vec<&LevelRoles> = self.levels.iter().map(|l| &stage.levels[*l]).collect();
        let finest = shown.iter().map(|level| level.shape.stride).min();
        let layout = Layout::new(shown.len(), self.explained.input, finest.unwrap_or(1));
        let table = boxes::table(self.explained, stage);
        let letters = Letters::medium(layout.unit);
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

    /// The levels, each with its title.
    fn panels(&self, layout: &Layout, shown: &[&LevelRoles]) -> Vec<RgbImage> {
        let letters = Letters::large(layout.unit);
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
fn box_colour(slot: usize) -> Rgb888 {
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
    let [r, g, b] = [r, g, b].map(|value| (value * dim) as u8);
    Rgb888::new(r, g, b)
}

/// White paper.
fn blank([width, height]: [u32; 2]) -> RgbImage {
    RgbImage::from_pixel(width, height, Rgb([255; 3]))
}

/// Breaks a text into lines that fit a width.
fn wrap(text: &str, width: u32, letters: Letters) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line)
                if letters.width(line.chars().count() + 1 + word.chars().count()) <= width =>
            {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Lines of text as a picture with room for at least `count` of them.
fn paragraph(lines: &[String], count: usize, width: u32, letters: Letters) -> RgbImage {
    let line = letters.line();
    let mut picture = blank([width, line * lines.len().max(count) as u32]);
    let mut pen = Pen {
        picture: &mut picture,
    };
    for (index, text) in lines.iter().enumerate() {
        pen.text(
            [0, index as i32 * line as i32],
            text,
            letters,
            Rgb888::BLACK,
        );
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
        let check = |text, width, lines: &[&str]| {
            assert_eq!(wrap(text, width, Letters::large(1)), lines, "{text}");
        };
        check("one two three", 130, &["one two three"]);
        check("one two three", 129, &["one two", "three"]);
        check("one two three", 10, &["one", "two", "three"]);
        check("", 10, &[""]);
    }

    #[test]
    fn box_colours_differ_and_are_not_too_bright() {
        let luma =
            |c: Rgb888| 299 * u32::from(c.r()) + 587 * u32::from(c.g()) + 114 * u32::from(c.b());
        let distance = |a: Rgb888, b: Rgb888| {
            let part = |f: fn(&Rgb888) -> u8| u32::from(f(&a).abs_diff(f(&b)));
            part(Rgb888::r) + part(Rgb888::g) + part(Rgb888::b)
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
