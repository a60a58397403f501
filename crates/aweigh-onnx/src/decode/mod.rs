//! From raw predictions to boxes and scores, and to detections.

mod detections;
mod geometry;

use aweigh_detectors::{InferenceConfig, Score};

use crate::graph::{Graph, Value};

pub(crate) use detections::detections;
pub(crate) use geometry::{Level, Levels};

/// What the points, or anchors, of one level predict.
#[derive(Debug, Clone)]
pub(crate) struct Predicted {
    /// Class logits, `[B, P, C]`.
    pub(crate) logits: Value,
    /// Boxes in pixels of the input, not clipped, `[B, P, 4]`.
    pub(crate) boxes: Value,
    /// Logits of the quality, `[B, P, 1]`.
    pub(crate) quality: Option<Value>,
}

/// Scores and clipped boxes of one level.
#[derive(Debug, Clone)]
pub(crate) struct Scored {
    /// Class scores, `[B, P, C]`.
    class: Value,
    /// Qualities, `[B, P, 1]`.
    quality: Option<Value>,
    /// `[B, P, 4]`
    boxes: Value,
}

impl Scored {
    /// Scores and boxes of what a level predicts.
    pub(crate) fn new(graph: &mut Graph, predicted: &Predicted, levels: &Levels) -> Self {
        let quality = predicted.quality.as_ref();
        Self {
            class: graph.unary("Sigmoid", &predicted.logits),
            quality: quality.map(|quality| graph.unary("Sigmoid", quality)),
            boxes: levels.clip(graph, &predicted.boxes, 0.0),
        }
    }
}

/// The score of a detection of a class score and a quality, which may have other shapes.
fn combine(graph: &mut Graph, class: &Value, quality: Option<&Value>, how: Score) -> Value {
    let Some(quality) = quality else {
        return class.clone();
    };
    let product = graph.mul(class, quality);
    match how {
        Score::Product => product,
        Score::Sqrt => graph.unary("Sqrt", &product),
    }
}

/// Boxes `[B, N, 4]` and scores `[B, N, C]` of all levels.
pub(crate) fn decoded(
    graph: &mut Graph,
    scored: &[Scored],
    config: &InferenceConfig,
) -> [Value; 2] {
    let score =
        |scored: &Scored| combine(graph, &scored.class, scored.quality.as_ref(), config.score);
    let scores: Vec<Value> = scored.iter().map(score).collect();
    let boxes: Vec<Value> = scored.iter().map(|scored| scored.boxes.clone()).collect();
    [graph.concat(&boxes, 1), graph.concat(&scores, 1)]
}

/// A map `[B, V, H, W]` as rows `[B, H W, V]`.
pub(crate) fn rows(graph: &mut Graph, map: &Value, values: usize) -> Value {
    let flat = graph.reshape(map, &[0, values as i64, -1]);
    graph.transpose(&flat, &[0, 2, 1])
}

/// A map `[B, A V, H, W]` of A anchors per point as rows `[B, A H W, V]`: one anchor at every point,
/// then the next anchor.
pub(crate) fn anchor_rows(graph: &mut Graph, map: &Value, [anchors, values]: [usize; 2]) -> Value {
    let flat = graph.reshape(map, &[0, anchors as i64, values as i64, -1]);
    let rows = graph.transpose(&flat, &[0, 1, 3, 2]);
    graph.reshape(&rows, &[0, -1, values as i64])
}
