//! FCOS heads of mmdetection 3.x: raw outputs, targets, losses, gradients, candidates, detections.

use aweigh_backbone::FeatureSpec;
use aweigh_detectors::fcos::{BoxLossKind, FcosConfig, TowerNorm};
use aweigh_detectors::{FocalLoss, ImageFrame, InferenceConfig, Score};
use aweigh_geometry::{Detection, GroundTruth, LevelShape, TruthHost};
use aweigh_heads::fcos::FcosPredictions;
use aweigh_testkit::{Case, Report, Tolerance, cases, device, module, understand};
use burn::tensor::Tensor;
use serde_json::Value;

/// Raw outputs: f32 and f64 runs of the reference differ by 2e-6; the sums run in another order.
const OUTPUT: Tolerance = Tolerance::new(2e-5, 1e-5);
/// Pixels: exponentials of raw outputs, up to a few hundred.
const PIXELS: Tolerance = Tolerance::new(2e-3, 1e-5);
/// Targets come from the same few operations on the same numbers.
const TARGET: Tolerance = Tolerance::new(1e-5, 1e-6);
/// Loss terms: f32 and f64 differ by 2e-7; boxes almost without area are noisier (2e-5).
const LOSS: Tolerance = Tolerance::new(2e-5, 1e-5);
/// Gradients: f32 and f64 differ by 3e-7 where the largest is about 2.
const GRADIENT: Tolerance = Tolerance::new(2e-5, 2e-4);
/// Scores: f32 and f64 differ by 2e-7.
const SCORE: Tolerance = Tolerance::new(2e-6, 1e-5);

#[test]
fn heads() {
    let is_fcos = |meta: &Value| meta["kind"] == "head" && meta["head"]["type"] == "FCOSHead";
    for case in cases(env!("CARGO_MANIFEST_DIR"), is_fcos) {
        check(&case);
    }
}

/// A case's head and where its levels lie.
struct Setup {
    config: FcosConfig,
    classes: usize,
    specs: Vec<FeatureSpec>,
    shapes: Vec<LevelShape>,
}

fn check(case: &Case) {
    let device = device();
    let setup = setup(case);
    let mut head = setup
        .config
        .head(setup.classes, &setup.specs)
        .init(&device.clone().autodiff());
    module::load(&mut head, case, "param/", &[]);

    let features: Vec<Tensor<4>> = (0..setup.shapes.len())
        .map(|l| case.tensor::<4>(&format!("feat/{l}"), &device))
        .map(|x| Tensor::from_inner(x).require_grad())
        .collect();
    let predictions = head.forward(features.clone());
    let mut report = Report::new(case);
    outputs(&mut report, case, &setup, &predictions);

    let truth = truth(case);
    targets(&mut report, case, &setup, &truth);

    let plain = plain(&predictions);
    let losses = setup
        .config
        .losses(predictions, setup.config.targets(&setup.shapes, &truth));
    for (name, part) in &losses.parts {
        report.tensor(part.clone(), &format!("loss/{name}"), LOSS);
    }
    report.tensor(losses.total.clone(), "loss/total", LOSS);

    let gradients = losses.total.backward();
    let named = module::gradients(&head, &gradients);
    for name in case.names("grad/param/") {
        let got = &named[&name["grad/param/".len()..]];
        report.close(&name, got, &case.f64s(&name), GRADIENT);
    }
    for (l, x) in features.iter().enumerate() {
        let wanted = format!("grad/feat/{l}");
        if case.has(&wanted) {
            let got = x.grad(&gradients).expect("a gradient of the features");
            report.tensor(got, &wanted, GRADIENT);
        }
    }
    detections(&mut report, case, &setup, &plain);
    report.finish();
}

