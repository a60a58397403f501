//! What the parity tests of every head share: inputs and comparisons.

use aweigh_assign::Matches;
use aweigh_backbone::FeatureSpec;
use aweigh_detectors::{Losses, Method, Pyramid};
use aweigh_geometry::{Detection, GroundTruth, ImageFrame, LevelShape};
use aweigh_heads::{DenseHead, DenseHeadConfig, RawPredictions};
use aweigh_testkit::options::{pair, size};
use aweigh_testkit::{Case, Report, Tolerance, device, module};
use burn::tensor::Tensor;
use serde_json::Value;

use crate::options;

/// Raw outputs: f32 and f64 runs of the reference differ by 2e-6; the sums run in another order.
pub(super) const OUTPUT: Tolerance = Tolerance::new(2e-5, 1e-5);
/// Pixels: exponentials of raw outputs, up to a few hundred.
pub(super) const PIXELS: Tolerance = Tolerance::new(2e-3, 1e-5);
/// Targets come from the same few operations on the same numbers.
pub(super) const TARGET: Tolerance = Tolerance::new(1e-5, 1e-6);
/// Loss terms: f32 and f64 differ by 2e-7; boxes almost without area are noisier (2e-5).
pub(super) const LOSS: Tolerance = Tolerance::new(2e-5, 1e-5);
/// Gradients: f32 and f64 differ by 3e-7 where the largest is about 2.
pub(super) const GRADIENT: Tolerance = Tolerance::new(2e-5, 2e-4);
/// Scores: f32 and f64 differ by 2e-7.
pub(super) const SCORE: Tolerance = Tolerance::new(2e-6, 1e-5);

/// Strides that the classes of RepPoints, FSAF and RetinaNet have by default.
pub(super) const STRIDES_FROM_8: [usize; 5] = [8, 16, 32, 64, 128];

/// Whether a note is that of a head of the reference's class `kind`.
pub(super) fn is_head(meta: &Value, kind: &str) -> bool {
    meta["kind"] == "head" && meta["head"]["type"] == kind
}

/// The head of a case and what it predicts.
pub(super) struct Setup<'a, M: Method> {
    pub(super) case: &'a Case,
    pub(super) method: M,
    pub(super) head: M::Head,
    /// Feature maps, which get gradients.
    pub(super) features: Pyramid<Vec<Tensor<4>>>,
    pub(super) predictions: Pyramid<M::Predictions>,
    /// The boxes of every image, and its size with its own padding.
    pub(super) truth: GroundTruth,
}

impl<'a, M: Method> Setup<'a, M> {
    /// A head whose levels have these strides, with parameters that `load` sets.
    pub(super) fn new(
        case: &'a Case,
        method: M,
        strides: &[usize],
        load: impl FnOnce(&mut M::Head, &Case),
    ) -> Self {
        let options = &case.meta["head"];
        let channels = size(&options["in_channels"]);
        let specs: Vec<FeatureSpec> = strides
            .iter()
            .map(|&stride| FeatureSpec { channels, stride })
            .collect();
        let mut head = method
            .head(size(&options["num_classes"]), &specs)
            .init(&device().autodiff());
        load(&mut head, case);
        let features = features(case, strides);
        Self {
            predictions: features.clone().map(|maps| head.forward(maps)),
            case,
            method,
            head,
            features,
            truth: truth(case),
        }
    }

    /// A head with all parameters of the case.
    pub(super) fn loaded(case: &'a Case, method: M, strides: &[usize]) -> Self {
        Self::new(case, method, strides, |head, case| {
            module::load(head, case, "param/", &[]);
        })
    }

    pub(super) fn levels(&self) -> &[LevelShape] {
        &self.features.levels
    }

    pub(super) fn targets(&self) -> M::Targets {
        self.method.targets(&self.predictions, &self.truth)
    }

