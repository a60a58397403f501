use super::*;
use crate::parameters::Tensors;
use serde_json::json;

fn experiment() -> Experiment {
    let text = "[data]\ntrain = { annotations = \"a\", images = \"b\" }\n[detector.fcos]\n";
    Experiment::parse("x.toml", text, &[]).unwrap()
}

/// The folder of a new run whose process has ended.
fn make(dir: &Path) -> RunFolder {
    let folder = RunFolder::vacant(dir).unwrap();
    folder.create(&experiment()).unwrap();
    folder
}

/// Every file of a folder with its bytes, and every folder in it.
fn listing(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        files.push((path.clone(), fs::read(&path).unwrap_or_default()));
        if path.is_dir() {
            files.extend(listing(&path));
        }
    }
    files.sort();
    files
}

fn save_at(folder: &RunFolder, iteration: usize, keep: usize) {
    let mut state = RunState::new(Vec::new());
    state.iteration = iteration;
    let contents = Contents {
        model: &Tensors::new(),
        ema: None,
        optimizer: None,
        state: &state,
        config: "",
    };
    folder.save_last(&contents, keep).unwrap();
}

#[test]
fn a_folder_holds_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("a/b");
    let message = RunFolder::open(&dir).unwrap_err().to_string();
    assert!(
        message.ends_with("is not a run folder: it has no config.toml"),
        "{message}"
    );
    let folder = make(&dir);
    let mut expected = experiment();
    expected.run.dir = Some(dir.clone());
    assert_eq!(folder.experiment().unwrap(), expected);
    assert_eq!(RunFolder::open(&dir).unwrap(), folder);
    assert!(folder.best_checkpoint().is_err());
    assert_eq!(RunFolder::vacant(&dir).unwrap(), folder);
    save_at(&folder, 1, 1);
    let message = RunFolder::vacant(&dir).unwrap_err().to_string();
    assert!(message.contains("holds a run already"), "{message}");
}

fn rewind(folder: &RunFolder, iteration: usize, again: &[MetricsLine]) {
    if let Some(kept) = folder.rewound_metrics(iteration, again).unwrap() {
        folder.write_metrics(&kept).unwrap();
    }
}

#[test]
fn a_resumed_run_writes_its_metrics_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = make(dir.path());
    rewind(&folder, 0, &[]);
    for iteration in [10, 20, 30] {
        folder
            .append_metrics(&json!({"iteration": iteration}))
            .unwrap();
    }
    let path = folder.metrics_file();
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"iter");
    fs::write(&path, text).unwrap();
    rewind(&folder, 20, &[]);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, "{\"iteration\":10}\n{\"iteration\":20}\n");
    let evaluation = json!({"iteration": 20, "eval": {}});
    let check = |again: &[MetricsLine], expected: &str| {
        fs::write(&path, &text).unwrap();
        folder.append_metrics(&evaluation).unwrap();
        rewind(&folder, 20, again);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            format!("{{\"iteration\":10}}\n{expected}"),
            "{again:?}"
        );
    };
    let (losses, evaluated) = ("{\"iteration\":20}\n", "{\"iteration\":20,\"eval\":{}}\n");
    check(&[], &format!("{losses}{evaluated}"));
    check(&[MetricsLine::Evaluation], losses);
    check(&[MetricsLine::Losses], evaluated);
    check(&[MetricsLine::Losses, MetricsLine::Evaluation], "");
}

#[test]
fn the_latest_checkpoints_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let folder = make(dir.path());
    let iterations = |folder: &RunFolder| {
        let mut dirs = folder.all_kept();
        dirs.push(folder.last());
        let state = |dir: &PathBuf| Checkpoint::open(dir).unwrap().state().unwrap();
        dirs.iter()
            .map(|dir| state(dir).iteration)
            .collect::<Vec<_>>()
    };
    for iteration in [1, 2, 3, 4] {
        save_at(&folder, iteration, 3);
    }
    assert_eq!(iterations(&folder), [2, 3, 4]);
    save_at(&folder, 4, 3);
    assert_eq!(iterations(&folder), [2, 3, 4]);
    save_at(&folder, 5, 1);
    assert_eq!(iterations(&folder), [5]);
}

/// Readers find the checkpoint of `iteration` without a change in the folder, and the writer puts
/// it back.
fn check_recovered(folder: &RunFolder, iteration: usize) {
    let before = listing(folder.dir());
    let reader = RunFolder::open(folder.dir()).unwrap();
    for checkpoint in [reader.last_checkpoint(), reader.best_checkpoint()] {
        assert_eq!(checkpoint.unwrap().state().unwrap().iteration, iteration);
    }
    let message = RunFolder::vacant(folder.dir()).unwrap_err().to_string();
    assert!(message.contains("holds a run already"), "{message}");
    assert!(listing(folder.dir()) == before, "a reader changed files");
    folder.repair(&folder.lock().unwrap());
    let last = Checkpoint::open(&folder.last()).unwrap();
    assert_eq!(last.state().unwrap().iteration, iteration);
}

#[test]
fn files_that_a_killed_run_had_not_finished_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = make(dir.path());
    let before = listing(dir.path());
    fs::write(dir.path().join(".metrics.jsonl.7.tmp"), "{").unwrap();
    folder.repair(&folder.lock().unwrap());
    assert_eq!(listing(dir.path()), before);
}

#[test]
fn a_run_killed_between_two_renames_is_recovered() {
    let dir = tempfile::tempdir().unwrap();
    let folder = make(dir.path());
    save_at(&folder, 7, 2);
    fs::rename(folder.last(), folder.kept(7)).unwrap();
    check_recovered(&folder, 7);
    // The same with one checkpoint, after a time with two.
    save_at(&folder, 8, 2);
    fs::rename(folder.last(), backup(&folder.last())).unwrap();
    check_recovered(&folder, 8);
    // A rest of the checkpoint before is not newer.
    save_at(&folder, 9, 2);
    fs::create_dir(backup(&folder.last())).unwrap();
    fs::rename(folder.last(), folder.kept(9)).unwrap();
    check_recovered(&folder, 9);
}

#[test]
fn the_best_checkpoint_is_found_where_a_killed_run_left_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = make(dir.path());
    save_at(&folder, 3, 1);
    fs::rename(folder.last(), backup(&folder.best())).unwrap();
    save_at(&folder, 4, 1);
    let best = folder.best_checkpoint().unwrap();
    assert_eq!(best.state().unwrap().iteration, 3);
    folder.repair(&folder.lock().unwrap());
    assert_eq!(folder.best_checkpoint().unwrap().dir(), folder.best());
}

#[test]
fn a_folder_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("run");
    let folder = RunFolder::vacant(&dir).unwrap();
    assert!(!dir.exists());
    let lock = folder.create(&experiment()).unwrap();
    let expected = format!(
        "{} is being written by process {}: wait until it ends, or choose another folder",
        dir.display(),
        std::process::id()
    );
    let before = listing(&dir);
    let check = |error: RunError| assert_eq!(error.to_string(), expected);
    check(RunFolder::vacant(&dir).unwrap_err());
    check(folder.create(&experiment()).unwrap_err());
    check(folder.lock().unwrap_err());
    assert!(listing(&dir) == before, "a refused process changed files");
    drop(lock);
    folder.lock().unwrap();
    RunFolder::vacant(&dir).unwrap();
}
