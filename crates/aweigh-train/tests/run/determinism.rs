//! The same experiment gives the same run, bit for bit, and so does a resumed one.

use std::sync::atomic::{AtomicBool, Ordering};

use aweigh_data::synth::Split;
use aweigh_testkit::device;
use aweigh_train::checkpoint::Checkpoint;
use aweigh_train::config::Experiment;
use aweigh_train::named_tensors;
use aweigh_train::progress::Progress;
use aweigh_train::trainer::{Outcome, Trainer};

use super::support::{Place, assert_same, metrics, resume, train};

/// Asks a run to stop after some iterations.
pub(super) struct StopAfter<'a> {
    pub(super) iterations: usize,
    pub(super) interrupt: &'a AtomicBool,
}

impl Progress for StopAfter<'_> {
    fn on_step(&mut self, iteration: usize) {
        self.interrupt
            .store(iteration == self.iterations, Ordering::Relaxed);
    }
}

/// Runs until so many iterations are done.
pub(super) fn stop_after(iterations: usize, experiment: Experiment) {
    let interrupt = AtomicBool::new(false);
    let mut progress = StopAfter {
        iterations,
        interrupt: &interrupt,
    };
    let trainer = Trainer::new(experiment, &device()).unwrap();
    let outcome = trainer.run(&mut progress, &interrupt).outcome.unwrap();
    let Outcome::Interrupted {
        iteration,
        checkpoint,
    } = outcome
    else {
        panic!("not interrupted");
    };
    let saved = checkpoint.state().unwrap().iteration;
    assert_eq!((iteration, saved), (iterations, iterations));
}

#[test]
fn the_same_seed_gives_the_same_run_for_any_number_of_workers() {
    let place = Place::new();
    train(place.experiment("first", &[]));
    train(place.experiment("again", &[]));
    assert_same(&place, "first", "again");
    for workers in ["1", "4"] {
        train(place.experiment(workers, &[&format!("data.workers={workers}")]));
        assert_same(&place, "first", workers);
    }
    train(place.experiment("other", &["seed=4"]));
    let dirs = ["first", "other"].map(|run| place.run_dir(run));
    assert_ne!(metrics(&dirs[0]), metrics(&dirs[1]));
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    // Epochs have 4 batches: before, at and after their end, and with a half-full window.
    let place = Place::new();
    let changes = ["train.log_every=3"];
    train(place.experiment("whole", &changes));
    for stop in [1, 4, 5] {
        let run = format!("stopped-{stop}");
        stop_after(stop, place.experiment(&run, &changes));
        resume(&place, &run);
        assert_same(&place, "whole", &run);
    }
}

#[test]
fn a_run_of_several_datasets_and_sampled_epochs_is_resumed_exactly() {
    let place = Place::new();
    let set = |split: Split, repeat: usize| {
        let (file, images) = (
            split.annotations(&place.data()),
            split.images(&place.data()),
        );
        format!("{{ annotations = {file:?}, images = {images:?}, repeat = {repeat} }}")
    };
    let both = [set(Split::Train, 1), set(Split::Val, 2)].join(", ");
    // Passes have 16 images or more and epochs 10: in 4 batches.
    let changes = [
        &format!("data.train=[{both}]"),
        "data.sampling={ kind = \"repeat_factor\", oversample_thr = 1.0, epoch_images = 10 }",
    ];
    let ended = train(place.experiment("whole", &changes));
    let data = ended.state.data.unwrap();
    let images: Vec<usize> = data.more_train.iter().map(|file| file.images).collect();
    assert_eq!(
        (data.train.images, images, data.batches_per_epoch),
        (10, vec![3], 4)
    );
    for stop in [2, 5] {
        let run = format!("stopped-{stop}");
        stop_after(stop, place.experiment(&run, &changes));
        resume(&place, &run);
        assert_same(&place, "whole", &run);
    }
    let workers = [changes.as_slice(), &["data.workers=4"]].concat();
    train(place.experiment("workers", &workers));
    assert_same(&place, "whole", "workers");
}

#[test]
fn a_resumed_run_does_without_the_weights_that_it_started_from() {
    let place = Place::new();
    train(place.experiment("source", &["train.iterations=1"]));
    let source = place
        .run_dir("source")
        .join("checkpoints/last/model.safetensors");
    let file = place.data().join("start.safetensors");
    for key in ["weights", "backbone_weights"] {
        std::fs::copy(&source, &file).unwrap();
        let change = format!("train.{key}={file:?}");
        let runs = ["whole", "stopped"].map(|run| format!("{run}-{key}"));
        train(place.experiment(&runs[0], &[&change]));
        stop_after(3, place.experiment(&runs[1], &[&change]));
        std::fs::remove_file(&file).unwrap();
        resume(&place, &runs[1]);
        assert_same(&place, &runs[0], &runs[1]);
    }
}

#[test]
fn a_killed_run_is_repeated_from_its_checkpoint() {
    let place = Place::new();
    let changes = ["train.checkpoint_every_iterations=3", "train.keep_last=2"];
    train(place.experiment("whole", &changes));
    // The checkpoint of iteration 6 is taken away, as if the run had died before it.
    train(place.experiment("killed", &changes));
    let checkpoints = place.run_dir("killed").join("checkpoints");
    std::fs::remove_dir_all(checkpoints.join("last")).unwrap();
    std::fs::rename(
        checkpoints.join("iteration-00000006"),
        checkpoints.join("last"),
    )
    .unwrap();
    resume(&place, "killed");
    assert_same(&place, "whole", "killed");
}

#[test]
fn a_checkpoint_holds_the_model_under_the_references_names() {
    let place = Place::new();
    let ended = train(place.experiment("run", &["train.iterations=1"]));
    let names: Vec<String> = named_tensors(&ended.model).into_keys().collect();
    for name in [
        "backbone.layer1.0.bn1.running_var",
        "neck.lateral_convs.0.conv.weight",
        "bbox_head.cls_convs.0.gn.bias",
        "bbox_head.scales.2.scale",
    ] {
        assert!(
            names.contains(&name.to_owned()),
            "{name} is not in {names:?}"
        );
    }
    let best = Checkpoint::open(&place.run_dir("run").join("checkpoints/best")).unwrap();
    assert_eq!(best.state().unwrap().classes.len(), 5);
}