    pub(super) fn losses(&self) -> Losses {
        let (predictions, targets) = (self.predictions.clone(), self.targets());
        let normalisers = self.method.normalisers(&targets);
        self.method.losses(predictions, targets, &normalisers)
    }

    /// Compares the outputs of a name in training.
    pub(super) fn compare_outputs(&self, report: &mut Report, name: &str, tolerance: Tolerance) {
        let outputs = self.predictions.maps.outputs();
        let (_, maps) = outputs
            .iter()
            .find(|(known, _)| *known == name)
            .expect(name);
        compare_maps(report, maps, &format!("train/{name}"), tolerance);
    }

    /// Compares losses and their gradients, candidates and detections.
    pub(super) fn compare_results(&self, report: &mut Report) {
        let losses = self.losses();
        for (name, part) in &losses.parts {
            report.tensor(part.clone(), &format!("loss/{name}"), LOSS);
        }
        report.tensor(losses.total.clone(), "loss/total", LOSS);
        self.compare_gradients(report, &losses.total);
        self.compare_detections(report);
    }

    /// Compares the gradients of `total` for every parameter and feature map that the case holds.
    fn compare_gradients(&self, report: &mut Report, total: &Tensor<1>) {
        let case = self.case;
        let gradients = total.backward();
        let named = module::gradients(&self.head, &gradients);
        for name in case.names("grad/param/") {
            let got = &named[&name["grad/param/".len()..]];
            report.close(&name, got, &case.f64s(&name), GRADIENT);
        }
        for (l, x) in self.features.maps.iter().enumerate() {
            let name = format!("grad/feat/{l}");
            if case.has(&name) {
                let got = x.grad(&gradients).expect("a gradient of the features");
                report.tensor(got, &name, GRADIENT);
            }
        }
    }

    /// Compares candidates before NMS and final detections, in pixels of the input and of the file.
    fn compare_detections(&self, report: &mut Report) {
        let metas = image_metas(self.case);
        let frame = |meta: &Value, scale| ImageFrame {
            size: pair(&meta["img_shape"]).map(|x| x as usize),
            scale,
        };
        let resized = metas.iter().map(|meta| frame(meta, [1.0, 1.0]));
        let resized: Vec<ImageFrame> = resized.collect();
        let scale = |meta: &Value| pair(&meta["scale_factor"]).map(|x| x as f32);
        let original = metas.iter().map(|meta| frame(meta, scale(meta)));
        let original: Vec<ImageFrame> = original.collect();
        let (method, predictions) = (&self.method, &self.predictions);
        let stages = [
            ("before_nms", method.candidates(predictions, &resized)),
            ("det", method.decode(predictions, &resized)),
            ("det_rescaled", method.decode(predictions, &original)),
        ];
        for (stage, found) in stages {
            for (image, found) in found.iter().enumerate() {
                compare_image(report, self.case, &format!("{stage}/{image}"), found);
            }
        }
    }
}

/// The feature maps, which get gradients.
fn features(case: &Case, strides: &[usize]) -> Pyramid<Vec<Tensor<4>>> {
    let levels = case.meta["level_sizes"].as_array().expect("level sizes");
    let maps = (0..levels.len())
        .map(|l| case.tensor::<4>(&format!("feat/{l}"), &device()))
        .map(|x| Tensor::from_inner(x).require_grad());
    let features = Pyramid::new(maps.collect(), &strides[..levels.len()]);
    for (level, size) in features.levels.iter().zip(levels) {
        let found = [level.height, level.width];
        assert_eq!(found, pair(size).map(|x| x as usize), "{}", case.name);
    }
    features
}

/// The boxes of every image, and its size with its own padding.
fn truth(case: &Case) -> GroundTruth {
    let images: Vec<_> = (0..image_metas(case).len())
        .map(|image| options::truth(case, image))
        .collect();
    let sizes: Vec<[usize; 2]> = image_metas(case)
        .iter()
        .map(|meta| pair(&meta["pad_shape"]).map(|x| x as usize))
        .collect();
    GroundTruth::from_host(&images, &device()).with_sizes(&sizes)
}

