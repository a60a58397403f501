//! A table of boxes in as many blocks side by side as there is room for.

use image::{Rgb, RgbImage, imageops};

use super::paper::{blank, paragraph, wrap};
use crate::colour::{ALARM, BLACK, FAINT};
use crate::pen::Pen;
use crate::text::Letters;

/// How the text of a cell stands out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Emphasis {
    None,
    Faint,
    /// Belongs to the box of this colour.
    Plate(Rgb<u8>),
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
    pub(super) fn fits(&self, [width, height]: [u32; 2], letters: Letters<'_>) -> bool {
        self.block_width(letters) <= width && self.height(width, letters) <= height
    }

    /// Height of the table in a picture of `width`.
    fn height(&self, width: u32, letters: Letters<'_>) -> u32 {
        let title = wrap(self.title, width, letters).len();
        (title + 1 + self.rows_per_block(width, letters)) as u32 * letters.line() as u32
    }

    /// The table as a picture of `width`.
    pub(super) fn draw(&self, width: u32, letters: Letters<'_>) -> RgbImage {
        let height = self.height(width, letters);
        let mut picture = blank([width, height]);
        let title = paragraph(&wrap(self.title, width, letters), 0, width, letters);
        imageops::replace(&mut picture, &title, 0, 0);
        let top = title.height() as i32;
        let mut pen = Pen {
            picture: &mut picture,
        };
        let block = self.block_width(letters) as i32;
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
        letters: Letters<'_>,
    ) {
        let header: Vec<Cell> = (self.header.iter())
            .map(|text| Cell::new(text, Emphasis::Faint))
            .collect();
        let widths = self.widths(letters);
        let lines = std::iter::once(&header).chain(rows);
        for (index, cells) in lines.enumerate() {
            let y = top + index as i32 * letters.line();
            let mut x = left;
            for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let free = width - letters.width(&cell.text);
                let indent = if column == 1 { 0 } else { free };
                let at = [x + indent, y];
                match cell.emphasis {
                    Emphasis::Alarm => pen.text(at, &cell.text, letters, ALARM),
                    Emphasis::None => pen.text(at, &cell.text, letters, BLACK),
                    Emphasis::Faint => pen.text(at, &cell.text, letters, FAINT),
                    // The plate reaches over its text, which stays in line with the others.
                    Emphasis::Plate(colour) => {
                        pen.plate([at[0] - letters.margin(), y], &cell.text, letters, colour);
                    }
                }
                x += width + gap(letters);
            }
        }
    }

    /// Width of the widest cell of each column, in pixels.
    fn widths(&self, letters: Letters<'_>) -> Vec<i32> {
        let column = |(index, header): (usize, &String)| {
            let cells = self.rows.iter().map(|row| letters.width(&row[index].text));
            cells.fold(letters.width(header), i32::max)
        };
        self.header.iter().enumerate().map(column).collect()
    }

    /// Distance from the beginning of a block to that of the next, in pixels.
    fn block_width(&self, letters: Letters<'_>) -> u32 {
        let widths = self.widths(letters);
        let gaps = gap(letters) * (widths.len() as i32 + 1);
        (widths.iter().sum::<i32>() + gaps) as u32
    }

    fn rows_per_block(&self, width: u32, letters: Letters<'_>) -> usize {
        let blocks = (width / self.block_width(letters)).max(1) as usize;
        self.rows.len().div_ceil(blocks).max(1)
    }
}

/// Space between two columns, in pixels.
fn gap(letters: Letters<'_>) -> i32 {
    letters.height()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Fonts;

    const RED: Rgb<u8> = Rgb([255, 0, 0]);

    fn table(rows: usize) -> Table {
        let row = |index: usize| {
            vec![
                Cell::new(index.to_string(), Emphasis::Plate(RED)),
                Cell::new("cat", Emphasis::None),
                Cell::new("7", Emphasis::Plate(RED)),
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
        let fonts = Fonts::without_system();
        let letters = Letters::new(&fonts, 20);
        // Three columns with a gap after each, and one more; lines of 25.
        let columns = ["box", "class", "P3"].map(|text| letters.width(text));
        let block = (columns.iter().sum::<i32>() + 4 * 20) as u32;
        let check = |rows, width, height| {
            let picture = table(rows).draw(width, letters);
            assert_eq!(picture.dimensions(), (width, height), "{rows} rows");
            assert!(table(rows).fits([width, height], letters) || width < block);
            assert!(!table(rows).fits([width, height - 1], letters));
        };
        check(0, 2 * block, 75);
        check(4, 2 * block - 1, 150);
        check(4, 2 * block, 100);
        check(5, 2 * block, 125);
        check(4, block - 1, 150);
    }

    #[test]
    fn plates_are_stars_in_plain_text() {
        let rows: Vec<Vec<String>> = table(1).plain().collect();
        assert_eq!(rows, [["0", "cat", "*7"]]);
    }
}
