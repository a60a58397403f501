//! Several processes that train together, with threads in their place.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use aweigh_distributed::ProcessGroup;
use aweigh_testkit::{ThreadGroup, device, processes};
use aweigh_train::TrainError;
use aweigh_train::config::Experiment;
use aweigh_train::evaluate::Validation;
use aweigh_train::evaluation::CocoResult;
use aweigh_train::model::{Trained, Which};
use aweigh_train::progress::{Progress, Silent};
use aweigh_train::run_folder::RunFolder;
use aweigh_train::trainer::{Outcome, Trainer};

use super::overfit::METHODS;
use super::support::{Place, SMALL, assert_close, assert_same, small, train};

/// What each of several processes gets from `work`, by rank.
fn among<T: Send>(size: usize, work: impl Fn(ThreadGroup) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let start = |group| scope.spawn(move || work(group));
        let threads: Vec<_> = processes(size).into_iter().map(start).collect();
        let ends = threads.into_iter().map(|thread| thread.join());
        ends.map(|end| end.expect("no process panics")).collect()
    })
}

/// Has runs start from the weights of a run of one step. Threads of one process draw fresh weights from
/// one generator, and each would get others; processes have a generator each.
fn from_one_start(start: Experiment) -> String {
    let mut start = start;
    start.train.iterations = Some(1);
    let weights = format!("model.weights.detector={:?}", start.run_dir());
    train(start);
    weights
}

/// Starts a run in several processes and gives how it ends in each.
fn train_among(size: usize, experiment: &Experiment) -> Vec<Result<Outcome, TrainError>> {
    among(size, |group| {
        let trainer = Trainer::new_among(experiment.clone(), &device(), Rc::new(group))?;
        trainer.run(&mut Silent, &AtomicBool::new(false)).outcome
    })
}

/// Continues a run in several processes.
fn resume_among(size: usize, place: &Place, run: &str, batch: usize) {
    let ends = among(size, |group| {
        let folder = RunFolder::open(&place.run_dir(run))?;
        let mut experiment = folder.experiment()?;
        experiment.train.batch_size = batch;
        let trainer = Trainer::resume_among(experiment, folder, &device(), Rc::new(group))?;
        trainer.run(&mut Silent, &AtomicBool::new(false)).outcome
    });
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
}

fn finished(ends: &[Result<Outcome, TrainError>]) {
    let finished = |end: &Result<Outcome, TrainError>| matches!(end, Ok(Outcome::Finished { .. }));
    assert!(ends.iter().all(finished), "{ends:?}");
}

#[test]
fn several_processes_train_as_one_with_all_their_images() {
    // Ten images in batches of four: an epoch ends with one of two, of which some of four processes
    // have nothing.
    let place = Place::new();
    let fcos = "[detector.fcos]\nregress_ranges = [[-1, 16], [16, 32], [32, 64], [64, 1e8]]";
    for (index, table) in METHODS.iter().chain([&fcos]).enumerate() {
        let experiment = |name: &str, batch: usize, more: &[&str]| {
            let batch = format!("train.batch_size={batch}");
            let common = ["train.iterations=3", &batch];
            let changes = [&SMALL[..], &common, more].concat();
            place.experiment_of(&small(table), &format!("{name}{index}"), &changes)
        };
        let weights = from_one_start(experiment("start", 1, &[]));
        let whole = experiment("whole", 4, &[&weights]);
        train(whole.clone());
        let check = |processes: usize, name: &str, more: &[&str]| {
            let more = [&[&weights[..]], more].concat();
            let parts = experiment(name, 4 / processes, &more);
            finished(&train_among(processes, &parts));
            let what = format!("{table}, {name}");
            // Sums of f32 in another order, over three steps.
            assert_close(whole.run_dir(), parts.run_dir(), 5e-4, &what);
        };
        check(2, "two", &[]);
        check(4, "four", &["distributed.bucket_mb=1"]);
        check(2, "two in parts", &["train.micro_batch_size=1"]);
    }
}

#[test]
fn a_run_of_several_processes_repeats_and_goes_on_exactly() {
    let place = Place::new();
    let weights = from_one_start(place.experiment("start", &[]));
    let changes = [
        &weights[..],
        "train.batch_size=2",
        "train.eval_every_iterations=3",
        "train.ema={ decay = 0.9 }",
        "train.checkpoint_every_iterations=5",
        "train.keep_last=9",
        "distributed.check_every=1",
    ];
    for run in ["first", "second"] {
        finished(&train_among(2, &place.experiment(run, &changes)));
    }
    assert_same(&place, "first", "second");

    let stopped = place.experiment("stopped", &changes);
    let ends = among(2, |group| {
        let asked = AtomicBool::new(false);
        // Only one of them is asked to stop.
        let mut progress = StopAfterFive {
            asks: group.rank() == 1,
            asked: &asked,
        };
        let trainer = Trainer::new_among(stopped.clone(), &device(), Rc::new(group)).unwrap();
        trainer.run(&mut progress, &asked).outcome.unwrap()
    });
    let at_five = |end: &Outcome| matches!(end, Outcome::Interrupted { iteration: 5, .. });
    assert!(ends.iter().all(at_five), "{ends:?}");
    resume_among(2, &place, "stopped", 2);
    assert_same(&place, "first", "stopped");
}

