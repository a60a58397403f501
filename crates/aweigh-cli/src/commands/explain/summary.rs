//! The assignment of an image in words and as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use aweigh_train::explain::{ExplainedImage, Learns, LevelRoles, PointRole, Stage};
use aweigh_train::files::replace_file;
use serde::Serialize;

use crate::output::table;
use crate::sheet::box_table;

/// A stage as a heading and a table of boxes.
pub(super) fn text(explained: &ExplainedImage, stage: &Stage) -> String {
    let all: usize = stage.levels.iter().map(|level| level.roles.len()).sum();
    let positive: usize = stage.levels.iter().map(positive).sum();
    let heading = format!(
        "{}, {}: {positive} of {all} learn a box",
        explained.method, stage.name
    );
    if explained.truth.boxes.is_empty() {
        return format!("{heading}; the image has no boxes");
    }
    let names = explained.classes.iter().map(|class| class.name.clone());
    let content = box_table(explained, stage, &names.collect::<Vec<_>>());
    let header: Vec<&str> = content.header.iter().map(String::as_str).collect();
    let mut rows = table(&header, 2);
    for row in content.plain() {
        rows.add_row(row);
    }
    let chosen = match stage.level_losses {
        Some(_) => "\n* on the level that the box trains",
        None => "",
    };
    format!("{heading}\n{rows}{chosen}")
}

/// Warns of boxes that the detector cannot learn from this image.
pub(super) fn warn(explained: &ExplainedImage, stage: &Stage) {
    let boxes = 0..explained.truth.boxes.len();
    let untrained = boxes.filter(|slot| stage.levels.iter().all(|l| l.trained_by(*slot) == 0));
    let untrained: Vec<String> = untrained.map(|slot| slot.to_string()).collect();
    if !untrained.is_empty() {
        tracing::warn!(
            "{}: no point learns box {}",
            stage.name,
            untrained.join(", ")
        );
    }
}

/// Everything about an image.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    image: String,
    method: &'static str,
    /// Height and width of the network input; points are in its pixels.
    input: [usize; 2],
    /// Input over image, along x and y.
    scale: [f32; 2],
    levels: Vec<LevelSummary<'a>>,
    boxes: Vec<BoxSummary<'a>>,
    /// `[x1, y1, x2, y2]` in pixels of the network input.
    ignore: &'a [[f32; 4]],
    stages: Vec<StageSummary<'a>>,
}

#[derive(Debug, Serialize)]
struct LevelSummary<'a> {
    name: &'a str,
    stride: usize,
    height: usize,
    width: usize,
}

#[derive(Debug, Serialize)]
struct BoxSummary<'a> {
    category: &'a str,
    /// `[x1, y1, x2, y2]` in pixels of the network input.
    input: [f32; 4],
    /// The same in pixels of the image.
    image: [f32; 4],
}

#[derive(Debug, Serialize)]
struct StageSummary<'a> {
    name: &'static str,
    learns: &'static str,
    levels: BTreeMap<&'a str, Points>,
    /// Loss of each box on each level, where losses choose the level; `null` where the box reaches
    /// no point of the level, since JSON has no infinity.
    #[serde(skip_serializing_if = "Option::is_none")]
    level_losses: Option<&'a Vec<Vec<f32>>>,
}

/// The points of a level.
#[derive(Debug, Serialize)]
struct Points {
    all: usize,
    ignored: usize,
    shadowed: usize,
    other_level: usize,
    /// Number of points that learn each box.
    of_boxes: Vec<usize>,
    positive: Vec<PositivePoint>,
}

#[derive(Debug, Serialize)]
struct PositivePoint {
    /// `[x, y]`
    at: [f32; 2],
    #[serde(rename = "box")]
    slot: usize,
}

/// Writes the assignment of an image.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn save(explained: &ExplainedImage, path: &Path) -> Result<()> {
    let text = serde_json::to_string(&summary(explained)).context("the summary is not JSON")?;
    replace_file(path, text.as_bytes())
        .with_context(|| format!("{}: the summary cannot be written", path.display()))
}

fn summary(explained: &ExplainedImage) -> Summary<'_> {
    let (meta, truth) = (&explained.meta, &explained.truth);
    let boxes = truth.boxes.iter().zip(&truth.labels);
    let levels = explained.levels.iter();
    let stages = explained.explanation.stages.iter();
    Summary {
        image: meta.file.display().to_string(),
        method: explained.method,
        input: explained.input,
        scale: meta.frame.scale,
        levels: levels
            .map(|level| LevelSummary {
                name: &level.name,
                stride: level.shape.stride,
                height: level.shape.height,
                width: level.shape.width,
            })
            .collect(),
        boxes: boxes
            .map(|(bbox, label)| BoxSummary {
                category: &explained.classes[*label].name,
                input: *bbox,
                image: meta.to_original(*bbox),
            })
            .collect(),
        ignore: &truth.ignore,
        stages: stages.map(|stage| of_stage(explained, stage)).collect(),
    }
}

fn of_stage<'a>(explained: &'a ExplainedImage, stage: &'a Stage) -> StageSummary<'a> {
    let names = explained.levels.iter().map(|level| level.name.as_str());
    let boxes = explained.truth.boxes.len();
    let levels = stage.levels.iter().map(|level| points(level, boxes));
    StageSummary {
        name: stage.name,
        learns: match stage.learns {
            Learns::ClassesAndBoxes => "classes and boxes",
            Learns::Boxes => "boxes",
        },
        levels: names.zip(levels).collect(),
        level_losses: stage.level_losses.as_ref(),
    }
}

fn points(level: &LevelRoles, boxes: usize) -> Points {
    let all = level.points.iter().zip(&level.roles);
    let positive = all.filter_map(|(at, role)| match role {
        PointRole::Positive { slot } => Some(PositivePoint {
            at: *at,
            slot: *slot,
        }),
        _ => None,
    });
    Points {
        all: level.roles.len(),
        ignored: level.count(|role| role == PointRole::Ignored),
        shadowed: level.count(|role| role == PointRole::Shadowed),
        other_level: level.count(|role| matches!(role, PointRole::OtherLevel { .. })),
        of_boxes: (0..boxes).map(|slot| level.trained_by(slot)).collect(),
        positive: positive.collect(),
    }
}

fn positive(level: &LevelRoles) -> usize {
    level.count(|role| matches!(role, PointRole::Positive { .. }))
}
