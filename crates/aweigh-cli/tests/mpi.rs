//! Several processes over MPI, as `mpirun` starts them: equal to one, and ending together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Run, aweigh, contains, project, run};

/// How long a process waits for the others here, in seconds.
const TIMEOUT_S: u64 = 5;

/// How long it may take until all have ended: the time limit, the roll call, and a machine that is
/// busy with other tests.
const DEADLINE: Duration = Duration::from_secs(TIMEOUT_S + 30);

/// A folder with a small project, on a machine that can start processes at all.
#[expect(clippy::print_stderr, reason = "a test that does nothing says so")]
fn project_and_launcher() -> Option<TempDir> {
    if Command::new("mpirun").arg("--version").output().is_err() {
        eprintln!("no mpirun on this machine: nothing is tested");
        return None;
    }
    Some(project())
}

/// A launcher of processes in `folder`.
fn launcher(folder: &Path) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args(["--oversubscribe", "--bind-to", "none"])
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        // Four processes on two cores must not wait in turns.
        .env("OMPI_MCA_mpi_yield_when_idle", "1")
        .current_dir(folder);
    command
}

/// `mpirun -n PROCESSES aweigh ARGUMENTS`.
fn mpirun(folder: &Path, processes: usize, args: &[&str]) -> Command {
    let mut command = launcher(folder);
    command.args(["-n", &processes.to_string()]);
    command.arg(env!("CARGO_BIN_EXE_aweigh")).args(args);
    command
}

fn launch(folder: &Path, processes: usize, args: &[&str]) -> Run {
    let output = mpirun(folder, processes, args).output();
    run(output.expect("mpirun starts"))
}

/// `aweigh train` of `tiny.toml` with changes.
fn training<'a>(run: &'a str, changes: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["train", "--config", "tiny.toml", "--run-dir", run];
    args.extend(changes.iter().flat_map(|change| ["--set", change]));
    args
}

fn weights(folder: &Path, run: &str) -> BTreeMap<String, Vec<f32>> {
    let file = folder.join(run).join("checkpoints/last/model.safetensors");
    let bytes = std::fs::read(file).expect("a checkpoint");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let values = |data: &[u8]| {
        let numbers = data.chunks_exact(4);
        let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
        numbers.map(number).collect()
    };
    let tensors = tensors.iter();
    tensors
        .map(|(name, view)| (name.to_owned(), values(view.data())))
        .collect()
}

fn losses(folder: &Path, run: &str) -> Vec<f64> {
    let file = folder.join(run).join("metrics.jsonl");
    let text = std::fs::read_to_string(file).expect("metrics");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines
        .filter_map(|line| line["losses"]["loss"].as_f64())
        .collect()
}

/// Asserts that two runs had nearly the same losses and end with nearly the same weights.
fn assert_close(folder: &Path, a: &str, b: &str) {
    let (of_a, of_b) = (losses(folder, a), losses(folder, b));
    assert!(
        !of_a.is_empty() && of_a.len() == of_b.len(),
        "{of_a:?} {of_b:?}"
    );
    for (x, y) in of_a.iter().zip(&of_b) {
        assert!((x - y).abs() <= 1e-4 * x.abs(), "{a}, {b}: losses {x} {y}");
    }
    let (of_a, of_b) = (weights(folder, a), weights(folder, b));
    assert!(of_a.keys().eq(of_b.keys()));
    for ((name, x), y) in of_a.iter().zip(of_b.values()) {
        let largest = x.iter().fold(1e-3_f32, |max, value| max.max(value.abs()));
        let differences = x.iter().zip(y).map(|(x, y)| (x - y).abs());
        let found = differences.fold(0.0, f32::max) / largest;
        // Sums of f32 in another order, over four steps.
        assert!(found < 5e-4, "{a}, {b}: {name} differs by {found}");
    }
}

