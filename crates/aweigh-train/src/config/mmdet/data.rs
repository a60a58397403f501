//! Datasets and loaders, of mmdetection 2.x and 3.x.

use aweigh_data::{AugmentConfig, SamplingConfig, TransformConfig};
use serde_json::Value;

use super::Version;
use super::options::{Options, Refusal};
use super::pipeline::{Colours, Pipeline, transform};
use super::train_set::{Common, annotations, common_2, common_3, concatenated, train_set};

/// What a configuration says about images.
#[derive(Debug)]
pub(super) struct Images {
    pub(super) transform: TransformConfig,
    /// What changes images of training at random.
    pub(super) augment: AugmentConfig,
    /// Leave images without boxes out.
    pub(super) filter_empty: bool,
    /// Leave images with a shorter side than this out.
    pub(super) min_size: u32,
    /// Batches of only wide or only high images.
    pub(super) aspect_grouping: bool,
    /// Images per step of one process.
    pub(super) per_process: usize,
    /// Passes over the images in what is called an epoch.
    pub(super) repeats: usize,
    /// Which images an epoch has.
    pub(super) sampling: SamplingConfig,
    /// How often an epoch has each annotation file of the training set.
    pub(super) parts: Vec<usize>,
    /// Where the configuration has its annotations, those of validation last.
    pub(super) annotations: Vec<String>,
}

impl Images {
    pub(super) fn read(
        config: &Options<'_>,
        model: &Options<'_>,
        version: Version,
    ) -> Result<Self, Refusal> {
        match version {
            Version::Two => Self::read_2(config),
            Version::Three => Self::read_3(config, model),
        }
    }

    fn read_3(config: &Options<'_>, model: &Options<'_>) -> Result<Self, Refusal> {
        let loader = config.needed_table("train_dataloader")?;
        loader.ignore(&[
            "num_workers",
            "persistent_workers",
            "pin_memory",
            "prefetch_factor",
        ]);
        loader.ignore(&["collate_fn", "sampler"]);
        loader.expect("drop_last", false)?;
        let set = train_set(loader.needed_table("dataset")?)?;
        let Common {
            pipeline,
            filter_empty,
            min_size,
        } = set.common(common_3)?;
        let (test, test_set) = test_3(config)?;
        let (colours, divisor) = preprocessor(config, model)?;
        let transform = transform(&pipeline, &test, colours, divisor);
        let images = Self {
            transform: transform.map_err(|e| set.refuse("pipeline", e))?,
            augment: pipeline.augment,
            filter_empty,
            min_size: min_size as u32,
            aspect_grouping: aspect_grouping(&loader)?,
            per_process: loader.needed_size("batch_size")?,
            repeats: set.repeats,
            sampling: set.sampling,
            parts: set.parts(),
            annotations: set.annotations(test_set)?,
        };
        set.finish()?;
        loader.finish()?;
        Ok(images)
    }

    fn read_2(config: &Options<'_>) -> Result<Self, Refusal> {
        let data = config.needed_table("data")?;
        data.ignore(&["workers_per_gpu", "persistent_workers"]);
        let set = match data.get("train") {
            Some(Value::Array(_)) => concatenated(&data, "train")?,
            _ => train_set(data.needed_table("train")?)?,
        };
        let Common {
            pipeline: train,
            filter_empty,
            min_size,
        } = set.common(common_2)?;
        let test_set = match data.table("val")? {
            Some(options) => options,
            None => data.needed_table("test")?,
        };
        data.ignore(&["test"]);
        let test = Pipeline::read(&test_set, "pipeline")?;
        if (train.colours, train.divisor) != (test.colours, test.divisor) {
            let expected = "the test normalises or pads as training does not";
            return Err(test_set.refuse("pipeline", expected));
        }
        let colours = train
            .colours
            .ok_or_else(|| set.refuse("pipeline", "a step `Normalize` is needed"))?;
        let transform = transform(&train, &test, colours, train.divisor.unwrap_or(1));
        let images = Self {
            transform: transform.map_err(|e| set.refuse("pipeline", e))?,
            augment: train.augment,
            filter_empty,
            min_size: min_size as u32,
            aspect_grouping: true,
            per_process: data.needed_size("samples_per_gpu")?,
            repeats: set.repeats,
            sampling: set.sampling,
            parts: set.parts(),
            annotations: set.annotations(annotations(&test_set)?)?,
        };
        set.finish()?;
        data.finish()?;
        Ok(images)
    }
}

/// Steps and annotations of validation, or of the test where there is none.
fn test_3(config: &Options<'_>) -> Result<(Pipeline, String), Refusal> {
    let loader = match config.table("val_dataloader")? {
        Some(loader) => loader,
        None => config.needed_table("test_dataloader")?,
    };
    let set = loader.needed_table("dataset")?;
    Ok((Pipeline::read(&set, "pipeline")?, annotations(&set)?))
}

fn aspect_grouping(loader: &Options<'_>) -> Result<bool, Refusal> {
    let Some(sampler) = loader.table("batch_sampler")? else {
        return Ok(false);
    };
    sampler.expect_class(&["AspectRatioBatchSampler"])?;
    sampler.expect("drop_last", false)?;
    sampler.finish()?;
    Ok(true)
}

/// What 3.x does to a batch: colours and padding.
fn preprocessor(config: &Options<'_>, model: &Options<'_>) -> Result<(Colours, u32), Refusal> {
    let options = match model.table("data_preprocessor")? {
        Some(options) => options,
        None => config.needed_table("data_preprocessor")?,
    };
    options.expect_class(&["DetDataPreprocessor"])?;
    options.ignore(&["pad_mask", "mask_pad_value", "pad_seg", "seg_pad_value"]);
    options.ignore(&["boxtype2tensor", "non_blocking"]);
    options.expect("rgb_to_bgr", false)?;
    options.expect("pad_value", 0)?;
    options.expect_none("batch_augments")?;
    let colours = Colours::read(&options, Version::Three)?;
    let divisor = options.size_or("pad_size_divisor", 1)?;
    options.finish()?;
    Ok((colours, divisor as u32))
}
