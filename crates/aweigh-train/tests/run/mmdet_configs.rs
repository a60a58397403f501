//! Configurations of mmdetection become the recipes that follow them, or are refused by name.

use std::path::{Path, PathBuf};

use aweigh_assign::max_iou::{InIgnoreRegion, MaxIouAssigner, ZeroOverlap};
use aweigh_data::{AugmentConfig, MinIouCrop, MultiScale, Photometric};
use aweigh_detectors::DetectorConfig;
use aweigh_detectors::reppoints::InitAssigner;
use aweigh_train::config::mmdet::{self, Imported, MmdetError};
use aweigh_train::config::{Experiment, WarmupKind};

/// Each text and the recipe that follows the same configuration.
const RECIPES: [(&str, &str); 6] = [
    ("fcos_r50_dcn.py", "fcos_r50_dcn.toml"),
    ("fovea_r50_align_ms_2x.py", "fovea_r50_align_ms_2x.toml"),
    ("fsaf_r50.py", "fsaf_r50.toml"),
    ("reppoints_r50.py", "reppoints_r50.toml"),
    ("fcos_2x.py", "fcos_r50_baseline_ms_2x.toml"),
    ("retina_2.0.py", "retina_r50.toml"),
];

pub(crate) fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/mmdet")
        .join(name);
    std::fs::read_to_string(path).expect("a text")
}

fn import(name: &str) -> Imported {
    mmdet::experiment(&text(name), Path::new(name)).unwrap_or_else(|e| panic!("{e}"))
}

fn recipe(name: &str) -> Experiment {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../configs")
        .join(name);
    Experiment::load(&path, &[]).unwrap_or_else(|e| panic!("{e}"))
}

/// A recipe with what recipes have in their own way: ignore regions, boxes that no anchor
/// overlaps, the number of classes, and that FoveaBox finds no box without area.
fn as_in_mmdetection(mut detector: DetectorConfig) -> DetectorConfig {
    let assigner = |assigner: MaxIouAssigner| MaxIouAssigner {
        ignore_iof_thr: -1.0,
        in_ignore_region: InIgnoreRegion::Excluded,
        zero_overlap: ZeroOverlap::Match,
        ..assigner
    };
    if let Some(retina) = &mut detector.retina {
        retina.assigner = assigner(retina.assigner);
    }
    if let Some(fovea) = &mut detector.fovea {
        fovea.test.min_box_size = -1.0;
    }
    if let Some(reppoints) = &mut detector.reppoints {
        reppoints.refine_assigner = assigner(reppoints.refine_assigner);
        if let InitAssigner::MaxIou(first) = reppoints.init_assigner {
            reppoints.init_assigner = InitAssigner::MaxIou(assigner(first));
        }
    }
    DetectorConfig {
        num_classes: Some(80),
        ..detector
    }
}

#[test]
fn configurations_become_their_recipes() {
    for (name, recipe_name) in RECIPES {
        let (imported, recipe) = (import(name).experiment, recipe(recipe_name));
        assert_eq!(
            imported.detector,
            as_in_mmdetection(recipe.detector),
            "{name}"
        );
        let (got, mut expected) = (imported.train, recipe.train);
        // Weights are files of the user.
        expected.backbone_weights = None;
        if name == "reppoints_r50.py" {
            // 2.x clipped gradients, and so does the recipe; 3.x does not.
            expected.clip_norm = None;
        }
        if !["fcos_2x.py", "retina_2.0.py"].contains(&name) {
            // Recipes have the warm-up of mmdetection 2.x; that of 3.x is a step shorter.
            let warmup = expected.schedule.warmup.as_mut().expect("a warm-up");
            warmup.iterations -= 1;
        }
        assert_eq!(got, expected, "{name}");
        let (got, mut expected) = (imported.data, recipe.data);
        // Sizes of inputs are rounded up in recipes for the sake of speed.
        expected.transform.bucket = 0;
        assert_eq!(got.transform, expected.transform, "{name}");
        let filters = (got.filter_empty, got.min_size, got.aspect_grouping);
        let recipe = (
            expected.filter_empty,
            expected.min_size,
            expected.aspect_grouping,
        );
        assert_eq!(filters, recipe, "{name}");
    }
}

#[test]
fn what_is_written_reads_as_the_same_experiment() {
    let fixtures = RECIPES.map(|(name, _)| name);
    for name in fixtures.into_iter().chain(["retina_r50_ms_3x.py"]) {
        let imported = import(name);
        let toml = imported.to_toml();
        let read = Experiment::parse(name, &toml, &[]).unwrap_or_else(|e| panic!("{e}\n{toml}"));
        assert_eq!(read, imported.experiment, "{toml}");
        assert!(toml.starts_with("# data: set the paths"), "{toml}");
        assert!(toml.lines().count() < 60, "{toml}");
    }
}

