//! From images to average precision, end to end.

use aweigh_testkit::device;
use aweigh_train::bench::{BenchMode, BenchOptions, bench};
use aweigh_train::inspect::inspect;
use aweigh_train::model::{Trained, Which};
use aweigh_train::predict::Predictor;
use aweigh_train::run_folder::RunFolder;

use super::support::{Place, metrics, train};

#[test]
fn two_images_are_learnt_by_heart() {
    let place = Place::with_images(2);
    let annotations = place.data().join("annotations/instances_train.json");
    let ended = train(place.experiment(
        "run",
        &[
            &format!("data.val.annotations={annotations:?}"),
            &format!("data.val.images={:?}", place.data().join("train")),
            "train.iterations=300",
            "train.eval_every_iterations=0",
            "train.optimizer={ kind = \"adamw\" }",
            "train.lr=0.004",
            "train.log_every=50",
            "data.transform.flip_prob=0.0",
            "detector.backbone.base_channels=8",
            "detector.backbone.norm={ group_norm = { groups = 4 } }",
            "detector.neck.out_channels=32",
            "detector.fcos.feat_channels=32",
        ],
    ));
    let best = ended.state.best.expect("an evaluation at the end");
    assert!(best.value > 0.5, "AP {}", best.value);

    let folder = RunFolder::open(&place.run_dir("run")).unwrap();
    let experiment = folder.experiment().unwrap();
    let trained = Trained::from_run(&folder, Which::Best, &experiment, &device()).unwrap();
    let predictor = Predictor::new(trained, &experiment, &device());
    let mut images = std::fs::read_dir(place.data().join("train")).unwrap();
    let file = images.next().unwrap().unwrap().path();
    let picture = predictor.read(&file).unwrap();
    let prediction = predictor.predict(&picture, &file, 0.3);
    assert!(!prediction.detections.is_empty());
    assert_eq!(prediction.size, [64, 96]);
}

/// The other methods, on levels of stride 4 to 32: the smallest shapes have 8 pixels.
pub(super) const METHODS: [&str; 8] = [
    "[detector.fovea]
    scale_ranges = [[1, 32], [16, 64], [32, 128], [64, 512]]
    base_edge_list = [8, 16, 32, 64]
    sigma = 0.6",
    "[detector.fovea]
    scale_ranges = [[1, 32], [16, 64], [32, 128], [64, 512]]
    base_edge_list = [8, 16, 32, 64]
    sigma = 0.6
    with_deform = true",
    "[detector.reppoints]
    point_feat_channels = 32",
    "[detector.reppoints]
    point_feat_channels = 32
    use_grid_points = true
    transform_method = \"minmax\"
    init_assigner = { max_iou = {} }",
    "[detector.fsaf]",
    "[detector.retina]
    anchors = { octave_base_scale = 3.0 }",
    "[detector.retina]
    anchors = { octave_base_scale = 3.0 }
    fsaf = {}",
    "[detector.retina]
    anchors = { octave_base_scale = 3.0 }
    fsaf = { level_selection = \"heuristic\" }",
];

#[test]
fn every_method_learns_two_images_by_heart() {
    let place = Place::with_images(2);
    let annotations = place.data().join("annotations/instances_train.json");
    for (index, table) in METHODS.iter().enumerate() {
        let run = format!("run{index}");
        let method = format!(
            "{table}\nfeat_channels = 32\nstacked_convs = 1\n\
             norm = {{ group_norm = {{ groups = 4 }} }}"
        );
        train(place.experiment_of(
            &method,
            &run,
            &[
                &format!("data.val.annotations={annotations:?}"),
                &format!("data.val.images={:?}", place.data().join("train")),
                "train.iterations=300",
                "train.eval_every_iterations=0",
                "train.optimizer={ kind = \"adamw\" }",
                "train.lr=0.004",
                "train.log_every=50",
                "data.transform.flip_prob=0.0",
                "detector.backbone.base_channels=8",
                "detector.backbone.norm={ group_norm = { groups = 4 } }",
                "detector.neck.out_channels=32",
                "detector.neck.start_level=0",
                "detector.neck.num_outs=4",
            ],
        ));
        let lines = metrics(&place.run_dir(&run));
        let figures = &lines.last().expect("an evaluation at the end")["eval"];
        assert_eq!(figures["AP50"], 1.0, "{method}: {figures}");
    }
}

#[test]
fn benchmarks_report_their_phases() {
    let place = Place::new();
    let experiment = place.experiment("run", &[]);
    let check = |mode, phases: &[&str]| {
        let options = BenchOptions {
            mode,
            size: [64, 96],
            batch: 2,
            warmup: 1,
            repeats: 2,
            profile: false,
        };
        let report = bench(&experiment, &options, &device()).unwrap();
        let names: Vec<&str> = report.phases_ms.keys().copied().collect();
        assert_eq!(names, phases, "{mode:?}");
        assert!(report.images_per_s > 0.0);
        let shares: f64 = report.shares.values().sum();
        assert!((shares - 1.0).abs() < 1e-9, "{:?}", report.shares);
        assert_eq!(report.size, [64, 96]);
    };
    let training = [
        "assign",
        "backbone",
        "backward",
        "clip",
        "head",
        "loss",
        "optimizer",
        "upload",
    ];
    check(BenchMode::Train, &training);
    let inference = ["backbone", "head", "postprocess", "upload"];
    check(BenchMode::Infer, &inference);
    check(BenchMode::Data, &["load"]);
}

#[test]
fn the_table_of_a_model_counts_what_is_trained() {
    let place = Place::new();
    let experiment = place.experiment("run", &["train.iterations=1"]);
    let inspection = inspect(&experiment, [64, 96]).unwrap();
    let ended = train(experiment);
    let tensors = aweigh_train::named_tensors(&ended.model);
    let parameters = tensors
        .iter()
        .filter(|(name, _)| !name.contains("running_"));
    let counted: usize = parameters.map(|(_, data)| data.num_elements()).sum();
    assert_eq!(inspection.classes, 5);
    assert_eq!(
        (inspection.parameters, inspection.trainable),
        (counted, counted)
    );
}