/// Asks a process to stop after the fifth step, if it is the one to be asked.
struct StopAfterFive<'a> {
    asks: bool,
    asked: &'a AtomicBool,
}

impl Progress for StopAfterFive<'_> {
    fn on_step(&mut self, iteration: usize) {
        if self.asks && iteration == 5 {
            self.asked.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn another_number_of_processes_goes_on_with_the_same_batches() {
    let place = Place::new();
    let experiment = |run: &str, batch: &str, weights: &[&str]| {
        let changes = [&SMALL[..], &["train.iterations=6", batch], weights].concat();
        let fcos = "[detector.fcos]\nregress_ranges = [[-1, 16], [16, 32], [32, 64], [64, 1e8]]";
        place.experiment_of(&small(fcos), run, &changes)
    };
    let weights = from_one_start(experiment("start", "train.batch_size=1", &[]));
    let whole = experiment("whole", "train.batch_size=4", &[&weights]);
    train(whole.clone());
    let parts = experiment("parts", "train.batch_size=2", &[&weights]);
    // In the middle of the second epoch.
    let ends = among(2, |group| {
        let trainer = Trainer::new_among(parts.clone(), &device(), Rc::new(group)).unwrap();
        let asked = AtomicBool::new(false);
        let mut progress = StopAfterFive {
            asks: true,
            asked: &asked,
        };
        trainer.run(&mut progress, &asked).outcome
    });
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
    resume_among(1, &place, "parts", 4);
    assert_close(
        whole.run_dir(),
        parts.run_dir(),
        5e-4,
        "two processes, then one",
    );
}

#[test]
fn evaluations_are_spread_and_are_those_of_one_process() {
    let place = Place::new();
    let weights = from_one_start(place.experiment("start", &[]));
    let changes = [
        &weights[..],
        "train.batch_size=1",
        "train.iterations=4",
        "eval.batch_size=2",
        // There would be no detections after so few steps.
        "detector.fcos.test.score_threshold=0.0",
    ];
    let experiment = place.experiment("run", &changes);
    finished(&train_among(2, &experiment));
    let folder = RunFolder::open(experiment.run_dir()).unwrap();
    let mut trained = Trained::from_run(
        &folder,
        Which::Last,
        &folder.experiment().unwrap(),
        &device(),
    )
    .unwrap();
    let validation = Validation::for_model(&experiment, &mut trained).unwrap();
    let scored = validation
        .run(&trained.detector, &device(), &mut Silent)
        .unwrap();
    let file = folder.evaluations().join("detections-00000004.json");
    let saved: Vec<CocoResult> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert!(!saved.is_empty());
    assert_eq!(saved, scored.results);
}

#[test]
fn an_error_of_one_process_ends_all_with_its_reason() {
    let place = Place::new();
    let experiment = place.experiment("run", &["train.batch_size=1"]);
    let ends = among(3, |group| {
        let rank = group.rank();
        let mut experiment = experiment.clone();
        if rank == 2 {
            experiment.data.train = experiment.data.val.clone().unwrap().into();
        }
        Trainer::new_among(experiment, &device(), Rc::new(group)).map(|_| ())
    });
    for end in ends {
        let message = end.unwrap_err().to_string();
        let found = message.contains("process 2 of 3 (on a thread) has another configuration");
        assert!(found, "{message}");
        assert!(message.contains("`data.train."), "{message}");
    }
    assert!(!place.run_dir("run").exists());

    // Found in the run, by the process that has the picture.
    let weights = from_one_start(place.experiment("start", &[]));
    let measured = place.experiment("broken", &[&weights, "train.batch_size=1"]);
    let trainers = among(2, |group| {
        let trainer = Trainer::new_among(measured.clone(), &device(), Rc::new(group)).unwrap();
        if trainer.state().processes == 2 && trainer.folder().dir().exists() {
            for entry in std::fs::read_dir(place.data().join("train")).unwrap() {
                let file = entry.unwrap().path();
                if file.file_stem().unwrap().to_str().unwrap().ends_with('4') {
                    std::fs::write(file, "no picture").unwrap();
                }
            }
        }
        trainer.run(&mut Silent, &AtomicBool::new(false)).outcome
    });
    let messages: Vec<String> = trainers
        .into_iter()
        .map(|end| end.unwrap_err().to_string())
        .collect();
    let names_other = |message: &String| message.contains("of 2 (on a thread): ");
    assert_eq!(
        messages.iter().filter(|m| names_other(m)).count(),
        1,
        "{messages:?}"
    );
    assert!(messages.iter().all(|m| m.contains("4.")), "{messages:?}");
}
