//! A factor of the loss that keeps the gradients of a network in `f16` within its range.
//!
//! It is that of PyTorch's `GradScaler` (Micikevicius et al., 2018, section 3.2): it grows while
//! gradients are finite and shrinks when one is not, and that step is left out. Whether they are is
//! the one number of a step that the host waits for, and only in `f16`.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::config::Precision;
use crate::gradients;

/// The scale at the start.
const START: f32 = 65_536.0;
/// Factor after [`INTERVAL`] good steps in a row.
const GROWTH: f32 = 2.0;
/// Factor after a step whose gradients are not finite.
const BACKOFF: f32 = 0.5;
const INTERVAL: usize = 2_000;

/// The smallest positive `f16`. A loss whose gradients overflow with a smaller factor has no
/// gradients in `f16`, or none at all.
const LEAST: f32 = 1.0 / 16_777_216.0;

/// The scale of the loss, and what it depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossScale {
    /// Factor of the loss.
    pub scale: f32,
    /// Steps since the scale last changed.
    pub good_steps: usize,
    /// Steps of the run that were left out, since a gradient was not finite.
    pub skipped: usize,
}

impl Default for LossScale {
    fn default() -> Self {
        Self {
            scale: START,
            good_steps: 0,
            skipped: 0,
        }
    }
}

impl LossScale {
    /// The scale of a run in a precision, which goes on from a saved one; none where the range of the
    /// numbers is that of `f32`.
    pub fn of_run(precision: Precision, saved: Option<Self>) -> Option<Self> {
        match precision {
            Precision::F16 => Some(saved.unwrap_or_default()),
            Precision::F32 | Precision::Bf16 => None,
        }
    }

    /// The loss that is differentiated.
    pub(crate) fn of_loss(scale: Option<&Self>, loss: Tensor<1>) -> Tensor<1> {
        match scale {
            Some(Self { scale, .. }) => loss * *scale,
            None => loss,
        }
    }

    /// The gradients without the scale, if all are finite, and none if the step is to be left out;
    /// then the scale changes for the next step. Waits for the device.
    pub fn unscale<M: Module>(
        &mut self,
        model: &M,
        gradients: GradientsParams,
        device: &Device,
    ) -> Option<GradientsParams> {
        // A sum is finite if what it is of is finite, since magnitudes do not cancel.
        let magnitude = gradients::sum(model, &gradients, device, |x| x.abs());
        let finite = magnitude.into_scalar::<f32>().is_finite();
        let factor = self.scale.recip();
        self.update(finite);
        let unscale = |data: &mut Tensor<1>| *data = data.clone() * factor;
        finite.then(|| gradients::rewrite(model, gradients, unscale))
    }

    /// The scale of the next step.
    fn update(&mut self, finite: bool) {
        if !finite {
            self.scale *= BACKOFF;
            self.good_steps = 0;
            self.skipped += 1;
            return;
        }
        self.good_steps += 1;
        if self.good_steps == INTERVAL {
            self.good_steps = 0;
            if (self.scale * GROWTH).is_finite() {
                self.scale *= GROWTH;
            }
        }
    }

