//! FoveaBox.

use aweigh_detectors::fovea::FoveaConfig;
use aweigh_geometry::PointOrigin;
use aweigh_heads::fovea::{ClassTower, FoveaHeadConfig, MAX_LOG_DISTANCE};

use super::fcos::boxes_of_distances;
use super::{ExportMethod, HeadOutputs, path};
use crate::OnnxError;
use crate::decode::{Level, Levels, Predicted, rows};
use crate::graph::Value;
use crate::network::{Deformable, Network};

/// Taps of the deformable convolution of the alignment.
const KERNEL: [usize; 2] = [3, 3];

/// Pixels between the last one, where boxes end as in the reference, and the end of the image.
const LAST_PIXEL: f32 = 1.0;

impl ExportMethod for FoveaConfig {
    fn export(
        &self,
        network: &mut Network,
        head: &FoveaHeadConfig,
        levels: &Levels,
    ) -> Result<HeadOutputs, OnnxError> {
        let mut outputs = HeadOutputs::default();
        for level in &levels.levels {
            network.graph.enter(path(&format!("level{}", level.index)));
            let reg = network.tower(&level.features, &head.tower, &path("reg_convs"))?;
            let features = head.tower.out_channels();
            let bbox = network.predict(&reg, &path("conv_reg"), [features, 4], [3, 3])?;
            let (cls, features) = class_tower(network, head, level, &bbox)?;
            let channels = [features, head.num_classes];
            let class = network.predict(&cls, &path("conv_cls"), channels, [3, 3])?;
            outputs.push("cls_score", head.num_classes, &class);
            outputs.push("bbox_pred", 4, &bbox);
            let distances = network.graph.unary("Exp", &bbox);
            let edge = self.base_edge_list[level.index];
            let graph = &mut network.graph;
            let corners = level.corners(graph, PointOrigin::Center);
            let boxes = boxes_of_distances(graph, &corners, &distances, edge);
            outputs.predicted.push(Predicted {
                logits: rows(graph, &class, head.num_classes),
                boxes: levels.clip(graph, &boxes, LAST_PIXEL),
                quality: None,
            });
        }
        Ok(outputs)
    }
}

/// The output of the classification tower and its channels.
fn class_tower(
    network: &mut Network,
    head: &FoveaHeadConfig,
    level: &Level,
    bbox: &Value,
) -> Result<(Value, usize), OnnxError> {
    let ClassTower::Aligned { deform_groups } = head.class_tower else {
        let cls = network.tower(&level.features, &head.tower, &path("cls_convs"))?;
        return Ok((cls, head.tower.out_channels()));
    };
    let mut cls = align(network, head, level, bbox, deform_groups)?;
    let mut channels = head.tower.in_channels;
    for (i, conv) in head.wide_convs().iter().enumerate() {
        cls = network.conv_module(&cls, conv, &path(&format!("cls_convs.{i}")))?;
        channels = conv.channels[1];
    }
    Ok((cls, channels))
}

/// `relu(deform_conv(x, conv_offset(exp(bbox_pred))))`.
fn align(
    network: &mut Network,
    head: &FoveaHeadConfig,
    level: &Level,
    bbox: &Value,
    groups: usize,
) -> Result<Value, OnnxError> {
    let bounded = network.graph.clip(bbox, None, Some(MAX_LOG_DISTANCE));
    let distances = network.graph.unary("Exp", &bounded);
    let offsets = [4, 2 * groups * KERNEL.iter().product::<usize>()];
    let name = path("feature_adaption.conv_offset");
    let offset = network.predict(&distances, &name, offsets, [1, 1])?;
    let adaption = Deformable {
        path: &path("feature_adaption.conv_adaption"),
        channels: [head.tower.in_channels; 2],
        kernel: KERNEL,
        offset_groups: groups,
    };
    let aligned = network.deform_by(&level.features, &offset, &adaption)?;
    Ok(network.relu(&aligned))
}
