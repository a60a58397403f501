//! RepPoints head (Yang et al. 2019, section 4; mmdetection 3.x `reppoints_head.py`).

use aweigh_backbone::{LayerInfo, LayerKind, weights::ClassLayer};
use aweigh_conv::{Activation, Levels, convolve, relu};
use aweigh_deform_conv::{DeformConv2d, DeformConv2dConfig};
use burn::module::{Initializer, Module, Param};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor};

use crate::init::{WEIGHT_STD, prediction, prior_bias, with_bias};
use crate::{DenseHead, DenseHeadConfig, RawPredictions, Tower, TowerConfig, tower};

mod points;

use points::{
    corners, grid_on, grid_side, of_one_cell, points_to_box, regress_box, scale_gradient,
};

pub use points::{MAX_LOG_FACTOR, MIN_SIDE, MIN_VARIANCE, PARTIAL, fractions, square_grid, taps};

/// Where the points of the first stage come from. The second stage moves them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PointSource {
    /// Displacements of every point from the cell's own point (`center_init`).
    Center,
    /// Displacements from a regular grid over a square of this side, in strides.
    Grid(f64),
    /// A regular grid over a box (`use_grid_points`), which is regressed from a square of this
    /// side, in strides; the second stage regresses the box anew.
    Box(f64),
}

/// How points become a box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BoxTransform {
    /// The smallest box around all points.
    Minmax,
    /// The smallest box around the first four points.
    PartialMinmax,
    /// Mean and learnable multiples of the standard deviation along each axis.
    Moment {
        /// Factor of the gradient of the learnable multiples.
        mul: f64,
    },
}

/// Architecture of a RepPoints head.
#[derive(Debug, Clone, PartialEq)]
pub struct RepPointsHeadConfig {
    /// C, the number of classes.
    pub num_classes: usize,
    /// The two towers.
    pub tower: TowerConfig,
    /// Channels between the towers and the predictions.
    pub point_feat_channels: usize,
    /// K, the points of a set: an odd square.
    pub num_points: usize,
    /// Factor of the gradient that the second stage gives the points of the first.
    pub gradient_mul: f64,
    /// Where the points of the first stage come from.
    pub source: PointSource,
    /// How points become a box.
    pub transform: BoxTransform,
}

/// RepPoints head: a set of points for every cell, which a second stage refines and classifies by
/// deformable convolutions that sample the features at the points.
///
/// Should be created using [`RepPointsHeadConfig`].
#[derive(Module, Debug)]
pub struct RepPointsHead {
    cls_convs: Tower,
    reg_convs: Tower,
    reppoints_cls_conv: DeformConv2d,
    reppoints_cls_out: Conv2d,
    reppoints_pts_init_conv: Conv2d,
    reppoints_pts_init_out: Conv2d,
    reppoints_pts_refine_conv: DeformConv2d,
    reppoints_pts_refine_out: Conv2d,
    moment_transfer: Option<Param<Tensor<1>>>,
    #[module(skip)]
    num_points: usize,
    #[module(skip)]
    gradient_mul: f64,
    #[module(skip)]
    source: PointSource,
    #[module(skip)]
    transform: BoxTransform,
}

/// Raw predictions of a RepPoints head, one tensor per level. Points and boxes are displacements
/// from the cell's own point, in strides.
#[derive(Debug, Clone)]
pub struct RepPointsPredictions {
    /// Class logits, `[B, C, H_l, W_l]`.
    pub cls_score: Vec<Tensor<4>>,
    /// Points of the first stage, `[B, 2 K, H_l, W_l]`, y before x.
    pub pts_init: Vec<Tensor<4>>,
    /// Points of the second stage, `[B, 2 K, H_l, W_l]`, y before x.
    pub pts_refine: Vec<Tensor<4>>,
    /// Boxes of the points of the first stage, `[B, 4, H_l, W_l]`, `x1, y1, x2, y2`.
    pub bbox_init: Vec<Tensor<4>>,
    /// Boxes of the points of the second stage, `[B, 4, H_l, W_l]`, `x1, y1, x2, y2`.
    pub bbox_refine: Vec<Tensor<4>>,
}

