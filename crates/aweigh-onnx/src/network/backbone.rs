//! The feature extractor.

use aweigh_backbone::{
    Activation, BackboneConfig, BlockPlan, ConvolutionConfig, ElementKind, InvertedResidualPlan,
    MobileNetV2Config, NormConfig, ResNetConfig, STEM_POOL,
};

use super::{Layer, Network};
use crate::OnnxError;
use crate::graph::{Value, Window};

/// Module path of the feature extractor.
const PATH: &str = "backbone";

impl Network {
    /// The maps of the chosen stages, finest first.
    pub(crate) fn backbone(
        &mut self,
        config: &BackboneConfig,
        images: &Value,
    ) -> Result<Vec<Value>, OnnxError> {
        match config {
            BackboneConfig::ResNet(config) => self.resnet(config, images),
            BackboneConfig::MobileNetV2(config) => self.mobilenet_v2(config, images),
        }
    }

    fn mobilenet_v2(
        &mut self,
        config: &MobileNetV2Config,
        images: &Value,
    ) -> Result<Vec<Value>, OnnxError> {
        let (norm, outputs) = (&config.norm, config.outputs());
        let mut x = images.clone();
        let mut maps = Vec::new();
        for (i, element) in config.elements().iter().enumerate() {
            let name = format!("features.{i}");
            self.graph.enter(format!("{PATH}.{name}"));
            x = match &element.kind {
                ElementKind::Conv(conv) => {
                    let names = [0, 1].map(|module| format!("{name}.{module}"));
                    let names = [names[0].as_str(), &names[1]];
                    self.layer(&x, &layer(conv, norm, names, Activation::Relu6))?
                }
                ElementKind::Block(block) => self.inverted_residual(&x, block, norm, &name)?,
            };
            if outputs.contains(&i) {
                maps.push(x.clone());
            }
        }
        Ok(maps)
    }

    /// The convolutions of a block, plus `x` if there is a shortcut.
    fn inverted_residual(
        &mut self,
        x: &Value,
        plan: &InvertedResidualPlan,
        norm: &NormConfig,
        name: &str,
    ) -> Result<Value, OnnxError> {
        let convs = plan.convs();
        let mut y = x.clone();
        for (i, (names, conv)) in (1..).zip(&convs) {
            let names = names.each_ref().map(|part| format!("{name}.{part}"));
            let names = [names[0].as_str(), &names[1]];
            let activation = if i == convs.len() {
                Activation::None
            } else {
                Activation::Relu6
            };
            y = self.layer(&y, &layer(conv, norm, names, activation))?;
        }
        Ok(if plan.has_shortcut() {
            self.graph.add(&y, x)
        } else {
            y
        })
    }

    fn resnet(&mut self, config: &ResNetConfig, images: &Value) -> Result<Vec<Value>, OnnxError> {
        self.graph.enter(PATH);
        let norm = &config.norm;
        let stem = config.stem();
        let stem = layer(&stem, norm, ["conv1", "bn1"], Activation::Relu);
        let x = self.layer(images, &stem)?;
        let pool = Window {
            kernel: STEM_POOL.kernel,
            stride: STEM_POOL.stride,
            padding: STEM_POOL.padding,
            dilation: [1, 1],
            groups: 1,
        };
        let mut x = self.graph.max_pool(&x, &pool);
        let mut maps = Vec::new();
        for stage in 0..config.num_stages {
            for (i, block) in config.stage(stage).iter().enumerate() {
                let name = format!("layer{}.{i}", stage + 1);
                self.graph.enter(format!("{PATH}.{name}"));
                x = self.block(&x, block, norm, &name)?;
            }
            if config.out_indices.contains(&stage) {
                maps.push(x.clone());
            }
        }
        Ok(maps)
    }

    /// `relu(residual(x) + shortcut(x))`.
    fn block(
        &mut self,
        x: &Value,
        plan: &BlockPlan,
        norm: &NormConfig,
        name: &str,
    ) -> Result<Value, OnnxError> {
        let shortcut = match plan.downsample() {
            Some(conv) => {
                let names = [0, 1].map(|i| format!("{name}.downsample.{i}"));
                let names = [names[0].as_str(), &names[1]];
                self.layer(x, &layer(&conv, norm, names, Activation::None))?
            }
            None => x.clone(),
        };
        let convs = plan.convs();
        let mut y = x.clone();
        for (i, conv) in (1..).zip(&convs) {
            let names = ["conv", "bn"].map(|part| format!("{name}.{part}{i}"));
            let names = [names[0].as_str(), &names[1]];
            let activation = if i == convs.len() {
                Activation::None
            } else {
                Activation::Relu
            };
            y = self.layer(&y, &layer(conv, norm, names, activation))?;
        }
        let sum = self.graph.add(&y, &shortcut);
        Ok(self.relu(&sum))
    }
}

/// A convolution and its normalisation, by their names in the backbone.
fn layer<'a>(
    conv: &'a ConvolutionConfig,
    norm: &'a NormConfig,
    [conv_name, norm_name]: [&str; 2],
    activation: Activation,
) -> Layer<'a> {
    Layer {
        conv,
        path: format!("{PATH}.{conv_name}"),
        norm: Some((norm, format!("{PATH}.{norm_name}"))),
        activation,
    }
}