/// The options of the case's JSON; what they do not name has mmdetection's default.
fn setup(case: &Case) -> Setup {
    let head = &case.meta["head"];
    understand(
        case,
        head,
        &[
            "type",
            "num_classes",
            "in_channels",
            "feat_channels",
            "stacked_convs",
            "strides",
            "norm_cfg",
            "loss_cls",
            "loss_bbox",
            "loss_centerness",
            "test_cfg",
            "norm_on_bbox",
            "centerness_on_reg",
            "dcn_on_last_conv",
            "center_sampling",
            "center_sample_radius",
            "conv_bias",
            "regress_ranges",
            "train_cfg",
        ],
    );
    assert!(
        !flag(&head["dcn_on_last_conv"]),
        "{}: DCN in the tower",
        case.name
    );
    let strides: Vec<usize> = numbers(&head["strides"])
        .iter()
        .map(|s| *s as usize)
        .collect();
    let channels = head["in_channels"].as_u64().expect("channels") as usize;
    let specs = strides
        .iter()
        .map(|&stride| FeatureSpec { channels, stride });
    let sizes = case.meta["level_sizes"].as_array().expect("level sizes");
    let shapes = sizes.iter().zip(&strides).map(|(size, stride)| {
        let [height, width] = pair(size).map(|x| x as usize);
        LevelShape::new(height, width, *stride)
    });
    Setup {
        config: config(case, head),
        classes: head["num_classes"].as_u64().expect("classes") as usize,
        specs: specs.collect(),
        shapes: shapes.collect(),
    }
}

fn config(case: &Case, head: &Value) -> FcosConfig {
    let default = FcosConfig::default();
    let size = |key: &str, absent: usize| head[key].as_u64().map_or(absent, |x| x as usize);
    understand(
        case,
        &head["loss_cls"],
        &["type", "use_sigmoid", "gamma", "alpha", "loss_weight"],
    );
    let weight = |loss: &Value| loss["loss_weight"].as_f64().unwrap_or(1.0);
    FcosConfig {
        feat_channels: size("feat_channels", 256),
        stacked_convs: size("stacked_convs", 4),
        norm: norm(case, &head["norm_cfg"]),
        conv_bias: match &head["conv_bias"] {
            Value::Bool(bias) => Some(*bias),
            Value::Null => None,
            other => {
                assert_eq!(other, "auto", "{}: conv_bias", case.name);
                None
            }
        },
        norm_on_bbox: flag(&head["norm_on_bbox"]),
        centerness_on_reg: flag(&head["centerness_on_reg"]),
        center_sampling: flag(&head["center_sampling"]),
        center_sample_radius: head["center_sample_radius"].as_f64().unwrap_or(1.5) as f32,
        regress_ranges: match head["regress_ranges"].as_array() {
            Some(ranges) => ranges.iter().map(|r| pair(r).map(|x| x as f32)).collect(),
            None => default.regress_ranges,
        },
        focal: FocalLoss {
            gamma: head["loss_cls"]["gamma"].as_f64().unwrap_or(2.0),
            alpha: head["loss_cls"]["alpha"].as_f64().unwrap_or(0.25),
            weight: weight(&head["loss_cls"]),
        },
        box_loss: box_loss(case, &head["loss_bbox"]),
        box_weight: weight(&head["loss_bbox"]),
        centerness_weight: weight(&head["loss_centerness"]),
        test: test_config(case, &head["test_cfg"]),
    }
}

fn norm(case: &Case, norm: &Value) -> TowerNorm {
    if norm.is_null() {
        return TowerNorm::None;
    }
    understand(case, norm, &["type", "num_groups", "requires_grad"]);
    assert_eq!(norm["type"], "GN", "{}: norm", case.name);
    let groups = norm["num_groups"].as_u64().expect("groups") as usize;
    TowerNorm::GroupNorm { groups }
}

fn box_loss(case: &Case, loss: &Value) -> BoxLossKind {
    understand(case, loss, &["type", "loss_weight", "eps", "mode"]);
    assert!(
        loss["eps"].is_null() || loss["eps"] == 1e-6,
        "{}: eps",
        case.name
    );
    match (loss["type"].as_str(), loss["mode"].as_str()) {
        (Some("IoULoss"), None | Some("log")) => BoxLossKind::Iou,
        (Some("IoULoss"), Some("linear")) => BoxLossKind::LinearIou,
        (Some("GIoULoss"), None) => BoxLossKind::Giou,
        (Some("DIoULoss"), None) => BoxLossKind::Diou,
        other => panic!("{}: box loss {other:?}", case.name),
    }
}

