//! One training in several processes: what they agree about, and the sums over all of them.

mod agreement;
mod reduce;
mod statistics;

use aweigh_data::Share;
use aweigh_distributed::{Failure, OtherProcess, ProcessGroup};

use crate::TrainError;
use crate::checkpoint::RunState;

pub(crate) use agreement::{check_same_run, check_same_weights};
pub(crate) use reduce::sum_gradients;
pub(crate) use statistics::share_statistics;

/// The result of this process, if every process has one: an error of one ends all.
///
/// # Errors
///
/// That of this process, or what another one says.
pub(crate) fn together<T>(
    group: &dyn ProcessGroup,
    own: Result<T, TrainError>,
) -> Result<T, TrainError> {
    aweigh_distributed::together(group, own).map_err(own_or_other)
}

/// What `work` gives in the first process, which alone does it.
///
/// # Errors
///
/// When it fails there: on all processes.
pub(crate) fn in_first<T, E: Into<TrainError>>(
    group: &dyn ProcessGroup,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<Option<T>, TrainError> {
    let done = group.is_first().then(work).transpose();
    together(group, done.map_err(Into::into))
}

/// What this process loads of an epoch.
pub(crate) fn share_of(group: &dyn ProcessGroup) -> Share {
    Share {
        rank: group.rank(),
        of: group.size(),
    }
}

/// The position in the run as the first process knows it, which alone evaluates.
pub(crate) fn share_state(group: &dyn ProcessGroup, own: &RunState) -> RunState {
    if group.size() == 1 {
        return own.clone();
    }
    let bytes = group.is_first().then(|| serde_json::to_vec(own));
    let bytes = bytes.map_or_else(Vec::new, |bytes| bytes.expect("a position is JSON"));
    let all = group.gather(&bytes);
    serde_json::from_slice(&all[0]).expect("processes run the same program")
}

/// The error of a group that cannot go on.
pub(crate) fn own_or_other(failure: Failure<TrainError>) -> TrainError {
    match failure {
        Failure::Own(error) => error,
        Failure::Other(other) => other.into(),
    }
}

impl From<OtherProcess> for TrainError {
    fn from(other: OtherProcess) -> Self {
        Self::OtherProcess(other)
    }
}
