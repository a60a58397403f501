//! Timing of a training step, of inference and of the loader.

mod layers;
mod load;

use std::collections::BTreeMap;
use std::time::Instant;

use aweigh_conv::profile;
use aweigh_data::HostBatch;
use aweigh_detectors::Detector;
use aweigh_geometry::HostTruth;
use burn::module::Module;
use burn::tensor::Device;
use serde::{Serialize, Serializer};

use crate::TrainError;
use crate::batch::{image_frames, upload_images};
use crate::config::{Experiment, Precision};
use crate::loss_scale::LossScale;
use crate::made_up;
use crate::model::fresh;
use crate::optimizer::Optimizer;
use crate::step::{StepContext, train_step};

pub use layers::LayerTime;

/// Classes of a model whose configuration does not say how many: COCO's.
const DEFAULT_CLASSES: usize = 80;
/// Boxes of a made-up image.
const BOXES: usize = 8;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BenchMode {
    /// A training step on made-up images.
    Train,
    /// Inference on made-up images.
    Infer,
    /// Loading batches of the training set.
    Data,
}

/// How it is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchOptions {
    /// What is timed.
    pub mode: BenchMode,
    /// `[height, width]` of the input in pixels; not for [`BenchMode::Data`].
    pub size: [usize; 2],
    /// Images per step.
    pub batch: usize,
    /// Steps before timing starts; not for [`BenchMode::Data`].
    pub warmup: usize,
    /// Timed steps.
    pub repeats: usize,
    /// Whether each layer is timed, on the CPU; not for [`BenchMode::Data`].
    pub profile: bool,
}

/// Milliseconds over the timed steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Middle value.
    #[serde(serialize_with = "thousandths")]
    pub median: f64,
    /// Fastest step.
    #[serde(serialize_with = "thousandths")]
    pub min: f64,
    /// Slowest step.
    #[serde(serialize_with = "thousandths")]
    pub max: f64,
}

/// Result of a benchmark; serialised, it is one JSON line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchReport {
    /// What was timed.
    pub mode: BenchMode,
    /// Where.
    pub device: String,
    /// Threads of the CPU backend.
    pub threads: usize,
    /// `[height, width]` of the input in pixels; of the last batch for [`BenchMode::Data`].
    pub size: [usize; 2],
    /// Images per step.
    pub batch: usize,
    /// The numbers that the network computed with; those of the configuration in
    /// [`BenchMode::Train`].
    pub precision: Precision,
    /// Timed steps.
    pub repeats: usize,
    /// The whole step.
    pub step_ms: Spread,
    /// Its phases, each ended by waiting for the device; `backbone` includes the neck.
    pub phases_ms: BTreeMap<&'static str, Spread>,
    /// Median of each phase over the sum of all medians.
    #[serde(serialize_with = "all_thousandths")]
    pub shares: BTreeMap<&'static str, f64>,
    /// Images per second at the median.
    #[serde(serialize_with = "thousandths")]
    pub images_per_s: f64,
    /// Largest resident memory of the process so far, where the system tells it.
    pub peak_rss_mib: Option<f64>,
    /// Memory of the device that its allocator holds after the steps, where the backend tells it:
    /// what the largest step needed, without what the driver and its kernels take.
    pub device_memory_mib: Option<f64>,
    /// Mean of the whole step, in milliseconds.
    #[serde(serialize_with = "thousandths")]
    pub mean_ms: f64,
    /// The time of each layer, the most expensive first, if it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerTime>,
}

