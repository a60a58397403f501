use std::cell::Cell;
#[cfg(target_os = "linux")]
use std::{fs::File, io::Write};

use burn::tensor::TensorData;

use super::*;

fn tensors(value: f32) -> Tensors {
    Tensors::from([(
        "a.weight".to_owned(),
        TensorData::new(vec![value; 4], [2, 2]),
    )])
}

fn write(dir: &Path, value: f32, storage: &dyn Storage) -> Result<(), CheckpointError> {
    let mut state = RunState::new(Vec::new());
    state.iteration = value as usize;
    let model = tensors(value);
    let contents = Contents {
        model: &model,
        ema: None,
        optimizer: Some(&model),
        state: &state,
        config: "seed = 0\n",
    };
    save(dir, None, &contents, storage)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A disk without space for the optimiser: those bytes go to the device that is always full.
#[cfg(target_os = "linux")]
struct FullDisk;

#[cfg(target_os = "linux")]
impl Storage for FullDisk {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if !path.ends_with(OPTIMIZER_FILE) {
            return Disk.write(path, bytes);
        }
        File::create(path)?.write_all(&bytes[..bytes.len() / 2])?;
        File::options()
            .write(true)
            .open("/dev/full")?
            .write_all(bytes)
    }
}

#[test]
fn a_checkpoint_replaces_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("last");
    for value in [1.0, 2.0] {
        write(&dir, value, &Disk).unwrap();
    }
    let checkpoint = Checkpoint::open(&dir).unwrap();
    assert_eq!(checkpoint.state().unwrap().iteration, 2);
    assert_eq!(checkpoint.optimizer().unwrap(), tensors(2.0));
    assert_eq!(names(folder.path()), ["last"]);
    assert_eq!(
        names(&dir),
        [CONFIG_FILE, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE]
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_keeps_the_old_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("last");
    let message = write(&dir, 1.0, &FullDisk).unwrap_err().to_string();
    assert!(message.contains("No space left on device"), "{message}");
    assert!(message.ends_with("nothing was left behind"), "{message}");
    assert!(names(folder.path()).is_empty());
    write(&dir, 1.0, &Disk).unwrap();
    let message = write(&dir, 2.0, &FullDisk).unwrap_err().to_string();
    assert!(message.starts_with(&format!("cannot write checkpoint {}", dir.display())));
    assert!(message.ends_with("the previous one is kept"), "{message}");
    assert_eq!(
        Checkpoint::open(&dir).unwrap().state().unwrap().iteration,
        1
    );
    assert_eq!(names(folder.path()), ["last"]);
}

#[test]
fn leftovers_of_a_killed_run_are_dealt_with() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("best");
    write(&dir, 1.0, &Disk).unwrap();
    fs::rename(&dir, backup(&dir)).unwrap();
    fs::create_dir(beside(&dir, "tmp")).unwrap();
    recover(&Checkpoint::open(&backup(&dir)).unwrap(), &dir);
    recover(&Checkpoint::open(&dir).unwrap(), &dir);
    assert_eq!(
        Checkpoint::open(&dir).unwrap().state().unwrap().iteration,
        1
    );
    write(&dir, 2.0, &Disk).unwrap();
    assert_eq!(names(folder.path()), ["best"]);
}

#[test]
fn the_position_is_replaced_and_the_rest_kept() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("last");
    write(&dir, 1.0, &Disk).unwrap();
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let mut state = checkpoint.state().unwrap();
    state.best = Some(Best {
        metric: Metric::Ap,
        value: 0.5,
        iteration: 1,
    });
    checkpoint.write_state(&state).unwrap();
    assert_eq!(checkpoint.state().unwrap(), state);
    assert_eq!(checkpoint.optimizer().unwrap(), tensors(1.0));
    assert_eq!(
        names(&dir),
        [CONFIG_FILE, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE]
    );
}

#[test]
fn a_state_of_an_older_version_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("last");
    write(&dir, 1.0, &Disk).unwrap();
    let text = r#"{"format": 1, "iteration": 1, "epoch": 0, "batch": 1, "best": null,
        "window": {"sums": [], "steps": 0}, "classes": []}"#;
    fs::write(dir.join(STATE_FILE), text).unwrap();
    let state = Checkpoint::open(&dir).unwrap().state().unwrap();
    assert!(!state.evaluation_due && state.data.is_none());
}

/// What a reader gets while the checkpoint is replaced during each of its first `replaced` reads.
fn read_while_replaced(replaced: usize) -> Result<(usize, Tensors), CheckpointError> {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("last");
    write(&dir, 1.0, &Disk).unwrap();
    let reads = Cell::new(0);
    read_whole(
        || Checkpoint::open(&dir),
        |checkpoint| {
            let state = checkpoint.state()?;
            if reads.replace(reads.get() + 1) < replaced {
                write(&dir, 2.0 + reads.get() as f32, &Disk).unwrap();
            }
            Ok((state.iteration, checkpoint.optimizer()?))
        },
    )
}

#[test]
fn a_reader_never_mixes_two_checkpoints() {
    let check = |replaced: usize, expected: usize| {
        let (iteration, optimizer) = read_while_replaced(replaced).unwrap();
        assert_eq!((iteration, optimizer), (expected, tensors(expected as f32)));
    };
    check(0, 1);
    check(1, 3);
    check(2, 4);
    let message = read_while_replaced(9).unwrap_err().to_string();
    assert!(
        message.ends_with("was replaced while it was read, 3 times in a row: try again"),
        "{message}"
    );
}

#[test]
fn broken_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("last");
    let message = Checkpoint::open(&dir).unwrap_err().to_string();
    assert!(message.contains("no checkpoint in"), "{message}");
    write(&dir, 1.0, &Disk).unwrap();
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let path = dir.join(OPTIMIZER_FILE);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let message = checkpoint.optimizer().unwrap_err().to_string();
    assert!(
        message.contains("optimizer.safetensors is damaged"),
        "{message}"
    );
    fs::write(dir.join(STATE_FILE), "{\"format\": 1").unwrap();
    let message = checkpoint.state().unwrap_err().to_string();
    assert!(
        message.contains("state.json is damaged or not a checkpoint"),
        "{message}"
    );
    fs::remove_file(dir.join(STATE_FILE)).unwrap();
    let message = checkpoint.state().unwrap_err().to_string();
    assert!(message.starts_with("cannot read "), "{message}");
}

#[test]
fn another_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("last");
    write(&dir, 1.0, &Disk).unwrap();
    let path = dir.join(STATE_FILE);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"format\": 1", "\"format\": 9")).unwrap();
    let message = Checkpoint::open(&dir)
        .unwrap()
        .state()
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("format 9, this program reads 1"),
        "{message}"
    );
}
