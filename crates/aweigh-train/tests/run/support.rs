//! A tiny dataset and a tiny detector that trains in seconds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use aweigh_data::synth::{Split, SynthConfig, generate};
use aweigh_testkit::device;
use aweigh_train::config::Experiment;
use aweigh_train::progress::{Progress, Silent, StepLog};
use aweigh_train::run_folder::RunFolder;
use aweigh_train::trainer::{Ended, Outcome, Trainer};
use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a dataset and room for runs.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    /// A dataset of 10 training and 3 validation images.
    pub(crate) fn new() -> Self {
        Self::with_images(10)
    }

    pub(crate) fn with_images(train: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = SynthConfig {
            train,
            val: 3,
            seed: 7,
            width: 96,
            height: 64,
        };
        generate(&config, &folder.path().join("data")).unwrap();
        Self { folder }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn run_dir(&self, name: &str) -> PathBuf {
        self.folder.path().join("runs").join(name)
    }

    /// The configuration of a run of FCOS, with changes as of `--set`.
    pub(crate) fn experiment(&self, run: &str, changes: &[&str]) -> Experiment {
        self.experiment_of(FCOS, run, changes)
    }

    /// The configuration of a run of the method whose table is `method`.
    pub(crate) fn experiment_of(&self, method: &str, run: &str, changes: &[&str]) -> Experiment {
        let split = |split: Split| {
            let (annotations, images) =
                (split.annotations(&self.data()), split.images(&self.data()));
            format!("{{ annotations = {annotations:?}, images = {images:?} }}")
        };
        let text = format!(
            "{TINY}{method}\n[data]\ntrain = {}\nval = {}\nworkers = 0\n\
             [data.transform]\nshort_edge = 64\nlong_edge = 96\n[run]\ndir = {:?}\n",
            split(Split::Train),
            split(Split::Val),
            self.run_dir(run)
        );
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        Experiment::parse("tiny.toml", &text, &changes).unwrap()
    }
}

/// Everything that a run can have: frozen and trained norms, clipping, warm-up, groups.
const TINY: &str = "
seed = 3
[detector.backbone]
depth = 18
base_channels = 4
frozen_stages = -1
norm = \"batch_norm\"
[detector.neck]
out_channels = 8
num_outs = 3
[train]
iterations = 7
batch_size = 3
lr = 0.01
log_every = 1
eval_every_iterations = 4
checkpoint_every_iterations = 0
clip_norm = 5.0
[train.optimizer]
bias_lr_mult = 2.0
bias_decay_mult = 0.0
[train.schedule]
warmup = { iterations = 3 }
";

const FCOS: &str = "
[detector.fcos]
feat_channels = 8
stacked_convs = 1
norm = { group_norm = { groups = 4 } }
regress_ranges = [[-1.0, 32.0], [32.0, 64.0], [64.0, 1e8]]
";

/// Continues the run in a folder to its end.
pub(crate) fn resume(place: &Place, run: &str) {
    let folder = RunFolder::open(&place.run_dir(run)).unwrap();
    let experiment = folder.experiment().unwrap();
    let trainer = Trainer::resume(experiment, folder, &device()).unwrap();
    finish(trainer, &mut Finite);
}

/// Shows nothing and checks that losses are finite.
struct Finite;

impl Progress for Finite {
    fn on_log(&mut self, log: &StepLog) {
        assert!(log.means["loss"].is_finite());
    }
}

/// Equal metrics and equal bytes of every file of the latest checkpoint but the configuration.
pub(crate) fn assert_same(place: &Place, a: &str, b: &str) {
    let dirs = [a, b].map(|run| place.run_dir(run));
    assert_eq!(metrics(&dirs[0]), metrics(&dirs[1]), "{a} and {b}");
    for file in ["model.safetensors", "optimizer.safetensors", "state.json"] {
        let read =
            |run: usize| std::fs::read(dirs[run].join("checkpoints/last").join(file)).unwrap();
        assert!(read(0) == read(1), "{file} of {a} and {b}");
    }
    let average = |run: usize| std::fs::read(dirs[run].join("checkpoints/last/ema.safetensors"));
    assert!(
        average(0).ok() == average(1).ok(),
        "averages of {a} and {b}"
    );
}

