//! Whatever ends a run, it goes on as if nothing had ended it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use aweigh_testkit::device;
use aweigh_train::TrainError;
use aweigh_train::checkpoint::{Checkpoint, RunState};
use aweigh_train::progress::{CheckpointKind, Progress, Silent};
use aweigh_train::run_folder::RunFolder;
use aweigh_train::trainer::{Outcome, Trainer};

use super::support::{Place, assert_same, metrics, resume, train};

/// Iterations 4 and 7 are evaluated, and no other has a checkpoint.
fn start(place: &Place, run: &str) -> Trainer {
    Trainer::new(place.experiment(run, &["train.log_every=3"]), &device()).unwrap()
}

/// The run that nothing ends.
fn whole(place: &Place) {
    train(place.experiment("whole", &["train.log_every=3"]));
}

/// Runs until an error ends it.
fn fail(place: &Place, run: &str, progress: &mut dyn Progress) -> TrainError {
    let result = start(place, run).run(progress, &AtomicBool::new(false));
    result.outcome.unwrap_err()
}

fn last(place: &Place, run: &str) -> RunState {
    let folder = RunFolder::open(&place.run_dir(run)).unwrap();
    folder.last_checkpoint().unwrap().state().unwrap()
}

/// Pictures of a split, in the order of their names.
fn pictures(place: &Place, split: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place.data().join(split)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Runs until an error ends it, because of a picture that breaks after it was looked at.
fn fail_at(place: &Place, run: &str, picture: &Path) -> TrainError {
    let trainer = start(place, run);
    let bytes = std::fs::read(picture).unwrap();
    std::fs::write(picture, &bytes[..bytes.len() / 2]).unwrap();
    let result = trainer.run(&mut Silent, &AtomicBool::new(false)).outcome;
    std::fs::write(picture, bytes).unwrap();
    result.unwrap_err()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    EvaluationStarts,
    OnePictureIsEvaluated,
    TheBestIsSaved,
}

/// Kills a run at a moment: it ends there, without any of its own code that deals with errors.
struct Kill(Moment);

impl Kill {
    fn at(&self, moment: Moment) {
        if self.0 == moment {
            resume_unwind(Box::new("killed"));
        }
    }
}

impl Progress for Kill {
    fn on_eval_start(&mut self, _: usize) {
        self.at(Moment::EvaluationStarts);
    }

    fn on_eval_step(&mut self, _: usize) {
        self.at(Moment::OnePictureIsEvaluated);
    }

    fn on_checkpoint(&mut self, _: &Path, kind: CheckpointKind) {
        if kind == CheckpointKind::Best {
            self.at(Moment::TheBestIsSaved);
        }
    }
}

#[test]
fn an_evaluation_that_was_killed_is_made_up_for() {
    let place = Place::new();
    whole(&place);
    for moment in [
        Moment::EvaluationStarts,
        Moment::OnePictureIsEvaluated,
        Moment::TheBestIsSaved,
    ] {
        let run = format!("{moment:?}");
        let trainer = start(&place, &run);
        let interrupt = AtomicBool::new(false);
        let run_it = AssertUnwindSafe(|| trainer.run(&mut Kill(moment), &interrupt));
        assert!(catch_unwind(run_it).is_err(), "not killed");
        let state = last(&place, &run);
        assert_eq!((state.iteration, state.evaluation_due), (4, true));
        resume(&place, &run);
        assert_same(&place, "whole", &run);
    }
}

/// Asks a run to stop when its first evaluation has scored a picture.
struct StopEvaluation<'a> {
    interrupt: &'a AtomicBool,
    scored: usize,
}

impl Progress for StopEvaluation<'_> {
    fn on_eval_step(&mut self, images: usize) {
        self.interrupt.store(true, Ordering::Relaxed);
        self.scored = images;
    }
}

#[test]
fn an_evaluation_stops_between_two_batches_when_it_is_asked_to() {
    let place = Place::new();
    whole(&place);
    let interrupt = AtomicBool::new(false);
    let mut progress = StopEvaluation {
        interrupt: &interrupt,
        scored: 0,
    };
    let ended = start(&place, "stopped").run(&mut progress, &interrupt);
    let Outcome::Interrupted { iteration, .. } = ended.outcome.unwrap() else {
        panic!("not interrupted");
    };
    assert_eq!((iteration, progress.scored), (4, 1));
    resume(&place, "stopped");
    assert_same(&place, "whole", "stopped");
}

