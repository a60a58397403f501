//! The joint model, which no reference has: each branch against the goldens of its own method, the
//! sum against differences.

use std::collections::BTreeMap;

use aweigh_detectors::Method;
use aweigh_detectors::fsaf::FsafBranch;
use aweigh_detectors::retina::RetinaConfig;
use aweigh_heads::DenseHead;
use aweigh_testkit::{Case, Report, cases};
use burn::store::{ModuleSnapshot, SafetensorsStore};
use burn::tensor::Tensor;

use super::shared::{LOSS, STRIDES_FROM_8, Setup, is_head};
use crate::options;

/// The joint model with the parameters that the case has, renamed by `rename`.
fn setup<'a>(
    case: &'a Case,
    method: RetinaConfig,
    rename: &[(&str, &str)],
) -> Setup<'a, RetinaConfig> {
    let strides = &case.meta["head"]["anchor_generator"]["strides"];
    let strides = options::strides_or(strides, STRIDES_FROM_8);
    Setup::new(case, method, &strides, |head, case| {
        let store = SafetensorsStore::from_bytes(Some(case.state_dict("param/")));
        let renamed = rename.iter().fold(store, |store, (from, to)| {
            store.with_key_remapping(*from, *to)
        });
        let mut store = renamed
            .skip_enum_variants(true)
            .map_indices_contiguous(false)
            .allow_partial(true);
        let loaded = head.load_from(&mut store).expect("a state dict");
        assert!(loaded.unused.is_empty(), "not loaded: {:?}", loaded.unused);
    })
}

fn parts(setup: &Setup<'_, RetinaConfig>) -> BTreeMap<&'static str, Tensor<1>> {
    setup.losses().parts.into_iter().collect()
}

fn joint(config: RetinaConfig) -> RetinaConfig {
    RetinaConfig {
        fsaf: Some(FsafBranch::default()),
        ..config
    }
}

#[test]
fn parity_joint_retina_branch() {
    let keep = |meta: &serde_json::Value| is_head(meta, "RetinaHead");
    for case in cases(env!("CARGO_MANIFEST_DIR"), keep) {
        let head = &case.meta["head"];
        let config = options::retina(&case, head, &head["train_cfg"], &head["test_cfg"]);
        let losses = parts(&setup(&case, joint(config), &[]));
        let mut report = Report::new(&case);
        for name in ["loss_cls", "loss_bbox"] {
            report.tensor(losses[name].clone(), &format!("loss/{name}"), LOSS);
        }
        report.finish();
    }
}

#[test]
fn parity_joint_fsaf_branch() {
    let keep = |meta: &serde_json::Value| is_head(meta, "FSAFHead");
    for case in cases(env!("CARGO_MANIFEST_DIR"), keep) {
        let head = &case.meta["head"];
        let alone = options::fsaf(&case, head, &head["train_cfg"], &head["test_cfg"]);
        let config = RetinaConfig {
            feat_channels: alone.feat_channels,
            stacked_convs: alone.stacked_convs,
            norm: alone.norm,
            fsaf: Some(alone.branch),
            ..RetinaConfig::default()
        };
        let weight = config.fsaf_weight;
        let losses = parts(&setup(&case, config, &[("^retina_", "fsaf_")]));
        let mut report = Report::new(&case);
        for (name, part) in [
            ("loss/loss_cls", "loss_fsaf_cls"),
            ("loss/loss_bbox", "loss_fsaf_bbox"),
        ] {
            report.tensor(losses[part].clone() / weight, name, LOSS);
        }
        report.finish();
    }
}

/// Along its gradient the sum of all losses rises by the gradient's length.
#[test]
fn the_sum_of_both_branches_has_the_gradient_of_its_differences() {
    /// Small against the kinks of ReLU and L1, large against the rounding of a loss of about 5.
    const STEP: f64 = 2e-3;
    let keep = |meta: &serde_json::Value| is_head(meta, "RetinaHead");
    for case in cases(env!("CARGO_MANIFEST_DIR"), keep) {
        let head = &case.meta["head"];
        let config = options::retina(&case, head, &head["train_cfg"], &head["test_cfg"]);
        let setup = setup(&case, joint(config), &[]);
        let features = &setup.features.maps;
        // The choice of anchors, points and levels is no function of the features here.
        let losses = |predictions| {
            let targets = setup.targets();
            let normalisers = setup.method.normalisers(&targets);
            setup.method.losses(predictions, targets, &normalisers)
        };
        let gradients = losses(setup.predictions.clone()).total.backward();
        let slopes: Vec<Tensor<4>> = features
            .iter()
            .map(|x| x.grad(&gradients).expect("a gradient of the features"))
            .collect();
        let square = |x: &Tensor<4>| -> f64 { (x.clone() * x.clone()).sum().into_scalar() };
        let length = slopes.iter().map(square).sum::<f64>().sqrt();

        let along = |step: f64| -> f64 {
            let moved = features.iter().zip(&slopes).map(|(x, slope)| {
                let slope = Tensor::from_inner(slope.clone());
                x.clone() + slope * (step / length)
            });
            let moved = setup.features.clone().map(|_| moved.collect());
            let predictions = moved.map(|maps| setup.head.forward(maps));
            losses(predictions).total.into_scalar()
        };
        let measured = (along(STEP) - along(-STEP)) / (2.0 * STEP);
        // Rounding of the two losses over the step, 1e-6 / 4e-3, and some kinks.
        let error = (measured - length).abs() / length;
        assert!(error < 5e-3, "{}: {measured} is not {length}", case.name);
    }
}
