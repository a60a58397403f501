//! Exports a detector with made-up weights and runs it, for `scripts/check_onnx.py` to compare.
//!
//! ```text
//! onnx_case JOB.json
//! ```
//!
//! A job is a [`Job`]. The weights depend on their names alone, so that every model of a job, and of
//! the same job later, has the same.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Instant;

use aweigh_backbone::weights::StateDict;
use aweigh_detectors::{Detector, DetectorConfig};
use aweigh_geometry::ImageFrame;
use aweigh_onnx::{DeformConv, InputSize, OnnxOptions, Outputs, RawOutputs, export};
use aweigh_testkit::device;
use burn::store::ModuleSnapshot;
use burn::tensor::{Tensor, TensorData};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Deserialize;

/// What to write.
#[derive(Deserialize)]
struct Job {
    detector: DetectorConfig,
    models: Vec<Model>,
    runs: Vec<Run>,
}

/// A model to export.
#[derive(Deserialize)]
struct Model {
    file: PathBuf,
    /// Height and width; any where there is none.
    size: Option<[usize; 2]>,
    /// Detections instead of the predictions of all points.
    detections: bool,
    /// Deformable convolutions made of simpler operators.
    decomposed: bool,
}

/// Images to run the detector on.
#[derive(Deserialize)]
struct Run {
    /// A file of safetensors with `images` `[B, 3, H, W]`.
    images: PathBuf,
    /// Outputs of the head, detections of each image, and the seconds of the fastest run.
    results: PathBuf,
    repeats: usize,
}

/// Tensors to write: shape and bytes, by name.
#[derive(Default)]
struct File(Vec<(String, Dtype, Vec<usize>, Vec<u8>)>);

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("expected a job's file")?;
    let job: Job = serde_json::from_slice(&std::fs::read(path)?)?;
    let detector = with_weights(job.detector.init(&device())?)?;
    for model in &job.models {
        let options = OnnxOptions {
            outputs: if model.detections {
                Outputs::Detections
            } else {
                Outputs::Decoded
            },
            raw: RawOutputs::With,
            deform_conv: if model.decomposed {
                DeformConv::Decomposed
            } else {
                DeformConv::Standard
            },
            ..OnnxOptions::new(model.size.map_or(InputSize::Dynamic, InputSize::Fixed))
        };
        let exported = export(&detector, &job.detector, &options)?;
        std::fs::write(&model.file, exported.to_bytes())?;
    }
    job.runs.iter().try_for_each(|run| compute(&detector, run))
}

/// The detector with weights under which features keep their size, scores lie on both sides of the
/// threshold and boxes overlap.
fn with_weights(detector: Detector) -> Result<Detector, Box<dyn Error>> {
    let tensors = detector.collect(None, None, true).into_iter();
    let made = tensors.map(|tensor| {
        let shape = tensor.shape.to_vec();
        let values = values(&tensor.name, &shape);
        (tensor.name, TensorData::new(values, shape))
    });
    let made: BTreeMap<String, TensorData> = made.collect();
    let weights = StateDict::from_tensors(Path::new("made-up weights"), made);
    Ok(weights.load_into(detector)?)
}

/// Middle and half the width of the values of a parameter.
fn spread(name: &str, shape: &[usize]) -> [f32; 2] {
    let is = |part: &str| name.contains(part);
    if let [_, inputs, height, width] = shape {
        let fan_in = (inputs * height * width) as f32;
        // A uniform distribution of this half width has a deviation of sqrt(1 / fan_in), or, where a
        // ReLU halves the variance, of sqrt(2 / fan_in).
        let gain: f32 = if is("_reg") || is("_offset") || is("_out") {
            0.5
        } else {
            2.0
        };
        return [0.0, (3.0 * gain / fan_in).sqrt()];
    }
    match name.rsplit('.').next() {
        Some("running_var") => [1.0, 0.5],
        Some("weight") => [0.6, 0.2],
        Some("scale") => [1.0, 0.2],
        Some("bias") if is("_cls") => [-2.5, 0.2],
        Some("bias") if is("_reg") => [0.5, 0.5],
        _ => [0.0, 0.2],
    }
}

fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let [middle, reach] = spread(name, shape);
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let mut state = hasher.finish() | 1;
    let uniform = |_| {
        // Xorshift (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        middle + reach * ((state >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    (0..shape.iter().product()).map(uniform).collect()
}

fn compute(detector: &Detector, run: &Run) -> Result<(), Box<dyn Error>> {
    let images = read(&run.images)?;
    let [batch, _, height, width] = images.dims();
    let frame = ImageFrame {
        size: [height, width],
        scale: [1.0, 1.0],
    };
    let mut seconds = f32::INFINITY;
    let mut last = None;
    for _ in 0..run.repeats {
        let start = Instant::now();
        let predictions = detector.forward(images.clone());
        let found = predictions.decode(&vec![frame; batch]);
        seconds = seconds.min(start.elapsed().as_secs_f32());
        last = Some((predictions, found));
    }
    let (predictions, found) = last.ok_or("expected at least one repeat")?;
    let mut file = File::default();
    for (name, maps) in predictions.outputs() {
        for (level, map) in maps.iter().enumerate() {
            let values: Vec<f32> = map.to_data().iter::<f32>().collect();
            file.add(&format!("{name}_{level}"), &map.dims(), &values);
        }
    }
    for (image, detections) in found.iter().enumerate() {
        let boxes: Vec<f32> = detections.iter().flat_map(|d| d.bbox).collect();
        let scores: Vec<f32> = detections.iter().map(|d| d.score).collect();
        let labels: Vec<f32> = detections.iter().map(|d| d.label as f32).collect();
        let count = detections.len();
        file.add(&format!("boxes:{image}"), &[count, 4], &boxes);
        file.add(&format!("scores:{image}"), &[count], &scores);
        file.add(&format!("labels:{image}"), &[count], &labels);
    }
    file.add("seconds", &[1], &[seconds]);
    file.write(&run.results)
}

fn read(path: &Path) -> Result<Tensor<4>, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let images = file.tensor("images")?;
    let (chunks, _) = images.data().as_chunks::<4>();
    let values: Vec<f32> = chunks
        .iter()
        .map(|chunk| f32::from_le_bytes(*chunk))
        .collect();
    let data = TensorData::new(values, images.shape().to_vec());
    Ok(Tensor::from_data(data, &device()))
}

impl File {
    fn add(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        let bytes = bytes.collect();
        self.0
            .push((name.to_owned(), Dtype::F32, shape.to_vec(), bytes));
    }

    fn write(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let mut views = HashMap::new();
        for (name, dtype, shape, bytes) in &self.0 {
            views.insert(name.clone(), TensorView::new(*dtype, shape.clone(), bytes)?);
        }
        std::fs::write(path, safetensors::serialize(views, None)?)?;
        Ok(())
    }
}
