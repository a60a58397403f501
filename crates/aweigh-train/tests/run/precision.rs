//! Runs in half precision: what they keep, and where they are refused.

use std::sync::atomic::AtomicBool;

use aweigh_testkit::device;
use aweigh_train::bench::{BenchMode, BenchOptions, bench};
use aweigh_train::config::{Backend, ConvConfig, DeviceConfig, Experiment};
use aweigh_train::device::select;
use aweigh_train::progress::{Progress, Silent};
use aweigh_train::run_folder::RunFolder;
use aweigh_train::trainer::{Outcome, Trainer};
use aweigh_train::{LossScale, TrainError};
use burn::tensor::{DType, Device};
use safetensors::{Dtype, SafeTensors};

use super::determinism::StopAfter;
use super::support::{Place, metrics, train};

/// The first adapter of wgpu, if there is one.
#[allow(clippy::print_stdout)]
fn wgpu() -> Option<Device> {
    let config = DeviceConfig {
        backend: Backend::Wgpu,
        ..DeviceConfig::default()
    };
    let device = select(&config, &ConvConfig::default());
    device.map_err(|error| println!("not run: {error}")).ok()
}

fn refuse(error: TrainError, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn the_processor_refuses_half_precision_before_anything_starts() {
    let place = Place::new();
    let parts = ["`train.precision` is \"f16\"", "the CPU", "in \"f32\""];
    let half = || place.experiment("half", &["train.precision=f16"]);
    refuse(Trainer::new(half(), &device()).unwrap_err(), &parts);
    let rehearsal = Trainer::rehearse(half(), &device(), &mut Silent);
    refuse(rehearsal.unwrap_err(), &parts);
    assert!(!place.run_dir("half").exists());

    train(place.experiment("single", &[]));
    let folder = RunFolder::open(&place.run_dir("single")).unwrap();
    let resumed = Trainer::resume(half(), folder, &device());
    refuse(resumed.unwrap_err(), &parts);

    let options = BenchOptions {
        mode: BenchMode::Train,
        size: [64, 64],
        batch: 1,
        warmup: 0,
        repeats: 1,
        profile: false,
    };
    let timed = bench(&half(), &options, &device());
    refuse(timed.unwrap_err(), &parts);
}

#[test]
#[allow(clippy::print_stdout)]
fn a_device_without_a_type_is_named_with_what_it_has() {
    let Some(device) = wgpu() else { return };
    if device.supports_dtype(DType::BF16) {
        return println!("not run: this adapter has bf16");
    }
    let place = Place::new();
    let experiment = place.experiment("bf16", &["train.precision=bf16"]);
    let name = device.identity().expect("an adapter has a name").name;
    let parts = [
        "`train.precision` is \"bf16\"",
        &name,
        "no arithmetic in bf16",
        "\"f32\"",
    ];
    refuse(Trainer::new(experiment, &device).unwrap_err(), &parts);
    assert!(!place.run_dir("bf16").exists());
}

/// Few shapes, since every shape is a kernel to compile, and no evaluation.
fn half(place: &Place, run: &str, precision: &str) -> Experiment {
    let precision = format!("train.precision={precision}");
    let changes = [
        &precision,
        "train.iterations=4",
        "train.batch_size=1",
        "train.eval_every_iterations=0",
        "detector.backbone.num_stages=2",
        "detector.backbone.out_indices=[0, 1]",
        "detector.neck.start_level=0",
        "detector.neck.num_outs=3",
    ];
    let mut experiment = place.experiment(run, &changes);
    experiment.data.val = None;
    experiment
}

fn go(trainer: Trainer, progress: &mut dyn Progress, interrupt: &AtomicBool) -> Outcome {
    trainer.run(progress, interrupt).outcome.unwrap()
}

/// The scale of the latest checkpoint.
fn saved_scale(place: &Place, run: &str) -> Option<LossScale> {
    let folder = RunFolder::open(&place.run_dir(run)).unwrap();
    folder
        .last_checkpoint()
        .unwrap()
        .state()
        .unwrap()
        .loss_scale
}

fn losses(place: &Place, run: &str) -> Vec<f64> {
    let lines = metrics(&place.run_dir(run));
    lines
        .iter()
        .filter_map(|line| line["losses"]["loss"].as_f64())
        .collect()
}

#[test]
#[allow(clippy::print_stdout)]
fn a_run_in_half_precision_goes_as_one_in_single_and_resumes() {
    let Some(device) = wgpu() else { return };
    if !device.supports_dtype(DType::F16) {
        return println!("not run: no f16 on this adapter");
    }
    let place = Place::new();
    let never = AtomicBool::new(false);
    for precision in ["f32", "f16"] {
        let experiment = half(&place, precision, precision);
        go(
            Trainer::new(experiment, &device).unwrap(),
            &mut Silent,
            &never,
        );
    }
    let (single, whole) = (losses(&place, "f32"), losses(&place, "f16"));
    println!("f32 {single:?}, f16 {whole:?}");
    assert_eq!(whole.len(), 4);
    for (a, b) in whole.iter().zip(&single) {
        // Roundings of 2^-11 in some twenty layers, three steps apart.
        assert!((a - b).abs() < 0.02 * b, "{whole:?} {single:?}");
    }

    // What is saved is single precision, with the scale.
    let file = place
        .run_dir("f16")
        .join("checkpoints/last/model.safetensors");
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert!(
        tensors
            .tensors()
            .iter()
            .all(|(_, view)| view.dtype() == Dtype::F32)
    );
    assert_eq!(saved_scale(&place, "f32"), None);
    let scale = saved_scale(&place, "f16").expect("a scale");
    assert_eq!(scale.good_steps + scale.skipped, 4, "{scale:?}");
    let line = &metrics(&place.run_dir("f16"))[3];
    assert_eq!(line["loss_scale"]["scale"], f64::from(scale.scale));

    let interrupt = AtomicBool::new(false);
    let mut progress = StopAfter {
        iterations: 2,
        interrupt: &interrupt,
    };
    let first = Trainer::new(half(&place, "parts", "f16"), &device).unwrap();
    let outcome = go(first, &mut progress, &interrupt);
    assert!(matches!(outcome, Outcome::Interrupted { iteration: 2, .. }));
    let folder = RunFolder::open(&place.run_dir("parts")).unwrap();
    let rest = Trainer::resume(folder.experiment().unwrap(), folder, &device).unwrap();
    go(rest, &mut Silent, &never);
    assert_eq!(saved_scale(&place, "parts"), Some(scale));
    for (a, b) in losses(&place, "parts").iter().zip(&whole) {
        // Sums on a device may come in another order each time.
        assert!((a - b).abs() < 1e-3 * b, "{a} {b}");
    }
}
