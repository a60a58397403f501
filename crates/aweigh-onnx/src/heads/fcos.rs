//! FCOS.

use aweigh_detectors::fcos::FcosConfig;
use aweigh_heads::fcos::{CenternessBranch, DistanceActivation, FcosHeadConfig, MAX_LOG_DISTANCE};

use super::{ExportMethod, HeadOutputs, path};
use crate::OnnxError;
use crate::decode::{Level, Levels, Predicted, rows};
use crate::graph::{Graph, Value};
use crate::network::Network;

/// What turns distances to left, top, right and bottom side into shifts of corners.
const DIRECTIONS: [f32; 4] = [-1.0, -1.0, 1.0, 1.0];

/// The maps of one level.
struct Maps {
    class: Value,
    distances: Value,
    centerness: Value,
}

impl ExportMethod for FcosConfig {
    fn export(
        &self,
        network: &mut Network,
        head: &FcosHeadConfig,
        levels: &Levels,
    ) -> Result<HeadOutputs, OnnxError> {
        let mut outputs = HeadOutputs::default();
        for level in &levels.levels {
            network.graph.enter(path(&format!("level{}", level.index)));
            let maps = maps(network, head, level)?;
            outputs.push("cls_score", head.num_classes, &maps.class);
            outputs.push("bbox_pred", 4, &maps.distances);
            outputs.push("centerness", 1, &maps.centerness);
            let graph = &mut network.graph;
            let unit = if self.norm_on_bbox {
                level.stride as f32
            } else {
                1.0
            };
            let corners = level.corners(graph, self.points.origin());
            outputs.predicted.push(Predicted {
                logits: rows(graph, &maps.class, head.num_classes),
                boxes: boxes_of_distances(graph, &corners, &maps.distances, unit),
                quality: Some(rows(graph, &maps.centerness, 1)),
            });
        }
        Ok(outputs)
    }
}

fn maps(network: &mut Network, head: &FcosHeadConfig, level: &Level) -> Result<Maps, OnnxError> {
    let cls = network.tower(&level.features, &head.tower, &path("cls_convs"))?;
    let reg = network.tower(&level.features, &head.tower, &path("reg_convs"))?;
    let centerness = match head.centerness {
        CenternessBranch::Classification => &cls,
        CenternessBranch::Regression => &reg,
    };
    let features = head.tower.out_channels();
    let mut predict = |x: &Value, name: &str, outputs: usize| {
        network.predict(x, &path(name), [features, outputs], [3, 3])
    };
    let class = predict(&cls, "conv_cls", head.num_classes)?;
    let centerness = predict(centerness, "conv_centerness", 1)?;
    let reg = predict(&reg, "conv_reg", 4)?;
    let scale = network.parameter(&path(&format!("scales.{}.scale", level.index)), &[1])?;
    let scaled = network.graph.mul(&reg, &scale);
    let distances = match head.activation {
        DistanceActivation::Relu => network.relu(&scaled),
        DistanceActivation::Exp => {
            let bounded = network.graph.clip(&scaled, None, Some(MAX_LOG_DISTANCE));
            network.graph.unary("Exp", &bounded)
        }
    };
    Ok(Maps {
        class,
        distances,
        centerness,
    })
}

/// Boxes `[B, P, 4]` around points (`corners` `[P, 4]`, each twice) of distances `[B, 4, H, W]` to
/// left, top, right and bottom side in units of `unit` pixels.
pub(super) fn boxes_of_distances(
    graph: &mut Graph,
    corners: &Value,
    distances: &Value,
    unit: f32,
) -> Value {
    let distances = rows(graph, distances, 4);
    let directions = graph.floats(&DIRECTIONS.map(|direction| direction * unit));
    let shifts = graph.mul(&distances, &directions);
    graph.add(corners, &shifts)
}
