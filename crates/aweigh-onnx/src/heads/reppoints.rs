//! RepPoints.

use aweigh_detectors::reppoints::RepPointsConfig;
use aweigh_geometry::PointOrigin;
use aweigh_heads::reppoints::{
    BoxTransform, MAX_LOG_FACTOR, MIN_SIDE, MIN_VARIANCE, PARTIAL, PointSource,
    RepPointsHeadConfig, fractions, square_grid, taps,
};

use super::{ExportMethod, HeadOutputs, path};
use crate::OnnxError;
use crate::decode::{Level, Levels, Predicted, rows};
use crate::graph::{Graph, Value};
use crate::network::{Deformable, Network};

/// Points of a stage `[B, 2 K, H, W]`, y before x, and the corners `[B, 4, H, W]` of the box that
/// they were laid on.
struct Stage {
    points: Value,
    laid_on: Option<Value>,
}

/// The maps of one level.
struct Maps {
    class: Value,
    pts_init: Value,
    pts_refine: Value,
    bbox: Value,
}

impl ExportMethod for RepPointsConfig {
    fn export(
        &self,
        network: &mut Network,
        head: &RepPointsHeadConfig,
        levels: &Levels,
    ) -> Result<HeadOutputs, OnnxError> {
        let mut outputs = HeadOutputs::default();
        for level in &levels.levels {
            network.graph.enter(path(&format!("level{}", level.index)));
            let maps = maps(network, head, level)?;
            outputs.push("cls_score", head.num_classes, &maps.class);
            outputs.push("bbox_pred", 4, &maps.bbox);
            outputs.push("pts_init", 2 * head.num_points, &maps.pts_init);
            outputs.push("pts_refine", 2 * head.num_points, &maps.pts_refine);
            let graph = &mut network.graph;
            let sides = rows(graph, &maps.bbox, 4);
            let stride = graph.float(level.stride as f32);
            let sides = graph.mul(&sides, &stride);
            let corners = level.corners(graph, PointOrigin::Corner);
            outputs.predicted.push(Predicted {
                logits: rows(graph, &maps.class, head.num_classes),
                boxes: graph.add(&sides, &corners),
                quality: None,
            });
        }
        Ok(outputs)
    }
}

fn maps(
    network: &mut Network,
    head: &RepPointsHeadConfig,
    level: &Level,
) -> Result<Maps, OnnxError> {
    let cls = network.tower(&level.features, &head.tower, &path("cls_convs"))?;
    let reg = network.tower(&level.features, &head.tower, &path("reg_convs"))?;
    let init = init_stage(network, head, &reg)?;
    let taps = of_one_cell(&mut network.graph, "taps", &taps(head.num_points));
    let offset = network.graph.sub(&init.points, &taps);
    let cls = at_points(network, head, "reppoints_cls_conv", [&cls, &offset])?;
    let reg = at_points(network, head, "reppoints_pts_refine_conv", [&reg, &offset])?;
    let hidden = head.point_feat_channels;
    let channels = [hidden, head.num_classes];
    let class = network.predict(&cls, &path("reppoints_cls_out"), channels, [1, 1])?;
    let channels = [hidden, regressed(head)];
    let moves = network.predict(&reg, &path("reppoints_pts_refine_out"), channels, [1, 1])?;
    let graph = &mut network.graph;
    let pts_refine = match &init.laid_on {
        Some(bbox) => {
            let bbox = regress_box(graph, bbox, &moves);
            grid_on(graph, &bbox, head.num_points)
        }
        None => graph.add(&moves, &init.points),
    };
    let bbox = bounding_box(network, head, &pts_refine)?;
    Ok(Maps {
        class,
        pts_init: init.points,
        pts_refine,
        bbox,
    })
}

/// Values that a stage regresses: a box, or the points themselves.
fn regressed(head: &RepPointsHeadConfig) -> usize {
    match head.source {
        PointSource::Box(_) => 4,
        PointSource::Center | PointSource::Grid(_) => 2 * head.num_points,
    }
}

fn init_stage(
    network: &mut Network,
    head: &RepPointsHeadConfig,
    features: &Value,
) -> Result<Stage, OnnxError> {
    let hidden = head.point_feat_channels;
    let channels = [head.tower.out_channels(), hidden];
    let name = path("reppoints_pts_init_conv");
    let x = network.predict(features, &name, channels, [3, 3])?;
    let x = network.relu(&x);
    let channels = [hidden, regressed(head)];
    let x = network.predict(&x, &path("reppoints_pts_init_out"), channels, [1, 1])?;
    let graph = &mut network.graph;
    Ok(match head.source {
        PointSource::Center => Stage {
            points: x,
            laid_on: None,
        },
        PointSource::Grid(side) => {
            let grid = square_grid(head.num_points, side as f32);
            let grid = of_one_cell(graph, "grid", &grid);
            Stage {
                points: graph.add(&x, &grid),
                laid_on: None,
            }
        }
        PointSource::Box(side) => {
            let reach = 0.5 * side as f32;
            let square = of_one_cell(graph, "square", &[-reach, -reach, reach, reach]);
            let bbox = regress_box(graph, &square, &x);
            Stage {
                points: grid_on(graph, &bbox, head.num_points),
                laid_on: Some(corners(graph, &bbox)),
            }
        }
    })
}

