//! Box losses and binary cross entropy against mmdetection, and the overlap losses against
//! torchvision (`tv_*`) where the two define the same.
//!
//! torchvision adds its epsilon where mmdetection takes a maximum, and passes no gradient to boxes
//! that touch. The `tv_*` tensors are therefore compared for pairs of at least a tenth of a pixel
//! that do not touch.
//!
//! Outside are the complete, the bounded and the squared IoU loss, which no detector offers.

use aweigh_losses::{
    IouMode, bce_with_logits, diou_loss, giou_loss, iou_loss, l1, smooth_l1, weighted_mean,
};
use aweigh_testkit::{Case, Report, Tolerance, cases, device, understand};
use burn::tensor::{DType, Tensor};
use serde_json::Value;

use super::compare::{close, tolerance};
use crate::support::{differentiate, tensor, values};

/// Normalisers of the `weighted_*` and `bce/*` tensors, from the note.
const WEIGHTED_NORMALISER: f32 = 4.0;
const BCE_NORMALISER: f32 = 7.0;
/// Epsilon of torchvision's losses, from the note.
const TORCHVISION_EPS: f64 = 1e-7;
/// The epsilons differ by 1e-7 of areas that may be as small as 0.01.
const TORCHVISION: Tolerance = Tolerance::new(2e-5, 2e-5);

/// torchvision's tensors of a loss that is not offered.
const OUTSIDE_GROUP: &str = "tv_ciou";

/// A loss of boxes `[N, 4]`, as `[N, 1]` or `[N, 4]`.
type Loss = Box<dyn Fn(Tensor<2>, Tensor<2>) -> Tensor<2>>;

/// A loss and the group of its tensors.
struct Group<'a> {
    name: &'a str,
    loss: Loss,
}

#[allow(clippy::print_stdout)]
#[test]
fn parity_boxloss() {
    let keep = |meta: &Value| meta["kind"] == "box_losses";
    for case in cases(env!("CARGO_MANIFEST_DIR"), keep) {
        understand(&case, &case.meta, &super::known(&["configs"]));
        let configs = case.meta["configs"].as_object().expect("named configs");
        names_are_understood(&case, configs.keys().map(String::as_str).collect());
        let mut report = Report::new(&case);
        for (name, config) in configs {
            let Some(loss) = loss(&case, config) else {
                println!("{}: {name} is no loss of ours", case.name);
                continue;
            };
            let group = Group { name, loss };
            check_elements(&case, &mut report, &group, DType::F32);
            check_elements(&case, &mut report, &group, DType::F64);
            check_weighted(&case, &mut report, &group);
        }
        check_torchvision(&case, &mut report);
        if case.has("bce/value") {
            check_bce(&case, &mut report);
        }
        report.finish();
    }
}

fn names_are_understood(case: &Case, configs: Vec<&str>) {
    let inputs = ["pred", "target", "upstream", "weight"];
    let groups = ["tv_giou", "tv_diou", OUTSIDE_GROUP, "bce"];
    for name in case.names("") {
        let understood = match name.rsplit_once('/') {
            Some((group, _)) => configs.contains(&group) || groups.contains(&group),
            None => inputs.contains(&name.as_str()),
        };
        assert!(understood, "{}: unknown tensor `{name}`", case.name);
    }
}

/// Builds the loss that a config describes; none where it is outside.
fn loss(case: &Case, config: &Value) -> Option<Loss> {
    let class = config["class"].as_str().expect("a class");
    let keys: &[&str] = match class {
        "IoULoss" => &["class", "mode", "eps", "linear"],
        "GIoULoss" | "DIoULoss" | "CIoULoss" => &["class", "eps"],
        "BoundedIoULoss" => &["class", "beta", "eps"],
        "SmoothL1Loss" => &["class", "beta"],
        "L1Loss" => &["class"],
        other => panic!("{}: unknown loss {other}", case.name),
    };
    understand(case, config, keys);
    let number = |key: &str, default: f64| config.get(key).map_or(default, |v| v.as_f64().unwrap());
    // The defaults are those of mmdetection.
    let eps = number("eps", 1e-6);
    Some(match class {
        "CIoULoss" | "BoundedIoULoss" => return None,
        "IoULoss" => {
            let mode = mode(case, config)?;
            Box::new(move |p, t| iou_loss::<2, 1>(p, t, mode, eps).unsqueeze_dim(1))
        }
        "GIoULoss" => Box::new(move |p, t| giou_loss::<2, 1>(p, t, eps).unsqueeze_dim(1)),
        "DIoULoss" => Box::new(move |p, t| diou_loss::<2, 1>(p, t, eps).unsqueeze_dim(1)),
        "SmoothL1Loss" => {
            let beta = number("beta", 1.0);
            Box::new(move |p, t| smooth_l1(p, t, beta))
        }
        _ => Box::new(l1),
    })
}

