//! The top of a sheet: what it shows and what its marks mean.

use aweigh_train::explain::{Learns, PointRole, Stage};
use image::RgbImage;

use super::layout::Layout;
use super::panel::{Marks, PADDING, anchors_per_point};
use super::paper::{blank, paragraph, stack, wrap};
use super::sheets::Sheets;
use crate::colour::{BLACK, FAINT, box_colour};
use crate::pen::Pen;
use crate::text::Letters;

/// What stands before an entry of the legend.
#[derive(Debug, Clone, Copy)]
enum Symbol {
    Mark(PointRole),
    /// The frame of a box, its line as thick as given.
    Frame(i32),
    Hatch,
    Padding,
}

/// Heading and legend.
pub(super) fn draw(sheets: &Sheets<'_>, stage: &Stage, layout: &Layout) -> RgbImage {
    let letters = sheets.letters(layout);
    let heading = wrap(&heading(sheets, stage), layout.width(), letters);
    let heading = paragraph(&heading, 0, layout.width(), letters);
    let legend = flow(&entries(sheets, stage), layout, letters);
    stack(&[heading, legend], layout.margin() / 2)
}

fn heading(sheets: &Sheets<'_>, stage: &Stage) -> String {
    let explained = sheets.explained;
    let name = explained.meta.file.file_name().unwrap_or_default();
    let [height, width] = explained.input;
    let stages = explained.explanation.stages.len();
    let of_stages = match stages {
        1 => String::new(),
        _ => format!(", {} stage", stage.name),
    };
    let anchors = stage.levels.first().map_or(1, anchors_per_point);
    let what = match anchors {
        1 => "points".to_owned(),
        n => format!("anchors ({n} at each point, drawn around it)"),
    };
    format!(
        "{}{of_stages}: which {what} of each level learn which box of {}. Sizes are in pixels of \
         the network input, {width} x {height}.",
        explained.method,
        name.to_string_lossy(),
    )
}

/// Only what there is on the sheet.
fn entries(sheets: &Sheets<'_>, stage: &Stage) -> Vec<(Symbol, &'static str)> {
    let shown = || sheets.levels.iter().map(|l| &stage.levels[*l]);
    let any = |role: fn(PointRole) -> bool| shown().any(|level| level.count(role) > 0);
    let background = match stage.learns {
        Learns::ClassesAndBoxes => "learns that there is no object",
        Learns::Boxes => "learns nothing in this stage",
    };
    let truth = &sheets.explained.truth;
    let boxes = !truth.boxes.is_empty();
    let mut entries = Vec::new();
    let mut add = |symbol, text, there: bool| entries.extend(there.then_some((symbol, text)));
    add(Symbol::Frame(3), "a box that trains the level", boxes);
    add(Symbol::Frame(1), "a box that does not", boxes);
    add(
        Symbol::Mark(PointRole::Positive { slot: 0 }),
        "learns the box of its colour",
        boxes,
    );
    add(
        Symbol::Mark(PointRole::OtherLevel { slot: 0 }),
        "could learn the box of its colour, which trains another level",
        any(|role| matches!(role, PointRole::OtherLevel { .. })),
    );
    add(Symbol::Mark(PointRole::Background), background, true);
    add(
        Symbol::Mark(PointRole::Shadowed),
        "learns nothing about the class of a box nearby",
        any(|role| role == PointRole::Shadowed),
    );
    add(
        Symbol::Mark(PointRole::Ignored),
        "ignored: learns nothing",
        any(|role| role == PointRole::Ignored),
    );
    add(Symbol::Hatch, "ignore region", !truth.ignore.is_empty());
    add(
        Symbol::Padding,
        "padding",
        sheets.explained.meta.frame.size != sheets.explained.input,
    );
    entries
}

/// Entries one after another, in as many lines as they need.
fn flow(entries: &[(Symbol, &'static str)], layout: &Layout, letters: Letters<'_>) -> RgbImage {
    let unit = layout.unit as i32;
    let (symbol, gap) = (24 * unit, 26 * unit);
    let mut places = Vec::new();
    let [mut x, mut y] = [0, 0];
    for (_, text) in entries {
        let width = symbol + letters.width(text);
        if x > 0 && x + width > layout.width() as i32 {
            [x, y] = [0, y + letters.line()];
        }
        places.push([x, y]);
        x += width + gap;
    }
    let mut picture = blank([layout.width(), (y + letters.line()) as u32]);
    let mut pen = Pen {
        picture: &mut picture,
    };
    for ((kind, text), [x, y]) in entries.iter().zip(places) {
        draw_symbol(&mut pen, *kind, [x, y], layout);
        pen.text([x + symbol, y], text, letters, BLACK);
    }
    picture
}

fn draw_symbol(pen: &mut Pen<'_>, symbol: Symbol, [x, y]: [i32; 2], layout: &Layout) {
    let unit = layout.unit as i32;
    let area = [x + 2 * unit, y + 4 * unit, x + 18 * unit, y + 17 * unit].map(|side| side as f32);
    let center = [area[0] + area[2], area[1] + area[3]].map(|sum| sum / 2.0);
    match symbol {
        Symbol::Mark(role) => Marks::of_legend(layout).draw(pen, center, role),
        Symbol::Frame(line) => pen.frame(area, line * unit, box_colour(0), 1.0),
        Symbol::Padding => {
            let [x1, y1, x2, y2] = area.map(|side| side as i32);
            pen.fill([x1, y1, x2 - x1, y2 - y1], PADDING, 1.0);
        }
        Symbol::Hatch => {
            pen.hatch(area, 5 * unit, FAINT);
            pen.frame(area, unit, FAINT, 1.0);
        }
    }
}