/// `relu` of a deformable convolution that samples the features at the points.
fn at_points(
    network: &mut Network,
    head: &RepPointsHeadConfig,
    name: &str,
    [x, offset]: [&Value; 2],
) -> Result<Value, OnnxError> {
    let side = head.num_points.isqrt();
    let conv = Deformable {
        path: &path(name),
        channels: [head.tower.out_channels(), head.point_feat_channels],
        kernel: [side, side],
        offset_groups: 1,
    };
    let sampled = network.deform_by(x, offset, &conv)?;
    Ok(network.relu(&sampled))
}

/// Values of the channels of one cell, `[1, channels, 1, 1]`.
fn of_one_cell(graph: &mut Graph, name: &str, values: &[f32]) -> Value {
    graph.tensor(&path(name), &[1, values.len(), 1, 1], values)
}

/// Upper left corner and sides `x, y, w, h` of boxes `previous` (corners) whose centre moves by
/// `regression` in sides of the box and whose sides grow by exponentials.
fn regress_box(graph: &mut Graph, previous: &Value, regression: &Value) -> Value {
    let [low, high] = [[0, 2], [2, 4]].map(|range| graph.slice(previous, 1, range, 1));
    let [shift, growth] = [[0, 2], [2, 4]].map(|range| graph.slice(regression, 1, range, 1));
    let half = graph.float(0.5);
    let center = graph.add(&low, &high);
    let center = graph.mul(&center, &half);
    let sides = graph.sub(&high, &low);
    let sides = graph.clip(&sides, Some(MIN_SIDE as f32), None);
    let shift = graph.mul(&sides, &shift);
    let center = graph.add(&center, &shift);
    let growth = graph.clip(&growth, None, Some(MAX_LOG_FACTOR as f32));
    let growth = graph.unary("Exp", &growth);
    let sides = graph.mul(&sides, &growth);
    let reach = graph.mul(&sides, &half);
    let corner = graph.sub(&center, &reach);
    graph.concat(&[corner, sides], 1)
}

/// Corners `x1, y1, x2, y2` of each box of [`regress_box`].
fn corners(graph: &mut Graph, bbox: &Value) -> Value {
    let [low, sides] = [[0, 2], [2, 4]].map(|range| graph.slice(bbox, 1, range, 1));
    let high = graph.add(&low, &sides);
    graph.concat(&[low, high], 1)
}

/// A grid of points over each box of [`regress_box`], `[B, 2 K, H, W]`.
fn grid_on(graph: &mut Graph, bbox: &Value, num_points: usize) -> Value {
    // y before x for each point.
    let corner = graph.pick(bbox, &[1, 0].repeat(num_points), 1);
    let sides = graph.pick(bbox, &[3, 2].repeat(num_points), 1);
    let fractions = of_one_cell(graph, "fractions", &fractions(num_points));
    let shifts = graph.mul(&sides, &fractions);
    graph.add(&corner, &shifts)
}

/// The box `[B, 4, H, W]` of each set of points.
fn bounding_box(
    network: &mut Network,
    head: &RepPointsHeadConfig,
    points: &Value,
) -> Result<Value, OnnxError> {
    let [low, high] = match head.transform {
        BoxTransform::Minmax => extremes(&mut network.graph, points),
        BoxTransform::PartialMinmax => {
            let graph = &mut network.graph;
            let count = 2 * PARTIAL.min(head.num_points);
            let first = graph.slice(points, 1, [0, count as i64], 1);
            extremes(graph, &first)
        }
        BoxTransform::Moment { .. } => spread(network, head, points)?,
    };
    let sides = [low, high].concat();
    Ok(network.graph.concat(&sides, 1))
}

/// The x and the y coordinates of points, each `[B, K, H, W]`.
fn xy(graph: &mut Graph, points: &Value) -> [Value; 2] {
    [1, 0].map(|first| graph.every(points, 1, first, 2))
}

/// Smallest and largest x and y, each `[B, 1, H, W]`.
fn extremes(graph: &mut Graph, points: &Value) -> [[Value; 2]; 2] {
    let axes = xy(graph, points);
    ["ReduceMin", "ReduceMax"]
        .map(|operator| [0, 1].map(|axis| graph.reduce(operator, &axes[axis], 1)))
}

/// `mean - std * e^m` and `mean + std * e^m` of x and y, with the unbiased standard deviation.
fn spread(
    network: &mut Network,
    head: &RepPointsHeadConfig,
    points: &Value,
) -> Result<[[Value; 2]; 2], OnnxError> {
    let moment = &network
        .parameters
        .get(&path("moment_transfer"), &[2])?
        .values;
    // Width before height in the parameter.
    let factors = [moment[0].exp(), moment[1].exp()];
    let graph = &mut network.graph;
    let degrees = graph.float((head.num_points - 1) as f32);
    let axes = xy(graph, points);
    let sides = [0, 1].map(|axis| {
        let mean = graph.reduce("ReduceMean", &axes[axis], 1);
        let distances = graph.sub(&axes[axis], &mean);
        let variance = graph.reduce("ReduceSumSquare", &distances, 1);
        let variance = graph.div(&variance, &degrees);
        let variance = graph.clip(&variance, Some(MIN_VARIANCE as f32), None);
        let deviation = graph.unary("Sqrt", &variance);
        let factor = graph.float(factors[axis]);
        let half = graph.mul(&deviation, &factor);
        [graph.sub(&mean, &half), graph.add(&mean, &half)]
    });
    let [[x1, x2], [y1, y2]] = sides;
    Ok([[x1, y1], [x2, y2]])
}