fn test_config(case: &Case, test: &Value) -> InferenceConfig {
    understand(
        case,
        test,
        &[
            "nms_pre",
            "min_bbox_size",
            "score_thr",
            "nms",
            "max_per_img",
        ],
    );
    understand(case, &test["nms"], &["type", "iou_threshold"]);
    assert_eq!(test["nms"]["type"], "nms", "{}: NMS", case.name);
    let number = |key: &str| {
        test[key]
            .as_f64()
            .unwrap_or_else(|| panic!("test_cfg.{key}"))
    };
    InferenceConfig {
        score_threshold: number("score_thr") as f32,
        nms_pre: number("nms_pre") as usize,
        nms_iou: test["nms"]["iou_threshold"].as_f64().expect("threshold") as f32,
        max_per_image: number("max_per_img") as usize,
        min_box_size: number("min_bbox_size") as f32,
        score: Score::Product,
    }
}

fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or(false)
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().expect("a list of numbers");
    list.iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn pair(value: &Value) -> [f64; 2] {
    numbers(value).try_into().expect("a pair of numbers")
}

fn truth(case: &Case) -> GroundTruth {
    let images: Vec<TruthHost> = (0..images(case))
        .map(|i| TruthHost {
            boxes: case.boxes(&format!("gt/{i}/bboxes")),
            labels: case
                .ints(&format!("gt/{i}/labels"))
                .iter()
                .map(|l| *l as usize)
                .collect(),
            ignore: Vec::new(),
        })
        .collect();
    GroundTruth::from_host(&images, &device())
}

fn images(case: &Case) -> usize {
    case.meta["img_metas"].as_array().expect("images").len()
}

fn plain(p: &FcosPredictions) -> FcosPredictions {
    let inner = |maps: &[Tensor<4>]| maps.iter().map(|x| x.clone().inner()).collect();
    FcosPredictions {
        cls_score: inner(&p.cls_score),
        bbox_pred: inner(&p.bbox_pred),
        centerness: inner(&p.centerness),
    }
}

fn outputs(report: &mut Report, case: &Case, setup: &Setup, predictions: &FcosPredictions) {
    for (l, shape) in setup.shapes.iter().enumerate() {
        let tolerance = if setup.config.norm_on_bbox {
            OUTPUT
        } else {
            PIXELS
        };
        let distances = predictions.bbox_pred[l].clone();
        report.tensor(
            predictions.cls_score[l].clone(),
            &format!("train/cls_score/{l}"),
            OUTPUT,
        );
        report.tensor(
            distances.clone(),
            &format!("train/bbox_pred/{l}"),
            tolerance,
        );
        report.tensor(
            predictions.centerness[l].clone(),
            &format!("train/centerness/{l}"),
            OUTPUT,
        );
        // In evaluation the reference gives pixels; ours always gives strides and decoding scales.
        let evaluated = format!("eval/bbox_pred/{l}");
        if case.has(&evaluated) {
            report.tensor(distances * shape.stride as f32, &evaluated, PIXELS);
        }
    }
}

