//! FSAF's anchor-free branch, alone or beside anchors.

use aweigh_detectors::fsaf::{FsafBranch, FsafConfig};
use aweigh_geometry::PointOrigin;
use aweigh_heads::fsaf::FsafHeadConfig;

use super::fcos::boxes_of_distances;
use super::{ExportMethod, HeadOutputs, path};
use crate::OnnxError;
use crate::decode::{Level, Levels, Predicted, rows};
use crate::graph::{Graph, Value};
use crate::network::Network;

/// Distances to upper, lower, left and right side in the order left, top, right, bottom.
const ORDER: [i64; 4] = [2, 0, 3, 1];

impl ExportMethod for FsafConfig {
    fn export(
        &self,
        network: &mut Network,
        head: &FsafHeadConfig,
        levels: &Levels,
    ) -> Result<HeadOutputs, OnnxError> {
        let mut outputs = HeadOutputs::default();
        let (classes, features) = (head.num_classes, head.tower.out_channels());
        for level in &levels.levels {
            network.graph.enter(path(&format!("level{}", level.index)));
            let cls = network.tower(&level.features, &head.tower, &path("cls_convs"))?;
            let reg = network.tower(&level.features, &head.tower, &path("reg_convs"))?;
            let class = network.predict(&cls, &path("retina_cls"), [features, classes], [3, 3])?;
            let bbox = network.predict(&reg, &path("retina_reg"), [features, 4], [3, 3])?;
            let bbox = network.relu(&bbox);
            outputs.push("cls_score", classes, &class);
            outputs.push("bbox_pred", 4, &bbox);
            let maps = ([&class, &bbox], classes);
            let predicted = predicted(&mut network.graph, &self.branch, level, maps);
            outputs.predicted.push(predicted);
        }
        Ok(outputs)
    }
}

/// What the maps of class logits, for so many classes, and of distances predict: the box of distances in units of
/// `normalizer` times the side of the square prior around the point.
pub(super) fn predicted(
    graph: &mut Graph,
    branch: &FsafBranch,
    level: &Level,
    ([class, bbox], classes): ([&Value; 2], usize),
) -> Predicted {
    let bbox = graph.pick(bbox, &ORDER, 1);
    let side = branch.prior_scale * level.stride as f32;
    let unit = side * branch.normalizer as f32;
    let corners = level.corners(graph, PointOrigin::Corner);
    Predicted {
        logits: rows(graph, class, classes),
        boxes: boxes_of_distances(graph, &corners, &bbox, unit),
        quality: None,
    }
}