/// The layers after the towers, before any of them exists.
struct Plan {
    deform: DeformConv2dConfig,
    init: Conv2dConfig,
    points_out: Conv2dConfig,
    cls_out: Conv2dConfig,
}

impl DenseHeadConfig for RepPointsHeadConfig {
    type Head = RepPointsHead;

    /// Weights from N(0, 0.01), those of the deformable convolutions Kaiming-uniform; class bias
    /// from the prior probability; moments 0.
    ///
    /// # Panics
    ///
    /// When `num_points` is not an odd square.
    fn init(&self, device: &Device) -> RepPointsHead {
        let plan = self.plan();
        let moment = matches!(self.transform, BoxTransform::Moment { .. })
            .then(|| Param::from_tensor(Tensor::zeros([2], device)));
        RepPointsHead {
            cls_convs: self.tower.init(device),
            reg_convs: self.tower.init(device),
            reppoints_cls_conv: plan.deform.init(device),
            reppoints_cls_out: with_bias(&plan.cls_out, prior_bias(), device),
            reppoints_pts_init_conv: with_bias(&plan.init, 0.0, device),
            reppoints_pts_init_out: with_bias(&plan.points_out, 0.0, device),
            reppoints_pts_refine_conv: plan.deform.init(device),
            reppoints_pts_refine_out: with_bias(&plan.points_out, 0.0, device),
            moment_transfer: moment,
            num_points: self.num_points,
            gradient_mul: self.gradient_mul,
            source: self.source,
            transform: self.transform,
        }
    }

    /// Its layers for levels of `[height, width]`, which share all parameters.
    ///
    /// # Panics
    ///
    /// When `num_points` is not an odd square.
    fn layers(&self, sizes: &[[usize; 2]]) -> Vec<LayerInfo> {
        let plan = self.plan();
        let deform = as_convolution(&plan.deform);
        let on_level = |size: &[usize; 2]| {
            let conv = |name: &str, conv: &Conv2dConfig| LayerInfo::conv(name, conv, *size);
            let mut layers = self.tower.layers("cls_convs", *size);
            layers.extend(self.tower.layers("reg_convs", *size));
            layers.push(conv("reppoints_cls_conv", &deform));
            layers.push(conv("reppoints_cls_out", &plan.cls_out));
            layers.push(conv("reppoints_pts_init_conv", &plan.init));
            layers.push(conv("reppoints_pts_init_out", &plan.points_out));
            layers.push(conv("reppoints_pts_refine_conv", &deform));
            layers.push(conv("reppoints_pts_refine_out", &plan.points_out));
            layers
        };
        let mut layers = tower::shared(sizes.iter().map(on_level));
        if let (BoxTransform::Moment { .. }, Some([height, width])) =
            (self.transform, sizes.first())
        {
            layers.push(LayerInfo {
                name: "moment_transfer".to_owned(),
                kind: LayerKind::Scale,
                params: 2,
                trainable: true,
                macs: 0,
                output: [4, *height, *width],
            });
        }
        layers
    }
}

impl RepPointsHeadConfig {
    fn plan(&self) -> Plan {
        let side = grid_side(self.num_points);
        assert!(
            side * side == self.num_points && side % 2 == 1,
            "RepPoints head: {} points are not an odd square",
            self.num_points
        );
        let features = self.tower.out_channels();
        let hidden = self.point_feat_channels;
        let outputs = match self.source {
            PointSource::Box(_) => 4,
            PointSource::Center | PointSource::Grid(_) => 2 * self.num_points,
        };
        Plan {
            deform: DeformConv2dConfig::new([features, hidden], [side, side])
                .with_padding([side / 2, side / 2])
                .with_bias(false)
                .with_initializer(Initializer::KaimingUniform {
                    gain: std::f64::consts::SQRT_2,
                    fan_out_only: false,
                }),
            init: prediction([features, hidden]),
            points_out: output([hidden, outputs]),
            cls_out: output([hidden, self.num_classes]),
        }
    }
}

/// A 1x1 convolution with weights from N(0, 0.01).
fn output(channels: [usize; 2]) -> Conv2dConfig {
    Conv2dConfig::new(channels, [1, 1]).with_initializer(Initializer::Normal {
        mean: 0.0,
        std: WEIGHT_STD,
    })
}

