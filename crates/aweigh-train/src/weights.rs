//! Weights as files and folders, before there is a network for them.

use std::path::Path;

use aweigh_backbone::Backbone;
use aweigh_backbone::weights::WeightsError;
use aweigh_weights::{Import, Part, Skipped, Wanted, WeightsFile, recognise};

use crate::TrainError;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::config::{Experiment, StartsFrom};
use crate::import::source_sha256;
use crate::normalization;
use crate::run_folder::RunFolder;

/// Where tensors of a backbone lie that it has no use for.
pub(crate) const BEHIND: &str = "behind the backbone's last output";

/// Takes the tensors out of weights that the backbone has no use for, though its reference has them
/// ([`Backbone::leaves_out`]). Gives their names.
pub(crate) fn leave_out(import: &mut Import, backbone: &Backbone) -> Vec<String> {
    let prefix = match import.part {
        Part::Backbone => "",
        Part::Detector => "backbone.",
    };
    let unused = |name: &&String| {
        let own = name.strip_prefix(prefix);
        own.is_some_and(|own| backbone.leaves_out(own))
    };
    let names: Vec<String> = import.tensors.keys().filter(unused).cloned().collect();
    for name in &names {
        import.tensors.remove(name);
        import.skipped.push(Skipped {
            name: name.clone(),
            reason: BEHIND.to_owned(),
        });
    }
    names
}

/// Refuses weights to start from that are not there, before anything else takes its time.
pub(crate) fn check_weights_exist(experiment: &Experiment) -> Result<(), TrainError> {
    let path = match experiment.starts_from() {
        StartsFrom::Backbone(path) | StartsFrom::Detector(path) if !path.exists() => path,
        _ => return Ok(()),
    };
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let fetched = path
        .parent()
        .is_some_and(|folder| folder.ends_with("weights"))
        && path.extension().is_some_and(|end| end == "safetensors");
    Err(TrainError::MissingWeights {
        weights: path.into(),
        key: experiment.weights_key().unwrap_or("model.weights"),
        advice: if fetched {
            format!("`scripts/fetch_weights.sh {name}` fetches official ones of that name")
        } else {
            "a path is relative to the folder that aweigh is started in".to_owned()
        },
    })
}

/// Reads weights that are those of the configuration: by checksum, and by what they expect of
/// pixels.
pub(crate) fn open_checked(
    path: &Path,
    wanted: Wanted,
    experiment: &Experiment,
) -> Result<Import, TrainError> {
    let import = open_weights(path, wanted)?;
    check_sha256(&import, experiment)?;
    if let Some(expected) = &import.normalization {
        normalization::check(path, expected, experiment)?;
    }
    Ok(import)
}

/// Checks that weights, or the file that they were imported from, have the checksum of the
/// configuration: that of an imported file changes with the version that writes it.
fn check_sha256(import: &Import, experiment: &Experiment) -> Result<(), TrainError> {
    let Some(expected) = &experiment.model.weights.sha256 else {
        return Ok(());
    };
    let source = import.metadata.as_ref().and_then(|m| m.source.as_deref());
    let source = source.and_then(source_sha256);
    let digits = expected.to_lowercase();
    let mut known = source.into_iter().chain([import.sha256.as_str()]);
    if known.any(|sha256| sha256.starts_with(&digits)) {
        return Ok(());
    }
    Err(TrainError::Checksum {
        weights: import.path.clone(),
        found: import.sha256.clone(),
        source_sha256: source.map(str::to_owned),
        expected: expected.clone(),
    })
}

/// Reads and recognises weights, which may be given as the folder of a checkpoint or of a run.
pub(crate) fn open_weights(path: &Path, wanted: Wanted) -> Result<Import, TrainError> {
    let file = if path.is_dir() {
        checkpoint_in(path)?.evaluated_file()
    } else {
        path.to_path_buf()
    };
    let file = WeightsFile::open(&file).map_err(WeightsError::from)?;
    let import = recognise(file, wanted).map_err(WeightsError::from)?;
    warn_of_non_finite(&import);
    Ok(import)
}

fn warn_of_non_finite(import: &Import) {
    let Some((first, _)) = import.non_finite.first() else {
        return;
    };
    let values: usize = import.non_finite.iter().map(|(_, count)| count).sum();
    tracing::warn!(
        "{}: {values} values are infinite or no numbers, the first of them in {first}: a model with \
         them finds nothing",
        import.path.display()
    );
}

/// The checkpoint that weights are: in a folder, or as the file in it.
pub(crate) fn checkpoint_of(weights: &Path) -> Option<Checkpoint> {
    let checkpoint = if weights.is_dir() {
        checkpoint_in(weights).ok()?
    } else {
        let beside = Checkpoint::open(weights.parent()?).ok();
        beside.filter(|checkpoint| {
            let files = [Some(checkpoint.model_file()), checkpoint.ema_file()];
            files.iter().flatten().any(|file| file == weights)
        })?
    };
    // An exported model may have the same name.
    Some(checkpoint).filter(Checkpoint::has_state)
}

/// The checkpoint that a folder is, or the best one of the run in it.
fn checkpoint_in(folder: &Path) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::open(folder).or_else(|none| match RunFolder::open(folder) {
        Ok(run) => run.best_checkpoint(),
        Err(_) => Err(none),
    })
}
