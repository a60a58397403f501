//! The feature pyramid.

use aweigh_backbone::{ExtraLevels, FeatureSpec, FpnConfig, Upsampling};

use super::Network;
use crate::OnnxError;
use crate::graph::{Resize, Value, Window};

/// Module path of the pyramid.
const PATH: &str = "neck";

/// Every second value of every second row.
const SUBSAMPLE: Window = Window {
    kernel: [1, 1],
    stride: [2, 2],
    padding: [0, 0],
    dilation: [1, 1],
    groups: 1,
};

/// What a pyramid is made of.
pub(crate) struct Pyramid<'a> {
    pub(crate) config: &'a FpnConfig,
    /// The maps of the backbone.
    pub(crate) inputs: &'a [FeatureSpec],
    /// Height and width of every level, where the input's are known.
    pub(crate) sizes: Option<&'a [[usize; 2]]>,
}

impl Network {
    /// The levels of the pyramid of a backbone's maps, finest first.
    pub(crate) fn fpn(
        &mut self,
        pyramid: &Pyramid<'_>,
        maps: &[Value],
    ) -> Result<Vec<Value>, OnnxError> {
        self.graph.enter(PATH);
        let plan = pyramid.config.plan(pyramid.inputs);
        let used = &maps[pyramid.config.start_level..][..plan.lateral.len()];
        let mut laterals = Vec::new();
        for (i, (map, conv)) in used.iter().zip(&plan.lateral).enumerate() {
            laterals.push(self.conv_module(map, conv, &format!("{PATH}.lateral_convs.{i}"))?);
        }
        for i in (1..laterals.len()).rev() {
            let size = pyramid.sizes.map(|sizes| sizes[i - 1]);
            let [fine, coarse] = [i - 1, i].map(|level| laterals[level].clone());
            laterals[i - 1] = self.add_upsampled(pyramid.config.upsampling, [&fine, &coarse], size);
        }
        let mut outputs = Vec::new();
        for (i, (map, conv)) in laterals.iter().zip(&plan.outputs).enumerate() {
            outputs.push(self.conv_module(map, conv, &format!("{PATH}.fpn_convs.{i}"))?);
        }
        let mut source = match pyramid.config.add_extra_convs {
            ExtraLevels::OnInput => used[used.len() - 1].clone(),
            ExtraLevels::OnLateral => laterals[used.len() - 1].clone(),
            ExtraLevels::None | ExtraLevels::OnOutput => outputs[used.len() - 1].clone(),
        };
        for i in used.len()..pyramid.config.num_outs {
            source = match plan.outputs.get(i) {
                Some(conv) => {
                    if i > used.len() && pyramid.config.relu_before_extra_convs {
                        source = self.relu(&source);
                    }
                    self.conv_module(&source, conv, &format!("{PATH}.fpn_convs.{i}"))?
                }
                None => self.graph.max_pool(&source, &SUBSAMPLE),
            };
            outputs.push(source.clone());
        }
        Ok(outputs)
    }

    /// A map and the level above it, made as large.
    fn add_upsampled(
        &mut self,
        upsampling: Upsampling,
        [fine, coarse]: [&Value; 2],
        size: Option<[usize; 2]>,
    ) -> Value {
        let size = match size {
            Some(size) => self.graph.ints(&size.map(|side| side as i64)),
            None => self.graph.shape(fine, 2, 4),
        };
        let how = match upsampling {
            Upsampling::Nearest => Resize::Nearest,
            Upsampling::Bilinear => Resize::Bilinear,
        };
        let coarse = self.graph.resize(coarse, &size, how);
        self.graph.add(fine, &coarse)
    }
}