#[test]
fn a_checkpoint_is_written_before_the_evaluation_that_fails() {
    let place = Place::new();
    whole(&place);
    let message = fail_at(&place, "failed", &pictures(&place, "val")[1]).to_string();
    assert!(message.contains("cannot decode image"), "{message}");
    let state = last(&place, "failed");
    assert_eq!((state.iteration, state.best), (4, None));
    assert!(!place.run_dir("failed").join("checkpoints/best").exists());
    resume(&place, "failed");
    assert_same(&place, "whole", "failed");
}

#[test]
fn a_picture_that_ends_training_costs_no_step() {
    let place = Place::new();
    whole(&place);
    // Every picture belongs to one of the four batches of the first epoch: those of the first one
    // leave nothing to save, those of the others leave the steps before.
    let mut iterations = Vec::new();
    for (index, picture) in pictures(&place, "train").iter().enumerate() {
        let run = format!("failed-{index}");
        fail_at(&place, &run, picture);
        let folder = RunFolder::open(&place.run_dir(&run)).unwrap();
        let Ok(checkpoint) = folder.last_checkpoint() else {
            continue;
        };
        let iteration = checkpoint.state().unwrap().iteration;
        if !iterations.contains(&iteration) {
            iterations.push(iteration);
            resume(&place, &run);
            assert_same(&place, "whole", &run);
        }
    }
    iterations.sort_unstable();
    assert_eq!(iterations, [1, 2, 3]);
}

/// Puts a folder into the place of the metrics when an iteration is done.
struct NoMetrics {
    file: PathBuf,
    at: usize,
}

impl Progress for NoMetrics {
    fn on_step(&mut self, iteration: usize) {
        if iteration == self.at {
            let aside = self.file.with_extension("aside");
            if self.file.exists() {
                std::fs::rename(&self.file, aside).unwrap();
            }
            std::fs::create_dir(&self.file).unwrap();
        }
    }
}

#[test]
fn metrics_that_cannot_be_written_cost_no_step() {
    let place = Place::new();
    whole(&place);
    // A line of the log, an evaluation, and the evaluation at the end.
    for at in [3, 4, 7] {
        let run = format!("failed-{at}");
        let file = place.run_dir(&run).join("metrics.jsonl");
        let mut progress = NoMetrics {
            file: file.clone(),
            at,
        };
        let message = fail(&place, &run, &mut progress).to_string();
        assert!(message.starts_with("cannot write "), "{message}");
        assert_eq!(last(&place, &run).iteration, at);
        std::fs::remove_dir(&file).unwrap();
        if file.with_extension("aside").exists() {
            std::fs::rename(file.with_extension("aside"), &file).unwrap();
        }
        resume(&place, &run);
        assert_same(&place, "whole", &run);
    }
}

