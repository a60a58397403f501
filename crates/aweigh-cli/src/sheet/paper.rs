//! Pictures of text, and pictures beside and below each other.

use image::{RgbImage, imageops};

use super::layout::Layout;
use crate::colour::{BLACK, WHITE};
use crate::pen::Pen;
use crate::text::Letters;

/// White paper.
pub(super) fn blank([width, height]: [u32; 2]) -> RgbImage {
    RgbImage::from_pixel(width, height, WHITE)
}

/// Breaks a text into lines that fit a width in pixels; a word that does not is cut. Crates that
/// wrap text count columns of a terminal, which letters of different widths do not have.
pub(super) fn wrap(text: &str, width: u32, letters: Letters<'_>) -> Vec<String> {
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
pub(super) fn paragraph(
    lines: &[String],
    count: usize,
    width: u32,
    letters: Letters<'_>,
) -> RgbImage {
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
pub(super) fn stack(parts: &[RgbImage], gap: u32) -> RgbImage {
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
pub(super) fn grid(cells: &[RgbImage], layout: &Layout) -> RgbImage {
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
pub(super) fn framed(picture: &RgbImage, margin: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let mut all = blank([width + 2 * margin, height + 2 * margin]);
    imageops::replace(&mut all, picture, margin.into(), margin.into());
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Fonts;

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
}
