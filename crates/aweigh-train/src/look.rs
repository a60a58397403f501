//! A look at the data before the first step.

use aweigh_data::{CocoDataset, DataError, OnBadImage, check_files, shared_pictures};

use crate::TrainError;
use crate::config::{EvalConfig, Experiment};
use crate::evaluate::Validation;

/// Checks that every image has a file; where bad images are skipped, missing ones are a warning.
///
/// # Errors
///
/// When files are missing and bad images are not skipped.
pub(crate) fn files(dataset: &CocoDataset, on_bad_image: OnBadImage) -> Result<(), DataError> {
    match (check_files(dataset), on_bad_image) {
        (Err(error), OnBadImage::Skip) => {
            tracing::warn!("{error}");
            Ok(())
        }
        (checked, _) => checked,
    }
}

/// Warns when more detections are to count than the detector gives.
pub(crate) fn limits(experiment: &Experiment) -> Result<(), TrainError> {
    let limit = experiment.eval.max_dets;
    let given = experiment.detector.method()?.inference().max_per_image;
    if limit > EvalConfig::default().max_dets && limit > given {
        tracing::warn!(
            "eval.max_dets is {limit}, but the detector gives at most {given} detections of an \
             image: set max_per_image in its table `test` as well"
        );
    }
    Ok(())
}

/// Looks at both sets together: what is missing in one does not hide what is missing in the other.
///
/// # Errors
///
/// When files are missing, or the validation set cannot be opened.
pub(crate) fn both(
    train: &CocoDataset,
    validation: Option<Result<Validation, TrainError>>,
    on_bad_image: OnBadImage,
) -> Result<Option<Validation>, TrainError> {
    let validation = match (files(train, on_bad_image), validation.transpose()) {
        (Err(first), Err(second)) => {
            return Err(TrainError::Both(Box::new(first), Box::new(second)));
        }
        (Err(error), Ok(_)) => return Err(error.into()),
        (Ok(()), validation) => validation?,
    };
    if let Some(val) = &validation
        && let Some(shared) = shared_pictures(train, val.dataset())
    {
        shared.log();
    }
    Ok(validation)
}
