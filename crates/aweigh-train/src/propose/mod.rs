//! Proposes an experiment for a dataset, a machine and a budget of time.
//!
//! The recipe is that of the small configurations in `configs/`: a small network on a small input
//! for the CPU. What follows from the dataset (input, levels, ranges) and from the machine (length
//! of the run, by measured steps) is explained in comments of the configuration.

mod network;
mod size;
mod text;
mod time;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aweigh_data::formats::{Prepared, PreparedSet};
use aweigh_data::{CocoDataset, Purpose};
use burn::tensor::Device;

use crate::TrainError;
use crate::config::{Backend, DataConfig, Experiment, SplitConfig};
use crate::statistics::Statistics;
use network::Network;
use size::Sizes;
use time::{Length, Work};

/// A method of detection, as a table of a configuration names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProposedMethod {
    /// FCOS.
    #[default]
    Fcos,
    /// FoveaBox.
    Fovea,
    /// FSAF's anchor-free branch.
    Fsaf,
    /// RepPoints.
    RepPoints,
    /// RetinaNet.
    Retina,
}

impl ProposedMethod {
    /// Every method.
    pub const ALL: [Self; 5] = [
        Self::Fcos,
        Self::Fovea,
        Self::Fsaf,
        Self::RepPoints,
        Self::Retina,
    ];

    /// The name of its table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fcos => "fcos",
            Self::Fovea => "fovea",
            Self::Fsaf => "fsaf",
            Self::RepPoints => "reppoints",
            Self::Retina => "retina",
        }
    }
}

impl fmt::Display for ProposedMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ProposedMethod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|method| method.name() == text);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown method `{text}`, expected one of {names}")
        })
    }
}

/// What an experiment is proposed for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wishes {
    /// The method; that of the weights where they are a whole detector's.
    pub method: ProposedMethod,
    /// How long training with its evaluations may take, in minutes; none for as long as the recipe
    /// takes.
    pub minutes: Option<f64>,
    /// Where it computes.
    pub backend: Backend,
    /// What it starts from: a backbone, or a model file of a whole detector.
    pub weights: Option<PathBuf>,
}

/// An experiment with the reasons for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// TOML with comments.
    pub text: String,
    /// What it says.
    pub experiment: Experiment,
}

/// Proposes an experiment; opens no picture. With a budget of time a few steps are timed on
/// `device`.
///
/// # Errors
///
/// When annotations or weights cannot be read, or there is nothing to learn.
pub fn propose(
    prepared: &Prepared,
    wishes: &Wishes,
    device: &Device,
) -> Result<Proposal, TrainError> {
    let split = |set: &PreparedSet| SplitConfig::new(&set.annotations, &set.images);
    let data = DataConfig::new(split(&prepared.train), Some(split(&prepared.val)));
    let dataset = CocoDataset::open_all(&data.train_sets(), Purpose::Train)?;
    let statistics = Statistics::of(&dataset);
    let network = Network::of(wishes)?;
    let draft = |sizes: &Sizes, length: &Length| {
        let parts = text::Parts {
            prepared,
            wishes,
            network: &network,
            sizes,
            length,
            statistics: &statistics,
        };
        let text = text::write(&parts);
        let experiment = Experiment::parse("the proposed configuration", &text, &[]);
        experiment.map(|experiment| Proposal { text, experiment })
    };
    let work = Work {
        images: statistics.images,
        batch: size::batch(wishes.backend, statistics.images),
        val: images(&prepared.val.annotations)?,
    };
    let recipe = Length::of_recipe(&work);
    let sizes = size::choose(&statistics, wishes.backend, &network, |sizes| {
        let proposal = draft(sizes, &recipe)?;
        size::part_learnt(&proposal.experiment, &dataset)
    })?;
    let proposal = draft(&sizes, &recipe)?;
    let Some(minutes) = wishes.minutes else {
        return Ok(proposal);
    };
    let mut timed = proposal.experiment;
    timed.detector.num_classes = Some(dataset.classes().len());
    let pace = time::measure(&timed, device)?;
    let length = Length::within(minutes, &work, &pace);
    Ok(draft(&sizes, &length)?)
}

/// Number of images in an annotation file.
fn images(annotations: &Path) -> Result<usize, TrainError> {
    let file = aweigh_data::annotations::AnnotationFile::read(annotations)?;
    Ok(file.images().len())
}