/// The reference's targets hold the images one after another inside a level.
fn targets(report: &mut Report, case: &Case, setup: &Setup, truth: &GroundTruth) {
    let targets = setup.config.targets(&setup.shapes, truth);
    let [batch, points] = targets.labels.dims();
    let positive: Vec<bool> = targets.positive.into_data().iter::<bool>().collect();
    let labels: Vec<i64> = targets.labels.into_data().iter::<i64>().collect();
    let distances: Vec<f64> = targets.distances.into_data().iter::<f64>().collect();
    let centerness: Vec<f64> = targets.centerness.into_data().iter::<f64>().collect();

    let mut start = 0;
    let mut of_positives = Vec::new();
    for (l, shape) in setup.shapes.iter().enumerate() {
        let in_level: Vec<usize> = (0..batch)
            .flat_map(|b| (0..shape.points()).map(move |p| b * points + start + p))
            .collect();
        start += shape.points();
        let got: Vec<i64> = in_level
            .iter()
            .map(|&i| {
                if positive[i] {
                    labels[i]
                } else {
                    setup.classes as i64
                }
            })
            .collect();
        report.equal(
            &format!("target/labels/{l}"),
            &got,
            &case.ints(&format!("target/labels/{l}")),
        );
        let wanted = case.f64s(&format!("target/bboxes/{l}"));
        for (row, &i) in in_level.iter().enumerate().filter(|(_, i)| positive[**i]) {
            let rows = |all: &[f64], at: usize| all[4 * at..4 * at + 4].to_vec();
            report.close(
                "target/bboxes",
                &rows(&distances, i),
                &rows(&wanted, row),
                TARGET,
            );
            of_positives.push(centerness[i]);
        }
    }
    if case.has("target/pos_centerness") {
        let wanted = case.f64s("target/pos_centerness");
        report.close("target/pos_centerness", &of_positives, &wanted, TARGET);
    }
}

fn detections(report: &mut Report, case: &Case, setup: &Setup, predictions: &FcosPredictions) {
    let metas = case.meta["img_metas"].as_array().expect("images");
    let frames = |rescale: bool| -> Vec<ImageFrame> {
        metas
            .iter()
            .map(|meta| ImageFrame {
                size: pair(&meta["img_shape"]).map(|x| x as usize),
                scale: match rescale {
                    true => pair(&meta["scale_factor"]).map(|x| x as f32),
                    false => [1.0, 1.0],
                },
            })
            .collect()
    };
    let levels = &setup.shapes;
    let candidates = setup.config.candidates(predictions, levels, &frames(false));
    let kept = setup.config.decode(predictions, levels, &frames(false));
    let rescaled = setup.config.decode(predictions, levels, &frames(true));
    for image in 0..metas.len() {
        compare(
            report,
            case,
            &format!("before_nms/{image}"),
            &candidates[image],
        );
        compare(report, case, &format!("det/{image}"), &kept[image]);
        compare(
            report,
            case,
            &format!("det_rescaled/{image}"),
            &rescaled[image],
        );
    }
}

/// Compares detections in order of their score: the reference's scores lie 2e-6 apart.
fn compare(report: &mut Report, case: &Case, prefix: &str, got: &[Detection]) {
    if !case.has(&format!("{prefix}/scores")) {
        return;
    }
    let scores = case.f64s(&format!("{prefix}/scores"));
    let all = case.boxes(&format!("{prefix}/bboxes"));
    let labels = case.ints(&format!("{prefix}/labels"));
    let mut wanted: Vec<Detection> = (0..scores.len())
        .map(|i| Detection {
            bbox: all[i],
            score: scores[i] as f32,
            label: labels[i] as usize,
        })
        .collect();
    let mut got = got.to_vec();
    let order = |a: &Detection, b: &Detection| b.score.total_cmp(&a.score);
    wanted.sort_by(order);
    got.sort_by(order);
    let wide = |d: &[Detection], f: &dyn Fn(&Detection) -> Vec<f64>| -> Vec<f64> {
        d.iter().flat_map(f).collect()
    };
    let score = |d: &Detection| vec![f64::from(d.score)];
    let label = |d: &Detection| vec![d.label as f64];
    let bbox = |d: &Detection| d.bbox.map(f64::from).to_vec();
    report.close(
        &format!("{prefix}/scores"),
        &wide(&got, &score),
        &wide(&wanted, &score),
        SCORE,
    );
    report.close(
        &format!("{prefix}/labels"),
        &wide(&got, &label),
        &wide(&wanted, &label),
        Tolerance::new(0.0, 0.0),
    );
    report.close(
        &format!("{prefix}/bboxes"),
        &wide(&got, &bbox),
        &wide(&wanted, &bbox),
        PIXELS,
    );
}
