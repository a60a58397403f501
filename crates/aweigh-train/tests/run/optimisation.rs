//! Batches in parts, moving averages, frozen parts, and runs that end early.

use aweigh_testkit::device;
use aweigh_train::checkpoint::Checkpoint;
use aweigh_train::model::fresh;
use aweigh_train::named_tensors;
use aweigh_train::progress::Silent;
use aweigh_train::trainer::{Outcome, Trainer};
use std::sync::atomic::AtomicBool;

use super::determinism::stop_after;
use super::overfit::METHODS;
use super::support::{
    Place, SMALL, Weights, assert_close, assert_same, difference, metrics, read_weights, resume,
    small, train,
};

#[test]
fn the_parts_of_a_batch_train_as_the_batch() {
    let place = Place::new();
    let fcos = "[detector.fcos]\nregress_ranges = [[-1, 16], [16, 32], [32, 64], [64, 1e8]]";
    for (index, table) in METHODS.iter().chain([&fcos]).enumerate() {
        let method = small(table);
        let run = |name: &str, changes: &[&str]| {
            let name = format!("{name}{index}");
            let common = ["train.iterations=2", "train.batch_size=4"];
            let changes = [&SMALL[..], &common, changes].concat();
            train(place.experiment_of(&method, &name, &changes));
            place.run_dir(&name)
        };
        let whole = run("whole", &[]);
        for size in ["1", "2", "3"] {
            let parts = run(
                &format!("{size}-"),
                &[&format!("train.micro_batch_size={size}")],
            );
            // Sums of f32 in another order, over two steps.
            assert_close(&whole, &parts, 2e-4, &format!("{table}, parts of {size}"));
        }
    }
}

#[test]
fn a_moving_average_is_its_closed_form_and_what_is_evaluated() {
    let place = Place::new();
    let experiment = place.experiment(
        "run",
        &[
            "train.iterations=4",
            "train.checkpoint_every_iterations=1",
            "train.keep_last=9",
            "train.ema={ decay = 0.8, warmup = 3 }",
        ],
    );
    let mut config = experiment.detector.clone();
    config.num_classes = Some(5);
    let start = fresh(&config, experiment.seed, &device()).unwrap();
    train(experiment);
    let checkpoints = place.run_dir("run").join("checkpoints");
    let folder = |step: usize| match step {
        4 => checkpoints.join("last"),
        step => checkpoints.join(format!("iteration-{step:08}")),
    };
    let mut expected: Weights = named_tensors(&start)
        .into_iter()
        .map(|(name, data)| (name, data.iter::<f32>().collect()))
        .collect();
    for step in 1..=4 {
        let rate = 1.0 - 0.8 * (1.0 - (-(step as f32) / 3.0).exp());
        let weights = read_weights(&folder(step).join("model.safetensors"));
        for (average, weights) in expected.values_mut().zip(weights.values()) {
            let pairs = average.iter_mut().zip(weights);
            pairs.for_each(|(average, weight)| *average += rate * (weight - *average));
        }
        let found = read_weights(&folder(step).join("ema.safetensors"));
        let found = difference(&expected, &found);
        assert!(found < 1e-5, "step {step}: {found}");
    }
    let average = read_weights(&folder(4).join("ema.safetensors"));
    let best = Checkpoint::open(&checkpoints.join("best")).unwrap();
    assert_eq!(best.evaluated_file(), best.model_file());
    assert_eq!(best.state().unwrap().iteration, 4);
    assert_eq!(read_weights(&best.model_file()), average);
    let last = Checkpoint::open(&checkpoints.join("last")).unwrap();
    assert_eq!(read_weights(&last.evaluated_file()), average);
    assert_ne!(read_weights(&last.model_file()), average);
}

#[test]
fn a_resumed_run_goes_on_with_everything() {
    let place = Place::new();
    let changes = [
        "train.micro_batch_size=2",
        "train.ema={ decay = 0.9, warmup = 2 }",
        "train.freeze=[{ match = \"backbone.*\", until_epoch = 1 }]",
        "train.optimizer.groups=[{ match = \"neck.*\", lr_mult = 0.5 }]",
        "train.schedule={ kind = \"one_cycle\" }",
        "data.workers=2",
    ];
    train(place.experiment("whole", &changes));
    for stop in [1, 4, 5] {
        let run = format!("stopped-{stop}");
        stop_after(stop, place.experiment(&run, &changes));
        resume(&place, &run);
        assert_same(&place, "whole", &run);
    }
}

#[test]
fn frozen_parts_keep_their_weights_until_their_epoch() {
    let place = Place::new();
    let weights = |iterations: usize| {
        let run = format!("run{iterations}");
        train(place.experiment(
            &run,
            &[
                &format!("train.iterations={iterations}"),
                "detector.backbone.norm={ group_norm = { groups = 4 } }",
                "train.freeze=[{ match = \"backbone.*\", until_epoch = 1 }]",
            ],
        ));
        read_weights(
            &place
                .run_dir(&run)
                .join("checkpoints/last/model.safetensors"),
        )
    };
    // An epoch has four steps.
    let [first, fourth, fifth] = [1, 4, 5].map(weights);
    let name = "backbone.layer1.0.conv1.weight";
    assert_eq!(first[name], fourth[name]);
    assert_ne!(
        first["neck.fpn_convs.0.conv.weight"],
        fourth["neck.fpn_convs.0.conv.weight"]
    );
    assert_ne!(fourth[name], fifth[name]);
}

#[test]
fn a_run_that_gets_no_better_ends_early() {
    let place = Place::new();
    let experiment = place.experiment(
        "run",
        &[
            "train.lr=1e-30",
            "train.eval_every_iterations=1",
            "train.best_metric=\"AR100\"",
            "train.early_stopping={ patience = 2 }",
        ],
    );
    let trainer = Trainer::new(experiment, &device()).unwrap();
    let ended = trainer.run(&mut Silent, &AtomicBool::new(false));
    let Ok(Outcome::Finished { best, early }) = ended.outcome else {
        panic!("{:?}", ended.outcome);
    };
    assert!(early);
    assert_eq!(ended.state.iteration, 3);
    let best = best.unwrap();
    assert_eq!(
        (best.metric.to_string().as_str(), best.iteration),
        ("AR100", 1)
    );
    // There is nothing to go on with.
    resume(&place, "run");
    assert_eq!(metrics(&place.run_dir("run")).len(), 6);
}

#[test]
fn a_pattern_of_no_parameter_is_an_error() {
    let place = Place::new();
    let check = |change: &str, expected: &str| {
        let error = Trainer::new(place.experiment("run", &[change]), &device()).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with(expected), "{message}");
    };
    check(
        "train.freeze=[{ match = \"bakbone.*\" }]",
        "`train.freeze`: no parameter that is trained matches `bakbone.*`; they are backbone.",
    );
    check(
        "train.optimizer.groups=[{ match = \"head\", lr_mult = 2.0 }]",
        "`train.optimizer.groups`: no parameter that is trained matches `head`; they are backbone.",
    );
}