#[test]
fn processes_train_as_one_with_all_their_images() {
    let Some(folder) = project_and_launcher() else {
        return;
    };
    let folder = folder.path();
    let small = "feat_channels = 16, stacked_convs = 1, norm = { group_norm = { groups = 4 } }";
    let methods = [
        "detector.fcos={ SMALL, regress_ranges = [[-1, 32], [32, 64], [64, 1e8]] }",
        "detector.fsaf={ SMALL }",
        "detector.reppoints={ SMALL, point_feat_channels = 16 }",
    ];
    for (index, method) in methods.iter().enumerate() {
        let method = method.replace("SMALL", small);
        let text = std::fs::read_to_string(folder.join("tiny.toml")).expect("a file");
        let start = text.find("[detector.fcos]").expect("a detector");
        let end = text.find("[train]").expect("training");
        let config = format!("{index}.toml");
        std::fs::write(
            folder.join(&config),
            format!("{}{}", &text[..start], &text[end..]),
        )
        .expect("writes");
        let train = |run: &str, batch: usize| {
            let batch = format!("train.batch_size={batch}");
            let mut args = vec!["train", "--config", &config, "--run-dir", run];
            // The optimiser of the references: AdamW turns the rounding of small gradients into steps.
            for change in [
                &method,
                "train.iterations=4",
                "train.optimizer.kind=sgd",
                &batch,
            ] {
                args.extend(["--set", change]);
            }
            args.into_iter().map(str::to_owned).collect::<Vec<String>>()
        };
        let one = format!("one{index}");
        let args = train(&one, 4);
        aweigh(folder, &args.iter().map(String::as_str).collect::<Vec<_>>()).ok();
        for processes in [2, 4] {
            let several = format!("of{processes}-{index}");
            let args = train(&several, 4 / processes);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let shown = launch(folder, processes, &args).ok();
            // One process speaks.
            assert_eq!(shown.matches("best AP").count(), 1, "{shown}");
            assert_close(folder, &one, &several);
        }
    }
}

#[test]
fn a_run_repeats_and_goes_on_after_a_kill() {
    let Some(folder) = project_and_launcher() else {
        return;
    };
    let folder = folder.path();
    let changes = ["train.iterations=40", "train.checkpoint_every_iterations=1"];
    let whole = training("whole", &changes);
    launch(folder, 2, &whole).ok();
    let mut process = start(mpirun(folder, 2, &training("killed", &changes)));
    wait_for(&folder.join("killed/checkpoints/last"));
    std::thread::sleep(Duration::from_millis(300));
    signal("KILL", rank(process.id(), 1));
    let killed = end(&mut process);
    assert_ne!(killed.code, 0);
    contains(&killed.stderr, &["rank 1"]);
    launch(folder, 2, &["train", "--resume", "killed"]).ok();
    for file in ["model", "optimizer"] {
        let read = |run: &str| {
            let path = format!("{run}/checkpoints/last/{file}.safetensors");
            std::fs::read(folder.join(path)).expect("a file of the checkpoint")
        };
        assert!(read("whole") == read("killed"), "{file}");
    }
    // In one process, which has half of the images.
    let resumed = aweigh(
        folder,
        &[
            "train",
            "--resume",
            "killed",
            "--set",
            "train.iterations=42",
        ],
    );
    contains(
        &resumed.stderr,
        &[
            "4 to 2 images per step",
            "train.batch_size=4 in one process would keep the 4 images per step",
        ],
    );
    resumed.ok();
}

#[test]
fn a_process_that_hangs_is_named_and_all_end() {
    let Some(folder) = project_and_launcher() else {
        return;
    };
    let folder = folder.path();
    let timeout = format!("distributed.timeout_s={TIMEOUT_S}");
    let changes = [
        "train.iterations=100000",
        "train.checkpoint_every_iterations=1",
        &timeout,
    ];
    for stopped in [0, 1] {
        let name = format!("stopped{stopped}");
        let mut process = start(mpirun(folder, 2, &training(&name, &changes)));
        wait_for(&folder.join(&name).join("checkpoints/last"));
        signal("STOP", rank(process.id(), stopped));
        let ended = end(&mut process);
        assert_ne!(ended.code, 0);
        contains(
            &ended.stderr,
            &[
                &format!("process {stopped} of 2 does not answer: it hangs, has been stopped"),
                "`distributed.timeout_s`",
            ],
        );
    }
}