#[test]
fn an_ap_that_is_not_defined_is_not_the_best() {
    let place = Place::new();
    let path = place.data().join("annotations/instances_val.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut val: serde_json::Value = serde_json::from_str(&text).unwrap();
    val["annotations"] = serde_json::json!([]);
    std::fs::write(&path, val.to_string()).unwrap();
    let ended = train(place.experiment("a", &[]));
    assert_eq!(ended.state.best, None);
    let lines = metrics(&place.run_dir("a"));
    assert_eq!(lines.last().unwrap()["eval"]["AP"], -1.0);
    let folder = RunFolder::open(&place.run_dir("a")).unwrap();
    assert_eq!(folder.best_checkpoint().unwrap().dir(), folder.last());
}

#[test]
fn a_run_has_one_trainer() {
    let place = Place::new();
    let trainer = start(&place, "a");
    let locked = format!("is being written by process {}", std::process::id());
    let check = |result: Result<Trainer, TrainError>| {
        let message = result.err().unwrap().to_string();
        assert!(message.contains(&locked), "{message}");
    };
    check(Trainer::new(place.experiment("a", &[]), &device()));
    let folder = RunFolder::open(&place.run_dir("a")).unwrap();
    let experiment = folder.experiment().unwrap();
    check(Trainer::resume(experiment, folder, &device()));
    let ended = trainer.run(&mut Silent, &AtomicBool::new(false));
    ended.outcome.unwrap();
    resume(&place, "a");
}

#[test]
fn a_run_is_not_resumed_with_what_does_not_fit_and_stays_as_it_was() {
    let place = Place::new();
    train(place.experiment("a", &["train.iterations=1"]));
    let dir = place.run_dir("a");
    let files = ["config.toml", "metrics.jsonl"].map(|file| dir.join(file));
    let read = || files.clone().map(|file| std::fs::read(file).unwrap());
    let before = read();
    let check = |change: &str, parts: &[&str]| {
        let experiment = place.experiment("a", &["train.iterations=9", change]);
        let folder = RunFolder::open(&dir).unwrap();
        let error = Trainer::resume(experiment, folder, &device())
            .err()
            .unwrap();
        let message = error.to_string();
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
        assert!(read() == before, "{change} was written");
    };
    check(
        "detector.fcos.feat_channels=12",
        &[
            "cannot go on with `detector` changed",
            "last/model.safetensors: the weights do not fit the model",
        ],
    );
    check(
        "train.optimizer.kind=adamw",
        &["cannot go on with `train.optimizer` changed"],
    );
    check("data.val.annotations=none.json", &["none.json"]);
    check(
        "data.train.annotations=none.json",
        &["cannot read annotation file none.json"],
    );
    resume(&place, "a");
}

#[test]
fn a_run_whose_metrics_cannot_be_read_stays_as_it_was() {
    let place = Place::new();
    train(place.experiment("a", &["train.iterations=1"]));
    let config = place.run_dir("a").join("config.toml");
    let before = std::fs::read(&config).unwrap();
    let metrics = place.run_dir("a").join("metrics.jsonl");
    std::fs::write(&metrics, b"\xff").unwrap();
    let folder = RunFolder::open(&place.run_dir("a")).unwrap();
    let experiment = place.experiment("a", &["train.iterations=9"]);
    let error = Trainer::resume(experiment, folder, &device()).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("cannot read "), "{message}");
    assert!(message.contains("metrics.jsonl"), "{message}");
    assert_eq!(std::fs::read(&config).unwrap(), before);
    assert_eq!(std::fs::read(&metrics).unwrap(), b"\xff");
}

#[test]
fn a_run_keeps_its_classes() {
    let place = Place::new();
    train(place.experiment("a", &["train.iterations=1"]));
    let path = place.data().join("annotations/instances_train.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut annotations: serde_json::Value = serde_json::from_str(&text).unwrap();
    let categories = annotations["categories"].as_array_mut().unwrap();
    let (id, name) = (categories[0]["id"].clone(), categories[0]["name"].clone());
    categories[0]["name"] = "hexagon".into();
    categories.push(serde_json::json!({"id": 99, "name": "bar"}));
    std::fs::write(&path, annotations.to_string()).unwrap();
    let folder = RunFolder::open(&place.run_dir("a")).unwrap();
    let experiment = folder.experiment().unwrap();
    let error = Trainer::resume(experiment, folder, &device())
        .err()
        .unwrap();
    let expected = format!(
        "instances_train.json have changed since the checkpoint: {id} is named `hexagon`, then \
         `{}`, `bar` is new; a run keeps the classes",
        name.as_str().unwrap()
    );
    assert!(error.to_string().contains(&expected), "{error}");
}

#[test]
fn a_run_of_an_older_version_goes_on() {
    let place = Place::new();
    whole(&place);
    train(place.experiment("old", &["train.log_every=3", "train.iterations=4"]));
    let checkpoint = Checkpoint::open(&place.run_dir("old").join("checkpoints/last")).unwrap();
    let path = checkpoint.dir().join("state.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut state: serde_json::Value = serde_json::from_str(&text).unwrap();
    for new in ["evaluation_due", "data"] {
        state.as_object_mut().unwrap().remove(new).unwrap();
    }
    std::fs::write(&path, state.to_string()).unwrap();
    std::fs::remove_file(place.run_dir("old").join("run.lock")).unwrap();
    let folder = RunFolder::open(&place.run_dir("old")).unwrap();
    let experiment = place.experiment("old", &["train.log_every=3"]);
    let trainer = Trainer::resume(experiment, folder, &device()).unwrap();
    let ended = trainer.run(&mut Silent, &AtomicBool::new(false));
    ended.outcome.unwrap();
    assert_eq!(
        metrics(&place.run_dir("old")).len(),
        metrics(&place.run_dir("whole")).len()
    );
}