/// Trains to the end.
pub(crate) fn train(experiment: Experiment) -> Ended {
    train_with(experiment, &mut Silent)
}

pub(crate) fn train_with(experiment: Experiment, progress: &mut dyn Progress) -> Ended {
    finish(Trainer::new(experiment, &device()).unwrap(), progress)
}

fn finish(trainer: Trainer, progress: &mut dyn Progress) -> Ended {
    let ended = trainer.run(progress, &AtomicBool::new(false));
    let finished = matches!(ended.outcome, Ok(Outcome::Finished { .. }));
    assert!(finished, "{:?}", ended.outcome);
    ended
}

/// The metrics of a run without what depends on the clock.
pub(crate) fn metrics(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        line.remove("images_per_s");
        line.remove("loading");
        line.remove("reducing");
    }
    lines
}

pub(crate) type Weights = BTreeMap<String, Vec<f32>>;

/// The f32 tensors of a file.
pub(crate) fn read_weights(file: &Path) -> Weights {
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |data: &[u8]| {
        let (values, _) = data.as_chunks::<4>();
        values
            .iter()
            .map(|value| f32::from_le_bytes(*value))
            .collect()
    };
    let tensors = tensors.iter();
    tensors
        .map(|(name, view)| (name.to_owned(), values(view.data())))
        .collect()
}

/// The largest difference of two models, relative to the largest weight of a tensor.
pub(crate) fn difference(a: &Weights, b: &Weights) -> f32 {
    assert!(a.keys().eq(b.keys()));
    let of_tensor = |(a, b): (&Vec<f32>, &Vec<f32>)| {
        let largest = a
            .iter()
            .fold(1e-3_f32, |largest, value| largest.max(value.abs()));
        let pairs = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        pairs.fold(0.0, f32::max) / largest
    };
    a.values()
        .zip(b.values())
        .map(of_tensor)
        .fold(0.0, f32::max)
}

/// Asserts that two runs have nearly the same weights at their end, and losses on their way.
pub(crate) fn assert_close(a: &Path, b: &Path, bound: f32, what: &str) {
    let model = |run: &Path| read_weights(&run.join("checkpoints/last/model.safetensors"));
    let found = difference(&model(a), &model(b));
    assert!(found < bound, "{what}: weights differ by {found}");
    let losses = |run: &Path| -> Vec<Value> {
        let lines = metrics(run).into_iter();
        lines.filter(|line| line.get("losses").is_some()).collect()
    };
    let (a, b) = (losses(a), losses(b));
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(&b) {
        for (name, value) in a["losses"].as_object().unwrap() {
            let (a, b) = (value.as_f64().unwrap(), b["losses"][name].as_f64().unwrap());
            let close = (a - b).abs() <= 1e-4 * a.abs().max(1e-3);
            assert!(close, "{what}, {name}: {a} {b}");
        }
    }
}

/// A small head of the method whose table is `table`, with norms that do not depend on the batch.
pub(crate) fn small(table: &str) -> String {
    let method = format!(
        "{table}\nfeat_channels = 16\nstacked_convs = 1\n\
         norm = {{ group_norm = {{ groups = 4 }} }}"
    );
    method.replace("point_feat_channels = 32", "point_feat_channels = 16")
}

/// The rest of that detector, without evaluations.
pub(crate) const SMALL: [&str; 5] = [
    "train.eval_every_iterations=0",
    "detector.backbone.norm={ group_norm = { groups = 4 } }",
    "detector.neck.out_channels=16",
    "detector.neck.start_level=0",
    "detector.neck.num_outs=4",
];
