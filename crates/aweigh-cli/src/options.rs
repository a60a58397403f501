//! Arguments that several commands share.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use aweigh_train::config::{Backend, DeviceConfig, Experiment};
use aweigh_train::device::{self, DeviceOverrides};
use aweigh_train::explain::AnnotatedImage;
use aweigh_train::model::{Trained, Which};
use aweigh_train::model_file::{History, OpenedModel};
use aweigh_train::run_folder::RunFolder;
use burn::tensor::Device;
use clap::{Args, ValueEnum};

/// What is said where no model is named.
const NO_MODEL: &str = "name a model: --run, --model";

/// Which experiment.
#[derive(Debug, Args)]
pub(crate) struct ConfigOptions {
    /// Configuration file, or the name of one in configs/
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
}

/// Changes to a configuration.
#[derive(Debug, Args)]
pub(crate) struct Overrides {
    /// Change a key of the configuration, such as train.lr=0.005; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Where to compute: the command line goes before the environment, that before the configuration.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Device")]
pub(crate) struct DeviceOptions {
    /// cpu, wgpu, vulkan, metal, cuda or rocm
    #[arg(
        long,
        value_name = "NAME",
        env = "AWEIGH_BACKEND",
        hide_env_values = true
    )]
    backend: Option<Backend>,
    /// Which of the backend's devices; 'aweigh devices' lists them
    #[arg(long, value_name = "N", env = "AWEIGH_DEVICE", hide_env_values = true)]
    device: Option<usize>,
    /// CPU threads, 0 for one per core
    #[arg(long, value_name = "N", env = "AWEIGH_THREADS", hide_env_values = true)]
    threads: Option<usize>,
}

/// A trained model: a run, a model file, or a configuration and weights.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelOptions {
    /// Configuration of the model, in place of a run
    #[arg(
        long,
        value_name = "FILE",
        requires = "weights",
        conflicts_with_all = ["run", "model"]
    )]
    config: Option<PathBuf>,
    #[command(flatten)]
    source: ModelSource,
}

/// A model that need not be trained: a run, or a configuration with or without weights.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct AnyModelOptions {
    /// Configuration of the model, in place of a run; without --weights its weights are random
    #[arg(long, value_name = "FILE", conflicts_with_all = ["run", "model"])]
    config: Option<PathBuf>,
    #[command(flatten)]
    source: ModelSource,
}

/// What a model is, beside its configuration.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
struct ModelSource {
    /// Folder of a run
    #[arg(long, value_name = "FOLDER")]
    run: Option<PathBuf>,
    /// Model file of 'aweigh export' or 'aweigh import', in place of a run
    #[arg(long, value_name = "FILE", conflicts_with = "run")]
    model: Option<PathBuf>,
    /// Which checkpoint of the run
    #[arg(
        long,
        value_name = "NAME",
        default_value = "best",
        conflicts_with_all = ["config", "model"]
    )]
    checkpoint: CheckpointName,
    /// Weights: a .safetensors or .pth file, or the folder of a checkpoint or of a run
    #[arg(long, value_name = "FILE", requires = "config")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    device: DeviceOptions,
}

/// A checkpoint of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckpointName {
    /// The one with the highest AP
    Best,
    /// The latest one
    Last,
}

impl CheckpointName {
    /// The name in file names.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Last => "last",
        }
    }
}

impl From<CheckpointName> for Which {
    fn from(name: CheckpointName) -> Self {
        match name {
            CheckpointName::Best => Self::Best,
            CheckpointName::Last => Self::Last,
        }
    }
}

/// A model with all that is needed to use it.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) experiment: Experiment,
    pub(crate) trained: Trained,
    pub(crate) device: Device,
    /// The run that it comes from, and which of its checkpoints.
    pub(crate) run: Option<(RunFolder, CheckpointName)>,
    /// What a model file says about how it came to be.
    history: History,
}

impl Model {
    /// How the model came to be: by its run, or as its file says.
    ///
    /// # Errors
    /// When files of the run cannot be read.
    pub(crate) fn history(&self) -> Result<History> {
        match &self.run {
            Some((run, checkpoint)) => Ok(History::of_run(run, (*checkpoint).into())?),
            None => Ok(self.history.clone()),
        }
    }
}

/// A configuration on its device, before any weights are read.
#[derive(Debug)]
pub(crate) struct ChosenModel<'a> {
    source: &'a ModelSource,
    experiment: Experiment,
    device: Device,
    origin: Origin,
}

/// Where a model comes from.
#[derive(Debug)]
enum Origin {
    Run(RunFolder),
    File(Box<OpenedModel>),
    Config,
}

/// A model, or what it takes to make one of random weights.
#[derive(Debug)]
pub(crate) enum AnyModel {
    Trained(Box<Model>),
    Untrained {
        experiment: Box<Experiment>,
        device: Device,
    },
}

impl ConfigOptions {
    /// Reads the configuration, with the changes of the command line.
    ///
    /// # Errors
    /// When the file or a change is wrong.
    pub(crate) fn load(&self) -> Result<Experiment> {
        Ok(Experiment::load(&self.config, &self.overrides.set)?)
    }
}

impl Overrides {
    /// Reads the configuration of a run, with the changes of the command line.
    ///
    /// # Errors
    /// When somebody broke the file, or a change is wrong.
    pub(crate) fn load_run(&self, run: &RunFolder) -> Result<Experiment> {
        let mut experiment = Experiment::load(&run.config_file(), &self.set)?;
        experiment.run.dir = Some(run.dir().to_owned());
        Ok(experiment)
    }
}

impl DeviceOptions {
    /// The backend that [`open`](Self::open) will choose.
    pub(crate) fn backend(self, experiment: &Experiment) -> Backend {
        self.backend.unwrap_or(experiment.device.backend)
    }