#[test]
fn processes_of_different_trainings_end_with_the_difference() {
    let Some(folder) = project_and_launcher() else {
        return;
    };
    let folder = folder.path();
    let program = env!("CARGO_BIN_EXE_aweigh");
    let check = |other: &str, parts: &[&str]| {
        let mut command = launcher(folder);
        command
            .args(["-n", "1", program])
            .args(training("run", &[]));
        command
            .args([":", "-n", "1", program])
            .args(training("run", &[other]));
        let ended = run(command.output().expect("mpirun starts"));
        assert_ne!(ended.code, 0);
        contains(&ended.stderr, parts);
        assert_eq!(
            ended.stderr.matches("error: ").count(),
            1,
            "{}",
            ended.stderr
        );
        assert!(!folder.join("run").exists());
    };
    check(
        "train.lr=0.5",
        &[
            "process 1 of 2 (on ",
            "has another configuration: `train.lr` is 0.5, not 0.001",
        ],
    );
    check("train.momentum=1", &["process 1 of 2 (on ", "momentum"]);
    check(
        "data.train.images=\"none\"",
        &["process 1 of 2 (on ", "`data.train.images`"],
    );
}

#[test]
fn what_one_process_does_is_refused_in_several() {
    let Some(folder) = project_and_launcher() else {
        return;
    };
    let folder = folder.path();
    let refused = launch(folder, 2, &["train", "--config", "tiny.toml", "--dry-run"]);
    contains(
        &refused.failed(1),
        &["work in one process: start it without mpirun"],
    );
    let refused = launch(
        folder,
        2,
        &["train", "--config", "tiny.toml", "--devices", "0"],
    );
    contains(
        &refused.failed(1),
        &["--devices lists 1 devices for the 2 processes on "],
    );
    let refused = launch(folder, 2, &["eval", "--run", "nothing"]);
    contains(
        &refused.failed(1),
        &["`aweigh train` alone works in several"],
    );
}

fn start(mut command: Command) -> Child {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.spawn().expect("mpirun starts")
}

/// Waits until a path is there.
fn wait_for(path: &Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "{}",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for the end of all processes, not longer than they may take.
fn end(process: &mut Child) -> Run {
    let started = Instant::now();
    while process.try_wait().expect("a process").is_none() {
        if started.elapsed() > DEADLINE {
            process.kill().expect("kills");
            panic!("mpirun had not ended after {DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let read = |pipe: Option<&mut dyn std::io::Read>| {
        let mut text = String::new();
        pipe.expect("piped")
            .read_to_string(&mut text)
            .expect("UTF-8");
        text
    };
    let code = process.wait().expect("ended").code();
    Run {
        code: code.unwrap_or(-1),
        stdout: read(process.stdout.as_mut().map(|pipe| pipe as _)),
        stderr: read(process.stderr.as_mut().map(|pipe| pipe as _)),
    }
}

/// The process that `mpirun` has started as the one with this rank.
fn rank(mpirun: u32, rank: usize) -> u32 {
    let environment = format!("OMPI_COMM_WORLD_RANK={rank}");
    let entries = std::fs::read_dir("/proc").expect("Linux");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let of_rank = |id: &u32| {
        let folder = PathBuf::from(format!("/proc/{id}"));
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        let parent = format!("PPid:\t{mpirun}\n");
        read("status").contains(&parent) && read("environ").contains(&environment)
    };
    let mut found = ids.filter(of_rank);
    found.next().expect("mpirun has started the process")
}

fn signal(name: &str, process: u32) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .status();
    assert!(status.expect("kill").success());
}