#[test]
fn what_is_written_says_what_the_user_has_to_know() {
    let expected = r#"# data: set the paths; mmdetection had data/coco/annotations/instances_train2017.json and data/coco/annotations/instances_val2017.json
# model.weights.backbone: mmdetection began with torchvision://resnet50
# train.batch_size = 16: what the learning rate is meant for (auto_scale_lr.base_batch_size); each process had 2 images

[data.train]
annotations = "path/to/train.json"
images = "path/to/train"

[data.val]
annotations = "path/to/val.json"
images = "path/to/val"

[detector]
num_classes = 80

[detector.fsaf]

[detector.neck]
add_extra_convs = "on_input"

[train]
batch_size = 16
clip_norm = 10.0
epochs = 12
lr = 0.01

[train.schedule]
gamma = 0.1
kind = "multi_step"
milestones = [8, 11]

[train.schedule.warmup]
iterations = 499
kind = "linear"
ratio = 0.001
"#;
    assert_eq!(import("fsaf_r50.py").to_toml(), expected);
}

#[test]
fn passes_over_repeated_images_are_epochs() {
    let imported = import("retina_r50_ms_3x.py");
    let Imported { experiment, notes } = imported;
    assert_eq!(experiment.train.epochs, Some(36));
    assert_eq!(experiment.train.schedule.milestones, Some(vec![27, 33]));
    let scales = experiment.data.transform.multi_scale;
    assert_eq!(scales, Some(MultiScale::Range([640, 800])));
    assert!(
        notes.iter().any(|note| note.contains("3 passes")),
        "{notes:?}"
    );
}

