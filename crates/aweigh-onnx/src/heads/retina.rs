//! RetinaNet, alone or joint with FSAF.

use aweigh_detectors::retina::RetinaConfig;
use aweigh_geometry::codec::MAX_GROWTH;
use aweigh_heads::retina::RetinaHeadConfig;

use super::{ExportMethod, HeadOutputs, fsaf, path};
use crate::OnnxError;
use crate::decode::{Levels, Predicted, anchor_rows};
use crate::graph::{Graph, Value};
use crate::network::Network;

impl ExportMethod for RetinaConfig {
    fn export(
        &self,
        network: &mut Network,
        head: &RetinaHeadConfig,
        levels: &Levels,
    ) -> Result<HeadOutputs, OnnxError> {
        let mut outputs = HeadOutputs::default();
        let mut beside = Vec::new();
        let (classes, anchors) = (head.num_classes, head.anchors);
        for level in &levels.levels {
            network.graph.enter(path(&format!("level{}", level.index)));
            let cls = network.tower(&level.features, &head.tower, &path("cls_convs"))?;
            let reg = network.tower(&level.features, &head.tower, &path("reg_convs"))?;
            let towers = Towers {
                cls,
                reg,
                features: head.tower.out_channels(),
            };
            let [class, deltas] = towers.predict(
                network,
                "retina",
                [classes, 4].map(|values| anchors * values),
            )?;
            outputs.push("cls_score", anchors * classes, &class);
            outputs.push("bbox_pred", anchors * 4, &deltas);
            let boxes = level.anchors(&mut network.graph, &self.grid());
            let predicted = predicted(&mut network.graph, head, &boxes, [&class, &deltas]);
            outputs.predicted.push(predicted);
            if let Some(branch) = &self.fsaf {
                let [class, bbox] = towers.predict(network, "fsaf", [classes, 4])?;
                let bbox = network.relu(&bbox);
                outputs.push("fsaf_cls_score", classes, &class);
                outputs.push("fsaf_bbox_pred", 4, &bbox);
                let maps = ([&class, &bbox], classes);
                beside.push(fsaf::predicted(&mut network.graph, branch, level, maps));
            }
        }
        outputs.predicted.extend(beside);
        Ok(outputs)
    }
}

/// The outputs of both towers on a level.
struct Towers {
    cls: Value,
    reg: Value,
    /// Their channels.
    features: usize,
}

impl Towers {
    /// The outputs of the convolutions `NAME_cls` and `NAME_reg`.
    fn predict(
        &self,
        network: &mut Network,
        name: &str,
        outputs: [usize; 2],
    ) -> Result<[Value; 2], OnnxError> {
        let mut predict = |x: &Value, part: &str, outputs: usize| {
            let path = path(&format!("{name}_{part}"));
            network.predict(x, &path, [self.features, outputs], [3, 3])
        };
        Ok([
            predict(&self.cls, "cls", outputs[0])?,
            predict(&self.reg, "reg", outputs[1])?,
        ])
    }
}

/// What class logits and deltas of a level predict.
fn predicted(
    graph: &mut Graph,
    head: &RetinaHeadConfig,
    anchors: &Value,
    [class, deltas]: [&Value; 2],
) -> Predicted {
    let deltas = anchor_rows(graph, deltas, [head.anchors, 4]);
    Predicted {
        logits: anchor_rows(graph, class, [head.anchors, head.num_classes]),
        boxes: moved(graph, anchors, &deltas),
        quality: None,
    }
}

/// Anchors `[N, 4]` moved by `deltas` `[B, N, 4]`: the centre by shares of the sides, the sides by
/// exponentials, as [`decode_delta_host`](aweigh_geometry::codec::decode_delta_host).
fn moved(graph: &mut Graph, anchors: &Value, deltas: &Value) -> Value {
    let [low, high] = [[0, 2], [2, 4]].map(|range| graph.slice(anchors, 1, range, 1));
    let [shift, growth] = [[0, 2], [2, 4]].map(|range| graph.slice(deltas, 2, range, 1));
    let half = graph.float(0.5);
    let sides = graph.sub(&high, &low);
    let center = graph.add(&low, &high);
    let center = graph.mul(&center, &half);
    let shift = graph.mul(&sides, &shift);
    let center = graph.add(&center, &shift);
    let growth = graph.clip(&growth, Some(-MAX_GROWTH), Some(MAX_GROWTH));
    let growth = graph.unary("Exp", &growth);
    let reach = graph.mul(&sides, &half);
    let reach = graph.mul(&reach, &growth);
    let corners = [graph.sub(&center, &reach), graph.add(&center, &reach)];
    graph.concat(&corners, 2)
}
