//! The smaller tables of an experiment.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use aweigh_conv::Algorithm;
use aweigh_data::synth::SynthConfig;
use aweigh_data::{
    AugmentConfig, DataError, DatasetConfig, DecodeConfig, Exif, LoaderConfig, OnBadImage,
    SamplingConfig, SixteenBit, TransformConfig,
};
use serde::{Deserialize, Serialize};

use super::check::at_least_one;
use super::error::Problem;
use super::splits::{SplitConfig, TrainSplits};

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The processor (Burn's Flex backend); in every build.
    #[default]
    Cpu,
    /// Any adapter that wgpu finds, on the best graphics API of the machine.
    Wgpu,
    /// An adapter of wgpu on Vulkan, with SPIR-V.
    Vulkan,
    /// An adapter of wgpu on Metal.
    Metal,
    /// NVIDIA's CUDA.
    Cuda,
    /// AMD's ROCm.
    Rocm,
}

impl Backend {
    /// Every backend, whether or not this build has it.
    pub const ALL: [Self; 6] = [
        Self::Cpu,
        Self::Wgpu,
        Self::Vulkan,
        Self::Metal,
        Self::Cuda,
        Self::Rocm,
    ];

    /// Name in configurations and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|backend| backend.name() == text);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown backend `{text}`, expected one of {names}")
        })
    }
}

/// Where a run computes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceConfig {
    /// Default: `cpu`.
    pub backend: Backend,
    /// Which of the backend's devices, as listed by `aweigh devices`. Default: 0.
    pub index: usize,
    /// Threads of the CPU backend; 0 takes every core. Default: 0.
    pub threads: usize,
}

/// How the CPU backend convolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConvConfig {
    /// Default: `fast`.
    pub algorithm: ConvAlgorithm,
}

/// Which sums a convolution on the CPU may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConvAlgorithm {
    /// The fastest: Winograd's transforms where they pay.
    #[default]
    Fast,
    /// Direct sums of products only.
    Exact,
}

impl From<ConvAlgorithm> for Algorithm {
    fn from(algorithm: ConvAlgorithm) -> Self {
        match algorithm {
            ConvAlgorithm::Fast => Self::Fast,
            ConvAlgorithm::Exact => Self::Exact,
        }
    }
}

/// The synthetic dataset, made when it is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SynthData {
    /// Folder of the dataset.
    pub out: PathBuf,
    /// Images for training. Default: 400.
    #[serde(default = "synth_train")]
    pub train: usize,
    /// Images for validation. Default: 100.
    #[serde(default = "synth_val")]
    pub val: usize,
    /// Seed of the images. Default: 0.
    #[serde(default)]
    pub seed: u32,
}

fn synth_train() -> usize {
    SynthConfig::default().train
}

fn synth_val() -> usize {
    SynthConfig::default().val
}

impl SynthData {
    /// What to generate.
    pub fn config(&self) -> SynthConfig {
        SynthConfig {
            train: self.train,
            val: self.val,
            seed: self.seed.into(),
            ..SynthConfig::default()
        }
    }
}

/// What a run learns from and is scored on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Training images: one table, or a list of tables whose classes are matched by name.
    pub train: TrainSplits,
    /// Validation images; absent: no evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val: Option<SplitConfig>,
    /// The synthetic dataset to make when `synth.out` does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synth: Option<SynthData>,
    /// Threads that decode images; 0 decodes in the training thread. Default: 2.
    #[serde(default = "two")]
    pub workers: usize,
    /// Batches decoded ahead, besides one per worker. Default: 2.
    #[serde(default = "two")]
    pub prefetch: usize,
    /// What a missing or corrupt image does. Default: `error`.
    #[serde(default)]
    pub on_bad_image: OnBadImage,
    /// What becomes of the EXIF orientation of a picture: `apply` turns it upright, as boxes of
    /// labelling tools expect; `ignore` keeps it as it is stored; `error` stops. Default: `apply`.
    #[serde(default)]
    pub exif: Exif,
    /// How samples of 16 bits become 8 bits: `full` takes 0 to 65535, `range` what is measured in
    /// the training pictures, `{ range = [low, high] }` these numbers. Default: `full`.
    #[serde(default)]
    pub sixteen_bit: SixteenBit,
    /// Largest number of pixels of a picture, width times height. Default: 200000000.
    #[serde(default = "max_pixels")]
    pub max_pixels: u64,
    /// Leave images without boxes out of training. Default: true.
    #[serde(default = "yes")]
    pub filter_empty: bool,
    /// Leave images whose shorter side has fewer pixels out of training. Default: 32.
    #[serde(default = "min_size")]
    pub min_size: u32,
    /// Batches of only wide or only high images. Default: true.
    #[serde(default = "yes")]
    pub aspect_grouping: bool,
    /// Memory for decoded training images, in units of 2^20 bytes, shared by all workers; 0 decodes
    /// every image anew in every epoch. The first images that fit are kept to the end of the run.
    /// Default: 0.
    #[serde(default)]
    pub cache_mb: usize,
    /// Which images an epoch of training has.
    #[serde(default)]
    pub sampling: SamplingConfig,
    /// From a picture to the network's input.
    #[serde(default)]
    pub transform: TransformConfig,
    /// What is done to training images at random, besides `transform.flip_prob` and
    /// `transform.multi_scale`. Default: nothing.
    #[serde(default)]
    pub augment: AugmentConfig,
}