#[test]
fn augmentations_are_read() {
    let original = text("fcos_r50_dcn.py");
    let resize = "dict(keep_ratio=True, scale=(\n                1333,";
    let before = format!("with_bbox=True),\n            {resize}");
    let flip = "dict(prob=0.5, type='RandomFlip')";
    assert!(
        original.contains(&before) && original.contains(flip),
        "{original}"
    );
    let steps = "with_bbox=True),
        dict(type='PhotoMetricDistortion', brightness_delta=20, hue_delta=9),
        dict(type='MinIoURandomCrop', min_ious=(0.4, 0.6), min_crop_size=0.5),";
    let changed = original
        .replace(&before, &format!("{steps} {resize}"))
        .replace(
            flip,
            &format!("{flip}, dict(type='RandomFlip', prob=0.25, direction='vertical')"),
        );
    let imported = mmdet::experiment(&changed, Path::new("x")).unwrap_or_else(|e| panic!("{e}"));
    let expected = AugmentConfig {
        vertical_flip_prob: 0.25,
        photometric: Some(Photometric {
            brightness: 20.0,
            hue: 9.0,
            ..Photometric::default()
        }),
        min_iou_crop: Some(MinIouCrop {
            min_ious: vec![0.4, 0.6],
            min_size: 0.5,
            ..MinIouCrop::default()
        }),
        ..AugmentConfig::default()
    };
    let data = &imported.experiment.data;
    assert_eq!((&data.augment, data.transform.flip_prob), (&expected, 0.5));
    let toml = imported.to_toml();
    let read = Experiment::parse("x.toml", &toml, &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(read, imported.experiment, "{toml}");
}

#[test]
fn processes_are_counted_where_they_are_known() {
    let check = |processes: &str, batch_size: usize, noted: bool| {
        let text = text("fcos_2x.py").replace("gpu_ids = range(0, 8)", processes);
        let imported = mmdet::experiment(&text, Path::new("x")).expect("known options");
        assert_eq!(imported.experiment.train.batch_size, batch_size);
        let notes = imported
            .notes
            .iter()
            .any(|note| note.contains("how many processes"));
        assert_eq!(notes, noted, "{processes}");
    };
    check("gpu_ids = range(0, 4)", 8, false);
    check("gpu_ids = [0]", 2, false);
    check("", 16, true);
}

#[test]
fn other_schedules_are_read() {
    let original = text("fsaf_r50.py");
    let check = |part: &str| {
        let start = original.find("\nparam_scheduler").expect("there") + 1;
        let end = original.find("\nresume").expect("there") + 1;
        let text = [&original[..start], part, &original[end..]].concat();
        let imported = mmdet::experiment(&text, Path::new("x"));
        imported
            .unwrap_or_else(|e| panic!("{e}"))
            .experiment
            .train
            .schedule
    };
    let schedule = check(
        "param_scheduler = [dict(type='ConstantLR', factor=0.25, begin=0, end=101, by_epoch=False),
         dict(type='CosineAnnealingLR', T_max=12, eta_min=0, by_epoch=True,
              convert_to_iter_based=True)]\n",
    );
    let warmup = schedule.warmup.expect("a warm-up");
    assert_eq!(
        (warmup.kind, warmup.iterations),
        (WarmupKind::Constant, 100)
    );
    assert_eq!((schedule.final_ratio, warmup.ratio), (Some(0.0), 0.25));
    let schedule =
        check("param_scheduler = dict(type='MultiStepLR', by_epoch=False, milestones=[5])\n");
    assert_eq!(schedule.milestones_iterations, Some(vec![5]));
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let check = |name: &str, from: &str, to: &str, expected: &str| {
        let original = text(name);
        assert!(original.contains(from), "{from}");
        let error = mmdet::experiment(&original.replace(from, to), &PathBuf::from("w.pth"));
        let error = error.expect_err(expected).to_string();
        assert_eq!(error, format!("w.pth: {expected}"));
    };
    check(
        "fcos_r50_dcn.py",
        "GIoULoss",
        "CIoULoss",
        "`model.bbox_head.loss_bbox.type` is 'CIoULoss': known: IoULoss, GIoULoss, DIoULoss",
    );
    check(
        "fcos_r50_dcn.py",
        "norm_on_bbox=True",
        "norm_on_bbox=True, surprise=1",
        "`model.bbox_head.surprise` is 1: this option is not known",
    );
    check(
        "fcos_r50_dcn.py",
        "type='OptimWrapper'",
        "type='AmpOptimWrapper'",
        "`optim_wrapper.type` is 'AmpOptimWrapper': known: OptimWrapper",
    );
    check(
        "fcos_r50_dcn.py",
        "depth=50",
        "depth='50'",
        "`model.backbone.depth` is '50': expected a whole number from 0 on",
    );
    check(
        "fcos_r50_dcn.py",
        "dict(prob=0.5, type='RandomFlip')",
        "dict(type='RandomCrop')",
        "`train_dataloader.dataset.pipeline[3].type` is 'RandomCrop': this step is not known",
    );
    check(
        "fcos_r50_dcn.py",
        "dict(prob=0.5, type='RandomFlip')",
        "dict(type='MinIoURandomCrop')",
        "`train_dataloader.dataset.pipeline[3].type` is 'MinIoURandomCrop': known ahead of the \
         resize only",
    );
    check(
        "fcos_r50_dcn.py",
        "dict(prob=0.5, type='RandomFlip')",
        "dict(prob=0.5, direction='diagonal', type='RandomFlip')",
        "`train_dataloader.dataset.pipeline[3].direction` is 'diagonal': known: 'horizontal', \
         'vertical'",
    );
    check(
        "fsaf_r50.py",
        "strides=[\n                8,",
        "strides=[\n                4,",
        "`model.bbox_head.anchor_generator.strides` is [4, 16, 32, 64, 128]: it means \
         [4, 16, 32, 64, 128], but the pyramid has [8, 16, 32, 64, 128]",
    );
    check(
        "fsaf_r50.py",
        "1024,\n            2048",
        "1024,\n            512",
        "`model.neck.in_channels` is [256, 512, 1024, 512]: the backbone gives \
         [256, 512, 1024, 2048]",
    );
    check(
        "retina_2.0.py",
        "iou_threshold=0.5",
        "iou_thr=0.5",
        "`test_cfg.nms.iou_threshold` is absent: a value is needed",
    );
    check(
        "fcos_2x.py",
        "custom_hooks = [",
        "custom_hooks = [dict(type='EMAHook'), ",
        "`custom_hooks[0].type` is 'EMAHook': this hook is not known",
    );
    check(
        "fcos_2x.py",
        "model = dict(",
        "_base_ = './fcos.py'\nmodel = dict(",
        "`_base_` is './fcos.py': options of other files are missing; take the configuration that \
         a checkpoint or a run folder holds",
    );
    check(
        "retina_2.0.py",
        "momentum=0.9",
        "momentum=1.9",
        "configuration: `train.optimizer.momentum`: expected a number in [0, 1), found 1.9",
    );
}

#[test]
fn other_text_is_refused_with_its_line() {
    let error = mmdet::experiment("a = 1\nimport os\n", Path::new("w.pth"));
    let error = error.expect_err("no data");
    assert!(matches!(error, MmdetError::Syntax { line: 2, .. }));
    let expected = "w.pth: line 2 of the configuration: found `import`; expected an assignment \
                    `name = value`";
    assert_eq!(error.to_string(), expected);
}
