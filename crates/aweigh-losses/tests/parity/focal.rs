//! Focal loss against torchvision (`tv/*`) and mmdetection (`mm/*`).

use aweigh_losses::{FocalLoss, sigmoid_focal_loss, weighted_mean};
use aweigh_testkit::{Case, Report, cases, device, understand};
use burn::tensor::{DType, Tensor};

use super::compare::{close, tolerance};
use crate::support::{differentiate, tensor, values};

/// Normalisers of the `mm/*` tensors, from the note.
const PLAIN_NORMALISER: f32 = 6.5;
const WEIGHTED_NORMALISER: f32 = 3.0;

#[test]
fn parity_focal() {
    for case in cases(env!("CARGO_MANIFEST_DIR"), |meta| meta["kind"] == "focal") {
        understand(&case, &case.meta, &super::known(&["alpha_gamma"]));
        let losses = losses(&case);
        names_are_understood(&case, losses.len());
        let mut report = Report::new(&case);
        for (index, focal) in losses.into_iter().enumerate() {
            check_elements(&case, &mut report, index, focal, DType::F32, "");
            check_elements(&case, &mut report, index, focal, DType::F64, "_f64");
            check_reduced(&case, &mut report, index, focal);
        }
        report.finish();
    }
}

fn losses(case: &Case) -> Vec<FocalLoss> {
    let pairs: Vec<[f64; 2]> = case.meta["alpha_gamma"]
        .as_array()
        .and_then(|pairs| pairs.iter().map(pair).collect())
        .unwrap_or_else(|| panic!("{}: alpha_gamma holds pairs of numbers", case.name));
    let loss = |[alpha, gamma]: [f64; 2]| FocalLoss {
        alpha,
        gamma,
        ..FocalLoss::default()
    };
    pairs.into_iter().map(loss).collect()
}

fn pair(value: &serde_json::Value) -> Option<[f64; 2]> {
    Some([value.get(0)?.as_f64()?, value.get(1)?.as_f64()?])
}

fn names_are_understood(case: &Case, configs: usize) {
    let inputs = ["labels", "logits", "upstream", "weight"];
    for name in case.names("") {
        let parts: Vec<&str> = name.split('/').collect();
        let understood = match parts[..] {
            ["tv", index, "value" | "value_f64" | "grad" | "grad_f64"]
            | [
                "mm",
                index,
                "plain" | "weighted" | "mean" | "sum",
                "value" | "grad",
            ] => index.parse::<usize>().is_ok_and(|i| i < configs),
            [input] => inputs.contains(&input),
            _ => false,
        };
        assert!(understood, "{}: unknown tensor `{name}`", case.name);
    }
}

/// One where the label is the class; the label that equals the number of classes is background.
fn target(case: &Case, dtype: DType) -> Tensor<2> {
    let [rows, classes] = shape(case);
    let labels = case.ints("labels");
    let hot = |label: i64| (0..classes).map(move |c| f64::from(label == c as i64));
    let values: Vec<f64> = labels.into_iter().flat_map(hot).collect();
    tensor(&values, [rows, classes], dtype)
}

fn shape(case: &Case) -> [usize; 2] {
    case.shape("logits").try_into().expect("rows and classes")
}

fn check_elements(
    case: &Case,
    report: &mut Report,
    index: usize,
    focal: FocalLoss,
    dtype: DType,
    suffix: &str,
) {
    let name = |part: &str| format!("tv/{index}/{part}{suffix}");
    if !case.has(&name("value")) {
        return;
    }
    let logits = tensor(&case.f64s("logits"), shape(case), dtype);
    let upstream = tensor(&case.f64s("upstream"), shape(case), dtype);
    let loss = |x: Tensor<2>| sigmoid_focal_loss(x, target(case, dtype), &focal);
    let value = values(loss(logits.clone()));
    close(case, report, &value, &name("value"), tolerance(dtype));
    let (_, slope) = differentiate(logits, |x| loss(x) * upstream.clone());
    close(case, report, &slope, &name("grad"), tolerance(dtype));
}

fn check_reduced(case: &Case, report: &mut Report, index: usize, focal: FocalLoss) {
    let [rows, classes] = shape(case);
    let weight = case.tensor::<1>("weight", &device()).reshape([rows, 1]);
    let normaliser = |value: f32| Tensor::<1>::from_data([value], &device());
    let elements = (rows * classes) as f64;
    for kind in ["plain", "weighted", "mean", "sum"] {
        let name = |part: &str| format!("mm/{index}/{kind}/{part}");
        if !case.has(&name("value")) {
            continue;
        }
        let loss = |x: Tensor<2>| {
            let loss = mmdet_loss(x, target(case, DType::F32), focal);
            match kind {
                "plain" => weighted_mean(loss, None, normaliser(PLAIN_NORMALISER)),
                "weighted" => {
                    weighted_mean(loss, Some(weight.clone()), normaliser(WEIGHTED_NORMALISER))
                }
                "mean" => loss.sum() / elements,
                _ => loss.sum(),
            }
        };
        let logits = case.tensor::<2>("logits", &device());
        let (value, slope) = differentiate(logits, loss);
        let limits = tolerance(DType::F32);
        close(case, report, &value, &name("value"), limits);
        close(case, report, &slope, &name("grad"), limits);
    }
}

/// mmdetection applies a negative alpha literally instead of switching the balance off.
fn mmdet_loss(logits: Tensor<2>, target: Tensor<2>, focal: FocalLoss) -> Tensor<2> {
    let loss = sigmoid_focal_loss(logits, target.clone(), &focal);
    if focal.alpha >= 0.0 {
        return loss;
    }
    loss * (target * (2.0 * focal.alpha - 1.0) + (1.0 - focal.alpha))
}
