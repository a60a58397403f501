//! Sizes of boxes and numbers of classes as a picture.

use aweigh_train::statistics::{Census, Statistics};
use image::{Rgb, RgbImage};

use crate::colour::{ALARM, BLACK, FAINT, WHITE, box_colour};
use crate::pen::Pen;
use crate::text::{Fonts, Letters};

/// Width of the figure and height of the histogram, in pixels.
const WIDTH: i32 = 1000;
const HISTOGRAM: i32 = 360;
/// Distance from the sides, in pixels.
const MARGIN: i32 = 28;
/// Height of text, in pixels.
const TEXT: u32 = 20;
/// Height of the row of a class, and the most rows.
const ROW: i32 = 28;
const ROWS: usize = 25;
/// Bars between a size and its double.
const BARS: f32 = 3.0;

/// The colour of a series; the first of all is that of alarm.
fn series_colour(at: usize) -> Rgb<u8> {
    box_colour(at + 1)
}

/// A histogram of sizes, coloured by levels where there is a pyramid, above a bar for each class.
pub(super) fn draw(dataset: &Statistics, census: Option<&Census>) -> RgbImage {
    let fonts = Fonts::new();
    let letters = Letters::new(&fonts, TEXT);
    let rows = dataset.classes.len().min(ROWS) as i32;
    let height = HISTOGRAM + 3 * MARGIN + letters.line() + rows * ROW;
    let mut picture = RgbImage::from_pixel(WIDTH as u32, height as u32, WHITE);
    let mut pen = Pen {
        picture: &mut picture,
    };
    histogram(&mut pen, &Sizes::of(dataset, census), letters);
    classes(&mut pen, dataset, HISTOGRAM + 2 * MARGIN, letters);
    picture
}

/// What the histogram shows.
struct Sizes {
    title: String,
    /// The smallest bar, in steps of a part of a doubling.
    first: i32,
    /// Boxes of each bar and each series.
    bars: Vec<Vec<usize>>,
    /// The name and colour of each series.
    series: Vec<(String, Rgb<u8>)>,
}

impl Sizes {
    fn of(dataset: &Statistics, census: Option<&Census>) -> Self {
        let Some(census) = census else {
            let sizes: Vec<(f32, usize)> = dataset.sizes.iter().map(|size| (*size, 0)).collect();
            let series = vec![("boxes".to_owned(), series_colour(0))];
            return Self::new("size of boxes, px of the images".to_owned(), &sizes, series);
        };
        let mut series: Vec<(String, Rgb<u8>)> = (0..)
            .zip(&census.levels)
            .map(|(at, level)| (format!("{} {}", level.name, level.boxes), series_colour(at)))
            .collect();
        series.push((format!("not learnt {}", census.unlearnt), ALARM));
        let none = census.levels.len();
        let each = census.each.iter();
        let sizes: Vec<(f32, usize)> = each.map(|b| (b.size, b.level.unwrap_or(none))).collect();
        let title = "size of boxes, px of the network input, by level".to_owned();
        Self::new(title, &sizes, series)
    }

    fn new(title: String, sizes: &[(f32, usize)], series: Vec<(String, Rgb<u8>)>) -> Self {
        let step = |size: f32| (size.max(1.0).log2() * BARS).floor() as i32;
        let steps = || sizes.iter().map(|(size, _)| step(*size));
        let (first, last) = (steps().min().unwrap_or(0), steps().max().unwrap_or(0));
        let mut bars = vec![vec![0; series.len()]; (last - first + 1) as usize];
        for (size, series) in sizes {
            bars[(step(*size) - first) as usize][*series] += 1;
        }
        Self {
            title,
            first,
            bars,
            series,
        }
    }
}

fn histogram(pen: &mut Pen<'_>, sizes: &Sizes, letters: Letters<'_>) {
    pen.text([MARGIN, MARGIN], &sizes.title, letters, BLACK);
    legend(pen, sizes, letters);
    let (top, bottom) = (
        MARGIN + 3 * letters.line(),
        HISTOGRAM + MARGIN - letters.line(),
    );
    let most = sizes
        .bars
        .iter()
        .map(|bar| bar.iter().sum::<usize>())
        .max()
        .unwrap_or(0)
        .max(1);
    let width = (WIDTH - 2 * MARGIN) / sizes.bars.len() as i32;
    for (at, bar) in (0..).zip(&sizes.bars) {
        let (x, mut y) = (MARGIN + at * width, bottom);
        for (count, (_, colour)) in bar.iter().zip(&sizes.series) {
            let height = ((bottom - top) as f32 * *count as f32 / most as f32).round() as i32;
            y -= height;
            pen.fill([x + 1, y, (width - 2).max(1), height], *colour, 1.0);
        }
        let all: usize = bar.iter().sum();
        let count = all.to_string();
        if all > 0 && letters.width(&count) < width {
            pen.text([x + 2, y - letters.line()], &count, letters, FAINT);
        }
        let lower = ((sizes.first + at) as f32 / BARS).exp2();
        let label = format!("{lower:.0}");
        if letters.width(&label) < width {
            pen.text([x, bottom + 2], &label, letters, BLACK);
        }
    }
    pen.fill([MARGIN, bottom, WIDTH - 2 * MARGIN, 1], BLACK, 1.0);
}

fn legend(pen: &mut Pen<'_>, sizes: &Sizes, letters: Letters<'_>) {
    let (mut x, y) = (MARGIN, MARGIN + letters.line());
    for (name, colour) in &sizes.series {
        pen.plate([x, y], name, letters, *colour);
        x += letters.plate(name)[0] + letters.margin();
    }
}

fn classes(pen: &mut Pen<'_>, dataset: &Statistics, top: i32, letters: Letters<'_>) {
    let mut classes: Vec<_> = dataset.classes.iter().collect();
    classes.sort_by_key(|class| std::cmp::Reverse(class.boxes));
    let all = classes.len();
    let title = match all > ROWS {
        true => format!("boxes of the {ROWS} most frequent of {all} classes"),
        false => "boxes of each class".to_owned(),
    };
    pen.text([MARGIN, top], &title, letters, BLACK);
    let most = classes.first().map_or(1, |class| class.boxes.max(1));
    let room = WIDTH - 2 * MARGIN;
    for (row, class) in (0..).zip(classes.iter().take(ROWS)) {
        let y = top + letters.line() + row * ROW;
        let name = letters.shortened(&class.name, room / 4);
        pen.text([MARGIN, y], &name, letters, BLACK);
        let length = (room / 2) as f32 * class.boxes as f32 / most as f32;
        let x = MARGIN + room / 4 + letters.margin();
        pen.fill(
            [x, y + 3, (length as i32).max(1), ROW - 8],
            series_colour(0),
            1.0,
        );
        let end = x + length as i32 + 2 * letters.margin();
        pen.text([end, y], &class.boxes.to_string(), letters, FAINT);
    }
}
