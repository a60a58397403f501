//! The boxes of an image as a table: where each trains how many points.

use aweigh_train::explain::{ExplainedImage, LevelRoles, Stage};

use super::table::{Cell, Emphasis, Table};
use crate::colour::box_colour;

/// Longest name of a class that is not cut, in letters.
const NAME: usize = 18;

/// One row per box: number, class, size, points or losses on each level, all points. `names` are
/// those of the classes.
pub(crate) fn table(explained: &ExplainedImage, stage: &Stage, names: &[String]) -> Table {
    let levels = explained.levels.iter();
    let levels = levels.map(|level| match stage.level_losses {
        Some(_) => format!("loss {}", level.name),
        None => level.name.clone(),
    });
    let fixed = ["box", "class", "size"].map(str::to_owned);
    let header = fixed.into_iter().chain(levels).chain(["points".to_owned()]);
    let boxes = 0..explained.truth.boxes.len();
    Table {
        title: match stage.level_losses {
            _ if boxes.is_empty() => "The image has no boxes.",
            Some(_) => {
                "Mean loss of each box on each level, coloured where it is smallest: on the level \
                 that the box trains. Number of points of that level that learn the box."
            }
            None => "Number of points of each level that learn each box.",
        },
        header: header.collect(),
        rows: boxes
            .map(|slot| row(explained, stage, names, slot))
            .collect(),
    }
}

fn row(explained: &ExplainedImage, stage: &Stage, names: &[String], slot: usize) -> Vec<Cell> {
    let name = &names[explained.truth.labels[slot]];
    let [x1, y1, x2, y2] = explained.truth.boxes[slot];
    let colour = box_colour(slot);
    let mut row = vec![
        Cell::new(slot.to_string(), Emphasis::Plate(colour)),
        Cell::new(cut(name), Emphasis::None),
        Cell::new(format!("{:.0}x{:.0}", x2 - x1, y2 - y1), Emphasis::None),
    ];
    for (index, level) in stage.levels.iter().enumerate() {
        row.push(match &stage.level_losses {
            Some(losses) => loss(losses[slot][index], level.trained_by(slot), slot),
            None => count(level, slot),
        });
    }
    let all: usize = stage.levels.iter().map(|l| l.trained_by(slot)).sum();
    row.push(match all {
        0 => Cell::new("none", Emphasis::Alarm),
        all => Cell::new(all.to_string(), Emphasis::None),
    });
    row
}

/// The points of a level that learn a box.
fn count(level: &LevelRoles, slot: usize) -> Cell {
    match level.trained_by(slot) {
        0 => Cell::new("-", Emphasis::Faint),
        count => Cell::new(count.to_string(), Emphasis::None),
    }
}

/// The loss of a box on a level, on a plate where it trains the level.
fn loss(loss: f32, trained: usize, slot: usize) -> Cell {
    match (loss.is_finite(), trained) {
        (false, _) => Cell::new("-", Emphasis::Faint),
        (true, 0) => Cell::new(format!("{loss:.3}"), Emphasis::None),
        (true, _) => Cell::new(format!("{loss:.3}"), Emphasis::Plate(box_colour(slot))),
    }
}

fn cut(name: &str) -> String {
    match name.chars().count() {
        0..=NAME => name.to_owned(),
        _ => name.chars().take(NAME - 1).chain(['…']).collect(),
    }
}