/// Times what `options` ask for.
///
/// # Errors
///
/// When the detector cannot be built, or the training set cannot be read or has no usable image.
pub fn bench(
    experiment: &Experiment,
    options: &BenchOptions,
    device: &Device,
) -> Result<BenchReport, TrainError> {
    // What an earlier benchmark of this process left would count as memory of this one.
    device.memory_cleanup();
    let mut times = Times::default();
    let mut size = options.size;
    let mut layers = Vec::new();
    match options.mode {
        BenchMode::Train => layers = train(experiment, options, device, &mut times)?,
        BenchMode::Infer => layers = infer(experiment, options, device, &mut times)?,
        BenchMode::Data => size = load::data(experiment, options, &mut times)?,
    }
    let warmup = match options.mode {
        BenchMode::Train | BenchMode::Infer => options.warmup,
        BenchMode::Data => 0,
    };
    let step_ms = times.total(warmup);
    let phases_ms = times.phases(warmup);
    Ok(BenchReport {
        mode: options.mode,
        device: format!("{device:?}"),
        threads: rayon::current_num_threads(),
        size,
        batch: options.batch,
        precision: match options.mode {
            BenchMode::Train => experiment.train.precision,
            BenchMode::Infer | BenchMode::Data => Precision::F32,
        },
        repeats: options.repeats,
        shares: shares(&phases_ms),
        phases_ms,
        images_per_s: options.batch as f64 / (step_ms.median / 1000.0),
        step_ms,
        peak_rss_mib: peak_rss_mib(),
        device_memory_mib: device_memory_mib(device),
        mean_ms: times.mean(warmup),
        layers,
    })
}

/// Part of each phase in all of them.
fn shares(phases: &BTreeMap<&'static str, Spread>) -> BTreeMap<&'static str, f64> {
    let sum: f64 = phases.values().map(|phase| phase.median).sum();
    let share = |(name, phase): (&&'static str, &Spread)| (*name, phase.median / sum);
    phases.iter().map(share).collect()
}

fn train(
    experiment: &Experiment,
    options: &BenchOptions,
    device: &Device,
    times: &mut Times,
) -> Result<Vec<LayerTime>, TrainError> {
    let precision = experiment.train.precision;
    precision.check(device)?;
    let mut loss_scale = LossScale::of_run(precision, None);
    let mut model = detector(experiment, &device.clone().autodiff())?;
    let mut optimizer = Optimizer::new(&experiment.train.optimizer);
    for step in 0..options.warmup + options.repeats {
        if options.profile && step == options.warmup {
            profile::start();
        }
        let host = made_up(options);
        let mut step = Stopwatch::start(device);
        let context = StepContext::alone(experiment, device, &mut optimizer, experiment.train.lr)
            .with_loss_scale(loss_scale.as_mut());
        model = train_step(context, model, host, |phase| step.end(phase)).model;
        times.steps.push(step.phases);
    }
    profile::stop();
    Ok(layers::recorded(&model, options.repeats))
}

fn infer(
    experiment: &Experiment,
    options: &BenchOptions,
    device: &Device,
    times: &mut Times,
) -> Result<Vec<LayerTime>, TrainError> {
    let model = detector(experiment, device)?.valid();
    for step in 0..options.warmup + options.repeats {
        if options.profile && step == options.warmup {
            profile::start();
        }
        let host = made_up(options);
        let frames = image_frames(&host);
        let mut step = Stopwatch::start(device);
        let images = upload_images(host.images, host.shape, &device.clone().inner());
        step.end("upload");
        let features = model.features(images);
        step.end("backbone");
        let predictions = model.predict(features);
        step.end("head");
        predictions.decode(&frames);
        step.end("postprocess");
        times.steps.push(step.phases);
    }
    profile::stop();
    Ok(layers::recorded(&model, options.repeats))
}

fn detector(experiment: &Experiment, device: &Device) -> Result<Detector, TrainError> {
    let mut config = experiment.detector.clone();
    config.num_classes.get_or_insert(DEFAULT_CLASSES);
    Ok(fresh(&config, experiment.seed, device)?)
}

/// A batch of noise with boxes of several sizes.
pub(crate) fn made_up(options: &BenchOptions) -> HostBatch {
    let truth = HostTruth {
        boxes: (0..BOXES).map(|i| made_up_box(i, options.size)).collect(),
        labels: vec![0; BOXES],
        ignore: Vec::new(),
    };
    made_up::batch(vec![truth; options.batch], options.size)
}

/// Boxes along the diagonal, each larger than the one before.
fn made_up_box(index: usize, [height, width]: [usize; 2]) -> [f32; 4] {
    let part = (index + 1) as f32 / (BOXES + 1) as f32;
    let [height, width] = [height as f32, width as f32];
    let [x, y] = [part * width / 2.0, part * height / 2.0];
    [x, y, x + part * width / 2.0, y + part * height / 2.0]
}

/// Phases of every step, in milliseconds.
#[derive(Debug, Default)]
struct Times {
    steps: Vec<Vec<(&'static str, f64)>>,
}

/// Times the phases of one step.
struct Stopwatch<'a> {
    phases: Vec<(&'static str, f64)>,
    device: &'a Device,
    since: Instant,
}

impl Times {
    fn total(&self, warmup: usize) -> Spread {
        let steps = self.steps[warmup..].iter();
        Spread::of(
            steps
                .map(|step| step.iter().map(|(_, ms)| ms).sum())
                .collect(),
        )
    }

    fn mean(&self, warmup: usize) -> f64 {
        let steps = &self.steps[warmup..];
        let sum: f64 = steps.iter().flatten().map(|(_, ms)| ms).sum();
        sum / steps.len() as f64
    }

    fn phases(&self, warmup: usize) -> BTreeMap<&'static str, Spread> {
        let mut times: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
        for (name, ms) in self.steps[warmup..].iter().flatten() {
            times.entry(name).or_default().push(*ms);
        }
        times
            .into_iter()
            .map(|(name, times)| (name, Spread::of(times)))
            .collect()
    }
}

impl<'a> Stopwatch<'a> {
    fn start(device: &'a Device) -> Self {
        Self {
            phases: Vec::new(),
            device,
            since: Instant::now(),
        }
    }

    /// Ends a phase, with all work of it.
    fn end(&mut self, name: &'static str) {
        if let Err(error) = self.device.sync() {
            tracing::warn!("{name}: {error:?}");
        }
        let now = Instant::now();
        let ms = (now - self.since).as_secs_f64() * 1000.0;
        self.phases.push((name, ms));
        self.since = now;
    }
}

impl Spread {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |index: usize| times.get(index).copied().unwrap_or(f64::NAN);
        let middle = times.len() / 2;
        Self {
            median: match times.len() % 2 {
                0 => (at(middle.saturating_sub(1)) + at(middle)) / 2.0,
                _ => at(middle),
            },
            min: at(0),
            max: at(times.len().saturating_sub(1)),
        }
    }
}

/// A measured figure without the digits that mean nothing.
fn thousandths<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((value * 1000.0).round() / 1000.0)
}