fn mode(case: &Case, config: &Value) -> Option<IouMode> {
    if config["linear"] == true {
        return Some(IouMode::Linear);
    }
    match config["mode"].as_str().unwrap_or("log") {
        "log" => Some(IouMode::Log),
        "linear" => Some(IouMode::Linear),
        "square" => None,
        other => panic!("{}: unknown mode {other}", case.name),
    }
}

fn boxes(case: &Case, name: &str, dtype: DType) -> Tensor<2> {
    let rows = case.shape(name)[0];
    tensor(&case.f64s(name), [rows, 4], dtype)
}

/// One value per box, as a column.
fn column(case: &Case, name: &str, dtype: DType) -> Tensor<2> {
    let rows = case.shape(name)[0];
    tensor(&case.f64s(name), [rows, 1], dtype)
}

/// Values without reduction, and the gradient of `sum(value * upstream)`.
fn check_elements(case: &Case, report: &mut Report, group: &Group<'_>, dtype: DType) {
    let suffix = if dtype == DType::F64 { "_f64" } else { "" };
    let stored = |part: &str| format!("{}/{part}{suffix}", group.name);
    if !case.has(&stored("value")) {
        return;
    }
    let (value, slope) = run(case, &group.loss, dtype);
    close(case, report, &value, &stored("value"), tolerance(dtype));
    close(case, report, &slope, &stored("grad"), tolerance(dtype));
}

fn run(case: &Case, loss: &Loss, dtype: DType) -> (Vec<f64>, Vec<f64>) {
    let pred = boxes(case, "pred", dtype);
    let target = boxes(case, "target", dtype);
    let upstream = column(case, "upstream", dtype);
    let value = values(loss(pred.clone(), target.clone()));
    let (_, slope) = differentiate(pred, |p| loss(p, target.clone()) * upstream.clone());
    (value, slope)
}

fn check_weighted(case: &Case, report: &mut Report, group: &Group<'_>) {
    let stored = |part: &str| format!("{}/weighted_{part}", group.name);
    if !case.has(&stored("value")) {
        return;
    }
    let target = boxes(case, "target", DType::F32);
    let weight = column(case, "weight", DType::F32);
    let (value, slope) = differentiate(boxes(case, "pred", DType::F32), |pred| {
        let normaliser = Tensor::from_data([WEIGHTED_NORMALISER], &device());
        let loss = (group.loss)(pred, target.clone());
        weighted_mean(loss, Some(weight.clone()), normaliser)
    });
    let limits = tolerance(DType::F32);
    close(case, report, &value, &stored("value"), limits);
    close(case, report, &slope, &stored("grad"), limits);
}

fn check_bce(case: &Case, report: &mut Report) {
    let target = case.tensor::<1>("bce/target", &device());
    let logits = case.tensor::<1>("bce/logits", &device());
    let (value, slope) = differentiate(logits, |x| {
        let normaliser = Tensor::from_data([BCE_NORMALISER], &device());
        weighted_mean(bce_with_logits(x, target.clone()), None, normaliser)
    });
    let limits = tolerance(DType::F32);
    close(case, report, &value, "bce/value", limits);
    close(case, report, &slope, "bce/grad", limits);
}

fn check_torchvision(case: &Case, report: &mut Report) {
    let eps = TORCHVISION_EPS;
    let losses: [(&str, Loss); 2] = [
        (
            "tv_giou",
            Box::new(move |p, t| giou_loss::<2, 1>(p, t, eps).unsqueeze_dim(1)),
        ),
        (
            "tv_diou",
            Box::new(move |p, t| diou_loss::<2, 1>(p, t, eps).unsqueeze_dim(1)),
        ),
    ];
    let rows = ordinary_rows(case);
    for (name, loss) in losses {
        if !case.has(&format!("{name}/value")) {
            continue;
        }
        let (value, slope) = run(case, &loss, DType::F32);
        for (part, got, width) in [("value", value, 1), ("grad", slope, 4)] {
            let stored = format!("{name}/{part}");
            let pick = |all: &[f64]| -> Vec<f64> {
                let row = |r: &usize| all[r * width..(r + 1) * width].to_vec();
                rows.iter().flat_map(row).collect()
            };
            let golden = pick(&case.f64s(&stored));
            report.close(&stored, &pick(&got), &golden, TORCHVISION);
        }
    }
}

/// Pairs on which both libraries agree.
fn ordinary_rows(case: &Case) -> Vec<usize> {
    let side = 0.1;
    let (pred, target) = (case.f32s("pred"), case.f32s("target"));
    let pairs = pred
        .as_chunks::<4>()
        .0
        .iter()
        .zip(target.as_chunks::<4>().0);
    let ordinary = |p: &[f32; 4], t: &[f32; 4]| {
        let large = |b: &[f32; 4]| b[2] - b[0] >= side && b[3] - b[1] >= side;
        let meets = |i: usize| p[i + 2].min(t[i + 2]) == p[i].max(t[i]);
        large(p) && large(t) && !meets(0) && !meets(1)
    };
    let kept = pairs.enumerate().filter(|(_, (p, t))| ordinary(p, t));
    kept.map(|(i, _)| i).collect()
}
