//! A table of boxes in as many blocks side by side as there is room for.

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::RgbColor;
use image::{RgbImage, imageops};

use super::pen::{Letters, Pen};
use super::{ALARM, FAINT, blank, paragraph, wrap};

/// Letters between two columns.
const GAP: usize = 2;

/// How the text of a cell stands out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Emphasis {
    None,
    Faint,
    /// Belongs to the box of this colour.
    Plate(Rgb888),
    Alarm,
}

/// The text of a cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) emphasis: Emphasis,
}

/// Rows of one length; the second column is aligned to the left, the others to the right.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// What the numbers are.
    pub(crate) title: &'static str,
    pub(crate) header: Vec<String>,
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>, emphasis: Emphasis) -> Self {
        Self {
            text: text.into(),
            emphasis,
        }
    }
}

impl Table {
    /// The texts of all cells. A plate is a star, except in the first column, where all are.
    pub(crate) fn plain(&self) -> impl Iterator<Item = Vec<String>> {
        let plain = |(column, cell): (usize, &Cell)| match cell.emphasis {
            Emphasis::Plate(_) if column > 0 => format!("*{}", cell.text),
            _ => cell.text.clone(),
        };
        let rows = self.rows.iter();
        rows.map(move |row| row.iter().enumerate().map(plain).collect())
    }

    /// Whether there is room for the table in a picture of `width` and `height`.
    pub(super) fn fits(&self, [width, height]: [u32; 2], letters: Letters) -> bool {
        letters.width(self.block_letters()) <= width && self.height(width, letters) <= height
    }

    /// Height of the table in a picture of `width`.
    fn height(&self, width: u32, letters: Letters) -> u32 {
        let title = wrap(self.title, width, letters).len();
        (title + 1 + self.rows_per_block(width, letters)) as u32 * letters.line()
    }

    /// The table as a picture of `width`.
    pub(super) fn draw(&self, width: u32, letters: Letters) -> RgbImage {
        let height = self.height(width, letters);
        let mut picture = blank([width, height]);
        let title = paragraph(&wrap(self.title, width, letters), 0, width, letters);
        imageops::replace(&mut picture, &title, 0, 0);
        let top = title.height() as i32;
        let mut pen = Pen {
            picture: &mut picture,
        };
        let block = letters.width(self.block_letters()) as i32;
        let blocks = self.rows.chunks(self.rows_per_block(width, letters));
        for (index, rows) in blocks.enumerate() {
            self.draw_block(&mut pen, [index as i32 * block, top], rows, letters);
        }
        picture
    }

    fn draw_block(
        &self,
        pen: &mut Pen<'_>,
        [left, top]: [i32; 2],
        rows: &[Vec<Cell>],
        letters: Letters,
    ) {
        let header: Vec<Cell> = (self.header.iter())
            .map(|text| Cell::new(text, Emphasis::Faint))
            .collect();
        let lines = std::iter::once(&header).chain(rows);
        for (index, cells) in lines.enumerate() {
            let y = top + index as i32 * letters.line() as i32;
            let mut x = left;
            for (column, (cell, width)) in cells.iter().zip(self.widths()).enumerate() {
                let free = width - cell.text.chars().count();
                let indent = if column == 1 { 0 } else { free };
                let at = [x + letters.width(indent) as i32, y];
                match cell.emphasis {
                    Emphasis::Alarm => pen.text(at, &cell.text, letters, ALARM),
                    Emphasis::None => pen.text(at, &cell.text, letters, Rgb888::BLACK),
                    Emphasis::Faint => pen.text(at, &cell.text, letters, FAINT),
                    // The plate reaches over its text, which stays in line with the others.
                    Emphasis::Plate(colour) => {
                        let margin = letters.width(1) as i32 / 4;
                        pen.plate([at[0] - margin, y], &cell.text, letters, colour);
                    }
                }
                x += letters.width(width + GAP) as i32;
            }
        }
    }

    /// Letters in the longest cell of each column.
    fn widths(&self) -> Vec<usize> {
        let length = |text: &str| text.chars().count();
        let column = |(index, header): (usize, &String)| {
            let cells = self.rows.iter().map(|row| length(&row[index].text));
            cells.fold(length(header), usize::max)
        };
        self.header.iter().enumerate().map(column).collect()
    }

    /// Letters from the beginning of a block to that of the next.
    fn block_letters(&self) -> usize {
        let widths = self.widths();
        widths.iter().sum::<usize>() + GAP * (widths.len() + 1)
    }

    fn rows_per_block(&self, width: u32, letters: Letters) -> usize {
        let block = letters.width(self.block_letters());
        let blocks = (width / block).max(1) as usize;
        self.rows.len().div_ceil(blocks).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: usize) -> Table {
        let row = |index: usize| {
            vec![
                Cell::new(index.to_string(), Emphasis::Plate(Rgb888::RED)),
                Cell::new("cat", Emphasis::None),
                Cell::new("7", Emphasis::Plate(Rgb888::RED)),
            ]
        };
        Table {
            title: "Points",
            header: ["box", "class", "P3"].map(str::to_owned).to_vec(),
            rows: (0..rows).map(row).collect(),
        }
    }

    #[test]
    fn rows_fill_the_blocks_that_there_is_room_for() {
        // 3 + 5 + 2 letters, two between columns and four after the last: 18 of 10 pixels; lines
        // of 25.
        let check = |rows, width, height| {
            let letters = Letters::large(1);
            let picture = table(rows).draw(width, letters);
            assert_eq!(picture.dimensions(), (width, height), "{rows} rows");
            assert!(table(rows).fits([width, height], letters) || width < 180);
            assert!(!table(rows).fits([width, height - 1], letters));
        };
        check(0, 360, 75);
        check(4, 359, 150);
        check(4, 360, 100);
        check(5, 360, 125);
        check(4, 100, 150);
    }

    #[test]
    fn plates_are_stars_in_plain_text() {
        let rows: Vec<Vec<String>> = table(1).plain().collect();
        assert_eq!(rows, [["0", "cat", "*7"]]);
    }
}