fn image_metas(case: &Case) -> &[Value] {
    case.meta["img_metas"].as_array().expect("images")
}

/// Compares the maps of every level with `stage/<level>`.
pub(super) fn compare_maps(
    report: &mut Report,
    maps: &[Tensor<4>],
    stage: &str,
    tolerance: Tolerance,
) {
    for (l, map) in maps.iter().enumerate() {
        report.tensor(map.clone(), &format!("{stage}/{l}"), tolerance);
    }
}

/// Index among `B * P` points of every row of the reference's targets of each level, which hold
/// the images one after another.
pub(super) fn level_rows(shapes: &[LevelShape], images: usize) -> Vec<Vec<usize>> {
    let points: usize = shapes.iter().map(LevelShape::points).sum();
    let mut start = 0;
    let of_level = shapes.iter().map(|shape| {
        let first = start;
        start += shape.points();
        let image = |b: usize| (0..shape.points()).map(move |p| b * points + first + p);
        (0..images).flat_map(image).collect()
    });
    of_level.collect()
}

/// Class of every point, `classes` for the background, as in the reference.
pub(super) fn class_ids(matches: &Matches, classes: usize) -> Vec<i64> {
    let background = matches.positive.clone().bool_not();
    let labels = matches.labels.clone().mask_fill(background, classes as i64);
    labels.into_data().iter::<i64>().collect()
}

/// Compares detections in order of their score. Final scores of the reference lie 2e-6 apart;
/// candidates may have equal ones.
fn compare_image(report: &mut Report, case: &Case, prefix: &str, got: &[Detection]) {
    if !case.has(&format!("{prefix}/scores")) {
        return;
    }
    let scores = case.f64s(&format!("{prefix}/scores"));
    let boxes = case.boxes(&format!("{prefix}/bboxes"));
    let labels = case.ints(&format!("{prefix}/labels"));
    let mut expected: Vec<Detection> = (0..scores.len())
        .map(|i| Detection {
            bbox: boxes[i],
            score: scores[i] as f32,
            label: labels[i] as usize,
        })
        .collect();
    expected.sort_by(|a, b| b.score.total_cmp(&a.score));
    let got = paired(got, &expected);

    type Column = fn(&Detection) -> Vec<f64>;
    let columns: [(&str, Column, Tolerance); 3] = [
        ("scores", |d| vec![f64::from(d.score)], SCORE),
        ("labels", |d| vec![d.label as f64], Tolerance::new(0.0, 0.0)),
        ("bboxes", |d| d.bbox.map(f64::from).to_vec(), PIXELS),
    ];
    for (name, column, tolerance) in columns {
        let values = |all: &[Detection]| all.iter().flat_map(column).collect::<Vec<f64>>();
        let stage = format!("{prefix}/{name}");
        report.close(&stage, &values(&got), &values(&expected), tolerance);
    }
}

/// `got` in the order of `expected`, best score first: of equal scores and labels, the nearest box.
fn paired(got: &[Detection], expected: &[Detection]) -> Vec<Detection> {
    let mut rest = got.to_vec();
    rest.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut ordered = Vec::new();
    for expected in expected.iter().take(got.len()) {
        let equal = |d: &Detection| {
            let limit = SCORE.absolute as f32 + SCORE.relative as f32 * expected.score;
            (d.score - expected.score).abs() <= limit && d.label == expected.label
        };
        let distance = |d: &Detection| {
            let sides = d.bbox.iter().zip(expected.bbox);
            sides.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        let equals = (0..rest.len()).filter(|&i| equal(&rest[i]));
        let nearest = equals.min_by(|&a, &b| distance(&rest[a]).total_cmp(&distance(&rest[b])));
        ordered.push(rest.remove(nearest.unwrap_or(0)));
    }
    ordered.extend(rest);
    ordered
}