    /// Puts the choice of the command line and the environment into `experiment` and opens it.
    ///
    /// # Errors
    /// When there is no such device; the message lists what there is.
    pub(crate) fn open(self, experiment: &mut Experiment) -> Result<Device> {
        experiment.device = self.apply(&experiment.device);
        Ok(device::select(&experiment.device, &experiment.conv)?)
    }

    /// The device of a configuration, or that of the command line and the environment.
    pub(crate) fn apply(self, config: &DeviceConfig) -> DeviceConfig {
        let overrides = DeviceOverrides {
            backend: self.backend,
            index: self.device,
            threads: self.threads,
        };
        overrides.apply(config)
    }
}

impl ModelOptions {
    /// Loads the model.
    ///
    /// # Errors
    /// When configuration, device, run or weights cannot be used.
    pub(crate) fn open(&self) -> Result<Model> {
        let chosen = self.source.choose(self.config.as_deref())?;
        let by_config = |experiment: &Experiment, weights: &Path, device: &Device| {
            Ok(Trained::from_weights(experiment, weights, device)?)
        };
        match chosen.load_with(by_config)? {
            AnyModel::Trained(model) => Ok(*model),
            AnyModel::Untrained { .. } => bail!("{NO_MODEL}, or --config and --weights"),
        }
    }

    /// Sets the number of CPU threads where no model is opened.
    ///
    /// # Errors
    /// When threads were started before.
    pub(crate) fn set_threads(&self) -> Result<()> {
        let threads = self.source.device.threads;
        Ok(device::set_threads(threads.unwrap_or(0))?)
    }
}

impl AnyModelOptions {
    /// Reads the configuration and opens the device, which sets the number of CPU threads: that
    /// has to be done before anything uses some.
    ///
    /// # Errors
    /// When configuration, device or run cannot be used.
    pub(crate) fn choose(&self) -> Result<ChosenModel<'_>> {
        self.source.choose(self.config.as_deref())
    }
}

impl ModelSource {
    fn choose(&self, config: Option<&Path>) -> Result<ChosenModel<'_>> {
        let set = &self.overrides.set;
        let (mut experiment, origin) = match (&self.run, &self.model, config) {
            (Some(run), ..) => {
                let run = RunFolder::open(run)?;
                (self.overrides.load_run(&run)?, Origin::Run(run))
            }
            (None, Some(model), _) => {
                let model = OpenedModel::open(model)?;
                (model.experiment(set)?, Origin::File(Box::new(model)))
            }
            (None, None, Some(config)) => (Experiment::load(config, set)?, Origin::Config),
            (None, None, None) => bail!("{NO_MODEL}, or --config"),
        };
        let device = self.device.open(&mut experiment)?;
        Ok(ChosenModel {
            source: self,
            experiment,
            device,
            origin,
        })
    }

    /// The checkpoint of a run.
    fn load_run(&self, run: RunFolder, experiment: Experiment, device: Device) -> Result<Model> {
        let which = self.checkpoint.into();
        let trained = Trained::from_run(&run, which, &experiment, &device)?;
        tracing::info!("model of {}", trained.source.display());
        Ok(Model {
            experiment,
            trained,
            device,
            history: History::default(),
            run: Some((run, self.checkpoint)),
        })
    }
}

impl ChosenModel<'_> {
    /// Loads the model where it has weights. Classes that weights do not have are those of the
    /// annotations of `image`.
    ///
    /// # Errors
    /// When run or weights cannot be used.
    pub(crate) fn load(self, image: &AnnotatedImage) -> Result<AnyModel> {
        self.load_with(
            |experiment, weights, device| Ok(image.trained(experiment, weights, device)?),
        )
    }

    /// Loads the model where it has weights; `by_config` does where they come with a
    /// configuration.
    fn load_with(
        self,
        by_config: impl FnOnce(&Experiment, &Path, &Device) -> Result<Trained>,
    ) -> Result<AnyModel> {
        let (source, experiment, device) = (self.source, self.experiment, self.device);
        let (history, trained) = match (self.origin, &source.weights) {
            (Origin::Run(run), _) => {
                let model = source.load_run(run, experiment, device)?;
                return Ok(AnyModel::Trained(Box::new(model)));
            }
            (Origin::File(model), _) => (model.history(), model.load(&experiment, &device)?),
            (Origin::Config, Some(weights)) => {
                let trained = by_config(&experiment, weights, &device)?;
                (History::default(), trained)
            }
            (Origin::Config, None) => {
                let experiment = Box::new(experiment);
                return Ok(AnyModel::Untrained { experiment, device });
            }
        };
        Ok(AnyModel::Trained(Box::new(Model {
            experiment,
            trained,
            device,
            run: None,
            history,
        })))
    }
}

/// Height and width of an input: `512` or `800x1333`.
///
/// # Errors
/// What was expected.
pub(crate) fn input_size(text: &str) -> Result<[usize; 2], String> {
    /// The coarsest map of a backbone is 32 times smaller than the image.
    const SMALLEST: usize = 32;
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    match (height.parse(), width.parse()) {
        (Ok(height), Ok(width)) if height >= SMALLEST && width >= SMALLEST => Ok([height, width]),
        _ => Err(format!(
            "expected pixels such as 512, or HEIGHTxWIDTH such as 800x1333, of at least {SMALLEST}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_square_or_height_by_width() {
        let check = |text: &str, expected: Option<[usize; 2]>| {
            assert_eq!(input_size(text).ok(), expected, "{text}");
        };
        check("512", Some([512, 512]));
        check("800x1333", Some([800, 1333]));
        check("31", None);
        check("512x", None);
        check("big", None);
        check("1x2x3", None);
    }
}
