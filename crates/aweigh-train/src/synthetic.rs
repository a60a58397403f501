//! The synthetic dataset of an experiment.

use aweigh_data::synth;

use crate::TrainError;
use crate::config::Experiment;

/// Makes the synthetic dataset of an experiment where there is none.
///
/// # Errors
///
/// When it cannot be written.
pub(crate) fn make_synthetic(experiment: &Experiment) -> Result<(), TrainError> {
    let Some(synthetic) = &experiment.data.synth else {
        return Ok(());
    };
    let out = &synthetic.out;
    if !out.exists() {
        tracing::info!("making the synthetic dataset {}", out.display());
        synth::generate(&synthetic.config(), out)?;
    }
    Ok(())
}