    /// What is wrong with gradients that no scale makes finite.
    pub(crate) fn problem(&self) -> Option<String> {
        let exhausted = self.scale < LEAST;
        exhausted.then(|| {
            let scale = self.scale;
            format!("gradients are not finite even at a loss scale of {scale:.0e} (f16)")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aweigh_detectors::Detector;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::TensorData;

    use super::*;
    use crate::bench::{BenchMode, BenchOptions, made_up};
    use crate::config::Experiment;
    use crate::model::fresh;
    use crate::named_tensors;
    use crate::optimizer::Optimizer;
    use crate::step::{StepContext, train_step};

    fn after(scale: LossScale, steps: &[bool]) -> (f32, usize, usize) {
        let mut scale = scale;
        steps.iter().for_each(|finite| scale.update(*finite));
        (scale.scale, scale.good_steps, scale.skipped)
    }

    #[test]
    fn the_scale_grows_slowly_and_shrinks_at_once() {
        let start = LossScale::default;
        assert_eq!(after(start(), &[]), (65_536.0, 0, 0));
        assert_eq!(after(start(), &[false]), (32_768.0, 0, 1));
        assert_eq!(after(start(), &[true, false, true]), (32_768.0, 1, 1));
        assert_eq!(after(start(), &[true; 1_999]), (65_536.0, 1_999, 0));
        assert_eq!(after(start(), &[true; 2_000]), (131_072.0, 0, 0));
        assert_eq!(after(start(), &[true; 4_001]), (262_144.0, 1, 0));
        let late = [[true; 1_999].as_slice(), &[false], &[true; 1_999]].concat();
        assert_eq!(after(start(), &late), (32_768.0, 1_999, 1));
    }

    #[test]
    fn the_scale_stays_finite() {
        let largest = LossScale {
            scale: 2.0_f32.powi(127),
            good_steps: 1_999,
            skipped: 0,
        };
        assert_eq!(after(largest, &[true]), (2.0_f32.powi(127), 0, 0));
    }

    #[test]
    fn gradients_that_no_scale_helps_are_a_problem() {
        let mut scale = LossScale::default();
        (0..40).for_each(|_| scale.update(false));
        assert_eq!(scale.problem(), None);
        scale.update(false);
        let problem = scale.problem().expect("a problem");
        assert!(problem.contains("not finite"), "{problem}");
    }

    #[test]
    fn only_half_precision_has_a_scale() {
        let saved = LossScale {
            scale: 8.0,
            good_steps: 7,
            skipped: 3,
        };
        let json = serde_json::to_string(&saved).unwrap();
        let read: LossScale = serde_json::from_str(&json).unwrap();
        assert_eq!(
            LossScale::of_run(Precision::F16, Some(read)).as_ref(),
            Some(&saved)
        );
        let fresh = LossScale::of_run(Precision::F16, None);
        assert_eq!(fresh, Some(LossScale::default()));
        for precision in [Precision::F32, Precision::Bf16] {
            assert_eq!(LossScale::of_run(precision, Some(saved.clone())), None);
        }
    }

    fn unscaled(weight: f32, bias: f32) -> (Option<[f32; 2]>, LossScale) {
        let device = Device::flex();
        let layer: Linear = LinearConfig::new(1, 1).init(&device);
        let ids = (layer.weight.id, layer.bias.as_ref().unwrap().id);
        let mut gradients = GradientsParams::new();
        gradients.register(ids.0, Tensor::<2>::from_floats([[weight]], &device));
        gradients.register(ids.1, Tensor::<1>::from_floats([bias], &device));
        let mut scale = LossScale::default();
        let found = scale.unscale(&layer, gradients, &device);
        let values = found.map(|gradients| {
            [
                gradients.get::<2>(ids.0).unwrap().into_scalar(),
                gradients.get::<1>(ids.1).unwrap().into_scalar(),
            ]
        });
        (values, scale)
    }

    #[test]
    fn finite_gradients_lose_the_scale_and_others_are_none() {
        let (values, scale) = unscaled(65_536.0 * 3.0, -65_536.0 * 0.125);
        assert_eq!(values, Some([3.0, -0.125]));
        assert_eq!((scale.good_steps, scale.skipped), (1, 0));
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            let (values, scale) = unscaled(1.0, bad);
            assert_eq!(values, None, "{bad}");
            assert_eq!((scale.scale, scale.skipped), (32_768.0, 1), "{bad}");
        }
    }

    const TINY: &str = "
[data]
train = { annotations = \"a\", images = \"b\" }
[detector]
num_classes = 2
[detector.backbone]
depth = 18
base_channels = 4
frozen_stages = -1
[detector.neck]
out_channels = 8
[detector.fcos]
feat_channels = 8
stacked_convs = 1
norm = { group_norm = { groups = 4 } }
[train]
clip_norm = 0.5
";

    /// A run of steps on made-up images, in the CPU's `f32`, where a power of two changes no digit.
    struct Run {
        experiment: Experiment,
        model: Detector,
        optimizer: Optimizer,
    }

    impl Run {
        fn start() -> Self {
            let experiment = Experiment::parse("tiny.toml", TINY, &[]).unwrap();
            let device = Device::flex().autodiff();
            Self {
                model: fresh(&experiment.detector, 5, &device).unwrap(),
                optimizer: Optimizer::new(&experiment.train.optimizer),
                experiment,
            }
        }

        fn step(mut self, scale: Option<&mut LossScale>) -> (Self, BTreeMap<String, f32>, bool) {
            let host = made_up(&BenchOptions {
                mode: BenchMode::Train,
                size: [64, 64],
                batch: 2,
                warmup: 0,
                repeats: 1,
                profile: false,
            });
            let device = Device::flex();
            let context = StepContext::alone(&self.experiment, &device, &mut self.optimizer, 0.01)
                .with_loss_scale(scale);
            let stepped = train_step(context, self.model, host, |_| {});
            self.model = stepped.model;
            let scalars = stepped.scalars.into_iter();
            let scalars = scalars.map(|(name, value)| (name, value.into_scalar()));
            (self, scalars.collect(), stepped.skipped)
        }

        /// Weights, then the state of the optimiser.
        fn state(&self) -> [BTreeMap<String, TensorData>; 2] {
            [named_tensors(&self.model), self.optimizer.state()]
        }
    }

    #[test]
    fn a_scaled_step_is_the_step_and_shows_its_losses() {
        let (plain, losses, _) = Run::start().step(None);
        let mut scale = LossScale::default();
        let (scaled, shown, skipped) = Run::start().step(Some(&mut scale));
        assert!(!skipped);
        assert!(losses["grad_norm"] > 0.5, "nothing is clipped: {losses:?}");
        assert_eq!(shown, losses);
        assert_eq!(scaled.state(), plain.state());
    }

    #[test]
    fn a_step_that_is_left_out_leaves_weights_and_optimiser_as_they_are() {
        let mut scale = LossScale::default();
        let (run, losses, _) = Run::start().step(Some(&mut scale));
        let before = run.state();
        scale.scale = 2.0_f32.powi(127);
        let (run, shown, skipped) = run.step(Some(&mut scale));
        assert!(skipped);
        assert!(run.state() == before);
        assert!(shown.keys().eq(losses.keys()));
        assert!(shown.values().all(|value| value.is_finite()), "{shown:?}");
        assert_eq!(shown["grad_norm"], 0.0);
        let expected = LossScale {
            scale: 2.0_f32.powi(126),
            good_steps: 0,
            skipped: 1,
        };
        assert_eq!(scale, expected);
    }
}
