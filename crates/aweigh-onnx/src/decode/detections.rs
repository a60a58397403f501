//! Detections of one image: what `aweigh_detectors` does on the host, as a graph.

use aweigh_detectors::{InferenceConfig, RankBy};

use super::{Scored, combine};
use crate::graph::{Graph, Order, Value};

/// The score of a box in a class that it is not of. Below every threshold of a score, so that a
/// score that has become 0 still counts.
const OTHER_CLASS: f32 = -1.0;
/// The least score for NMS: between [`OTHER_CLASS`] and 0.
const LEAST: f32 = -0.5;

/// Candidates in the order of the detector: level after level, the best of a level first.
struct Candidates {
    /// `[M, 4]`
    boxes: Value,
    /// What is compared with the threshold, `[M]`.
    ranks: Value,
    /// Scores of detections, `[M]`.
    scores: Value,
    /// `[M]`, i64
    labels: Value,
}

/// Boxes `[n, 4]`, scores `[n]` and labels `[n]` of the detections, best first; the batch is one
/// image.
pub(crate) fn detections(
    graph: &mut Graph,
    scored: &[Scored],
    classes: usize,
    config: &InferenceConfig,
) -> [Value; 3] {
    let of_level = |level: &Scored| best_of_level(graph, level, classes, config);
    let levels: Vec<Candidates> = scored.iter().map(of_level).collect();
    let mut join = |part: fn(&Candidates) -> &Value| {
        let parts: Vec<Value> = levels.iter().map(|level| part(level).clone()).collect();
        graph.concat(&parts, 0)
    };
    let all = Candidates {
        boxes: join(|c| &c.boxes),
        ranks: join(|c| &c.ranks),
        scores: join(|c| &c.scores),
        labels: join(|c| &c.labels),
    };
    let passed = passed(graph, &all, config);
    let best = suppress(graph, &passed, classes, config);
    [&passed.boxes, &passed.scores, &passed.labels].map(|part| graph.gather(part, &best, 0))
}

/// The `nms_pre` best (point, class) pairs of a level; of equal scores the first point, then the
/// first class.
fn best_of_level(
    graph: &mut Graph,
    level: &Scored,
    classes: usize,
    config: &InferenceConfig,
) -> Candidates {
    let ranks = match config.rank_by {
        RankBy::Class => level.class.clone(),
        RankBy::Score => combine(graph, &level.class, level.quality.as_ref(), config.score),
    };
    let pairs = graph.reshape(&ranks, &[-1]); // [P C]
    let count = graph.unary("Size", &pairs);
    let count = graph.reshape(&count, &[1]);
    let limit = graph.ints(&[config.nms_pre as i64]);
    let count = graph.node("Min", &[&count, &limit], vec![]);
    let [ranks, pairs] = graph.top_k(&pairs, &count, Order::Falling);
    let classes = graph.int(classes as i64);
    let points = graph.div(&pairs, &classes);
    let scores = detection_scores(graph, level, [&ranks, &points], config);
    let boxes = graph.reshape(&level.boxes, &[-1, 4]);
    Candidates {
        boxes: graph.gather(&boxes, &points, 0),
        scores,
        ranks,
        labels: graph.node("Mod", &[&pairs, &classes], vec![]),
    }
}

/// The scores of detections of candidates, by what they were compared by and their points.
fn detection_scores(
    graph: &mut Graph,
    level: &Scored,
    [ranks, points]: [&Value; 2],
    config: &InferenceConfig,
) -> Value {
    match config.rank_by {
        RankBy::Class => {
            let quality = level.quality.as_ref().map(|quality| {
                let quality = graph.reshape(quality, &[-1]);
                graph.gather(&quality, points, 0)
            });
            combine(graph, ranks, quality.as_ref(), config.score)
        }
        RankBy::Score => ranks.clone(),
    }
}

/// The candidates above the threshold whose boxes are large enough.
fn passed(graph: &mut Graph, all: &Candidates, config: &InferenceConfig) -> Candidates {
    let threshold = graph.float(config.score_threshold);
    let good = graph.node("Greater", &[&all.ranks, &threshold], vec![]);
    let low = graph.slice(&all.boxes, 1, [0, 2], 1);
    let high = graph.slice(&all.boxes, 1, [2, 4], 1);
    let sides = graph.sub(&high, &low);
    let shorter = graph.reduce("ReduceMin", &sides, 1); // [M, 1]
    let shorter = graph.squeeze(&shorter, 1);
    let limit = graph.float(config.min_box_size);
    let large = graph.node("Greater", &[&shorter, &limit], vec![]);
    let both = graph.node("And", &[&good, &large], vec![]);
    let places = graph.unary("NonZero", &both); // [1, M']
    let places = graph.squeeze(&places, 0);
    let [boxes, ranks, scores, labels] = [&all.boxes, &all.ranks, &all.scores, &all.labels]
        .map(|part| graph.gather(part, &places, 0));
    Candidates {
        boxes,
        ranks,
        scores,
        labels,
    }
}

/// Class-aware NMS: the indices of the best that are left, best first, of equal scores the first
/// candidate first.
fn suppress(
    graph: &mut Graph,
    candidates: &Candidates,
    classes: usize,
    config: &InferenceConfig,
) -> Value {
    let boxes = graph.unsqueeze(&candidates.boxes, 0); // [1, M, 4]
    let scores = by_class(graph, candidates, classes); // [1, C, M]
    // No class can have more of the best.
    let most = graph.int(config.max_per_image as i64);
    let iou = graph.float(config.nms_iou);
    let least = graph.float(LEAST);
    let inputs = [&boxes, &scores, &most, &iou, &least];
    let kept = graph.node("NonMaxSuppression", &inputs, vec![]); // [n, 3]: image, class, candidate
    let kept = graph.slice(&kept, 1, [2, 3], 1);
    let kept = graph.reshape(&kept, &[-1]);
    let count = graph.shape(&kept, 0, 1);
    // In the order of candidates, so that the next sort leaves equal scores in it.
    let [kept, _] = graph.top_k(&kept, &count, Order::Rising);
    let scores = graph.gather(&candidates.scores, &kept, 0);
    let limit = graph.ints(&[config.max_per_image as i64]);
    let count = graph.node("Min", &[&count, &limit], vec![]);
    let [_, best] = graph.top_k(&scores, &count, Order::Falling);
    graph.gather(&kept, &best, 0)
}

/// The score of each candidate in its class, [`OTHER_CLASS`] in the others: `[1, C, M]`. Boxes are
/// not moved apart by class, which would round them.
fn by_class(graph: &mut Graph, candidates: &Candidates, classes: usize) -> Value {
    let names: Vec<i64> = (0..classes as i64).collect();
    let names = graph.int_tensor("classes", &[classes, 1], &names);
    let own = graph.node("Equal", &[&candidates.labels, &names], vec![]); // [C, M]
    let other = graph.float(OTHER_CLASS);
    let scores = graph.node("Where", &[&own, &candidates.scores, &other], vec![]);
    graph.unsqueeze(&scores, 0)
}