fn all_thousandths<S: Serializer>(
    values: &BTreeMap<&'static str, f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let rounded = |value: &f64| (value * 1000.0).round() / 1000.0;
    serializer.collect_map(values.iter().map(|(name, value)| (name, rounded(value))))
}

/// Peak resident memory in MiB, from Linux's `/proc`: one line of text, for which a library that
/// reads everything of a system would be much.
pub(crate) fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kib / 1024.0).round())
}

/// Memory in MiB that the device's allocator holds.
fn device_memory_mib(device: &Device) -> Option<f64> {
    let usage = device.memory_pool_usage()?;
    Some((usage.bytes_reserved as f64 / (1024.0 * 1024.0)).round())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let check = |times: &[f64], median| assert_eq!(Spread::of(times.into()).median, median);
        check(&[3.0, 1.0, 2.0], 2.0);
        check(&[4.0, 1.0, 2.0, 3.0], 2.5);
        assert!(Spread::of(Vec::new()).median.is_nan());
    }

    #[test]
    fn made_up_boxes_lie_in_the_image() {
        for index in 0..BOXES {
            let [x1, y1, x2, y2] = made_up_box(index, [64, 96]);
            assert!(0.0 < x1 && x1 < x2 && x2 <= 96.0 && 0.0 < y1 && y1 < y2 && y2 <= 64.0);
        }
    }
}