fn two() -> usize {
    2
}

fn yes() -> bool {
    true
}

fn min_size() -> u32 {
    32
}

fn max_pixels() -> u64 {
    DecodeConfig::default().max_pixels
}

impl DataConfig {
    /// These splits, and every default.
    pub fn new(train: impl Into<TrainSplits>, val: Option<SplitConfig>) -> Self {
        Self {
            train: train.into(),
            val,
            synth: None,
            workers: two(),
            prefetch: two(),
            on_bad_image: OnBadImage::default(),
            exif: Exif::default(),
            sixteen_bit: SixteenBit::default(),
            max_pixels: max_pixels(),
            filter_empty: yes(),
            min_size: min_size(),
            aspect_grouping: yes(),
            cache_mb: 0,
            sampling: SamplingConfig::default(),
            transform: TransformConfig::default(),
            augment: AugmentConfig::default(),
        }
    }

    /// The annotation files of the training set, at least one.
    pub fn train_sets(&self) -> Vec<DatasetConfig> {
        let splits = self.train.all().iter();
        splits.map(|split| self.dataset(split)).collect()
    }

    /// A split as a dataset.
    pub fn dataset(&self, split: &SplitConfig) -> DatasetConfig {
        DatasetConfig {
            repeat: split.repeat,
            filter_empty: self.filter_empty,
            min_size: self.min_size,
            decoding: self.decoding(),
            ..DatasetConfig::new(&split.annotations, &split.images)
        }
    }

    /// How files become pixels.
    pub fn decoding(&self) -> DecodeConfig {
        DecodeConfig {
            exif: self.exif,
            sixteen_bit: self.sixteen_bit,
            max_pixels: self.max_pixels,
        }
    }

    /// How batches of `batch_size` images are loaded.
    pub fn loader(&self, batch_size: usize, seed: u64) -> LoaderConfig {
        LoaderConfig {
            batch_size,
            workers: self.workers,
            prefetch: self.prefetch,
            seed,
            on_bad_image: self.on_bad_image,
            aspect_grouping: self.aspect_grouping,
            cache_mb: self.cache_mb,
            augment: self.augment.clone(),
            sampling: self.sampling,
        }
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        if let Some(synth) = &self.synth {
            at_least_one("data.synth.train", synth.train)?;
            at_least_one("data.synth.val", synth.val)?;
        }
        self.train.check()?;
        if self.val.as_ref().is_some_and(|val| val.repeat != 1) {
            let message = "evaluation uses every image once; only `data.train` has repeats";
            return Err(Problem::new("data.val.repeat", message));
        }
        self.check_sampling()?;
        let decoding = self.decoding().validate();
        decoding.map_err(|error| problem("data", error))?;
        let transform = self.transform.validate();
        transform.map_err(|error| problem("data.transform", error))?;
        let augment = self.augment.validate();
        augment.map_err(|error| problem("data.augment", error))
    }

    fn check_sampling(&self) -> Result<(), Problem> {
        let sampling = self.sampling.validate();
        sampling.map_err(|error| problem("data.sampling", error))?;
        if self.sampling.empty_share.is_some() && self.filter_empty {
            let message = "needs `data.filter_empty = false`: otherwise images without boxes are \
                           left out";
            return Err(Problem::new("data.sampling.empty_share", message));
        }
        Ok(())
    }
}

/// An error of a value as one of a key in `table`.
fn problem(table: &str, error: DataError) -> Problem {
    match error {
        DataError::Config { key, reason } => Problem::new(&format!("{table}.{key}"), reason),
        other => Problem::new(table, other.to_string()),
    }
}

/// How a run is scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Images per forward pass. Default: 1.
    pub batch_size: usize,
    /// Detections of an image and a class that count, the best first. Default: 100, as COCO has
    /// it; more where images have more objects of one class.
    pub max_dets: usize,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            batch_size: 1,
            max_dets: 100,
        }
    }
}

impl EvalConfig {
    pub(super) fn check(&self) -> Result<(), Problem> {
        at_least_one("eval.batch_size", self.batch_size)?;
        at_least_one("eval.max_dets", self.max_dets)
    }
}

/// Where a run's results go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Folder of the run. Default: `runs/` and the name of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
}