/// The plain convolution of the same size and cost.
fn as_convolution(deform: &DeformConv2dConfig) -> Conv2dConfig {
    let [vertical, horizontal] = deform.padding;
    let padding = PaddingConfig2d::Explicit(vertical, horizontal, vertical, horizontal);
    Conv2dConfig::new(deform.channels, deform.kernel_size)
        .with_padding(padding)
        .with_bias(deform.bias)
}

/// Points of a stage, and the corners of the box that they were laid on.
struct Stage {
    points: Tensor<4>,
    laid_on: Option<Tensor<4>>,
}

impl DenseHead for RepPointsHead {
    type Config = RepPointsHeadConfig;
    type Predictions = RepPointsPredictions;

    fn forward(&self, features: Vec<Tensor<4>>) -> RepPointsPredictions {
        let mut out = RepPointsPredictions {
            cls_score: Vec::new(),
            pts_init: Vec::new(),
            pts_refine: Vec::new(),
            bbox_init: Vec::new(),
            bbox_refine: Vec::new(),
        };
        let levels = Levels::new(features);
        let cls = tower::forward(&self.cls_convs, levels.clone());
        let reg = tower::forward(&self.reg_convs, levels);
        for (cls, reg) in cls.into_maps().into_iter().zip(reg.into_maps()) {
            let init = self.init_stage(reg.clone());
            let offset = scale_gradient(init.points.clone(), self.gradient_mul)
                - of_one_cell(&taps(self.num_points), &reg.device());
            let cls = relu(self.reppoints_cls_conv.forward(cls, offset.clone(), None));
            let refined = relu(self.reppoints_pts_refine_conv.forward(reg, offset, None));
            let refined = tower::predict_map(&self.reppoints_pts_refine_out, refined);
            let refined = self.refine_stage(refined, &init);
            out.cls_score
                .push(tower::predict_map(&self.reppoints_cls_out, cls));
            out.bbox_init.push(self.bounding_box(init.points.clone()));
            out.bbox_refine.push(self.bounding_box(refined.clone()));
            out.pts_init.push(init.points);
            out.pts_refine.push(refined);
        }
        out
    }

    fn class_layers(&self) -> Vec<ClassLayer> {
        vec![ClassLayer::new("reppoints_cls_out", 1)]
    }
}

impl RepPointsHead {
    fn init_stage(&self, features: Tensor<4>) -> Stage {
        let hidden = convolve(&self.reppoints_pts_init_conv, features, Activation::Relu);
        let x = tower::predict_map(&self.reppoints_pts_init_out, hidden);
        let device = x.device();
        match self.source {
            PointSource::Center => Stage {
                points: x,
                laid_on: None,
            },
            PointSource::Grid(side) => {
                let grid = square_grid(self.num_points, side as f32);
                Stage {
                    points: x + of_one_cell(&grid, &device),
                    laid_on: None,
                }
            }
            PointSource::Box(side) => {
                let reach = 0.5 * side;
                let square = [-reach, -reach, reach, reach];
                let square = Tensor::<1>::from_floats(square, &device).reshape([1, 4, 1, 1]);
                let bbox = regress_box(square, x);
                Stage {
                    points: grid_on(bbox.clone(), self.num_points),
                    laid_on: Some(corners(bbox).without_autodiff()),
                }
            }
        }
    }

    /// Points of the second stage: `x` is relative to the first stage, which it does not train.
    fn refine_stage(&self, x: Tensor<4>, init: &Stage) -> Tensor<4> {
        match &init.laid_on {
            Some(bbox) => grid_on(regress_box(bbox.clone(), x), self.num_points),
            None => x + init.points.clone().without_autodiff(),
        }
    }

    fn bounding_box(&self, points: Tensor<4>) -> Tensor<4> {
        let moment = self.moment_transfer.as_ref().map(Param::val);
        points_to_box(points, self.transform, moment)
    }
}

impl RawPredictions for RepPointsPredictions {
    fn outputs(&self) -> Vec<(&'static str, &[Tensor<4>])> {
        vec![
            ("cls_score", &self.cls_score),
            ("bbox_pred", &self.bbox_refine),
            ("pts_init", &self.pts_init),
            ("pts_refine", &self.pts_refine),
        ]
    }
}

#[cfg(test)]
mod tests;
