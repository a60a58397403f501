//! Datasets and loaders, of mmdetection 2.x and 3.x.

use aweigh_data::TransformConfig;

use super::Version;
use super::options::{Options, Refusal};
use super::pipeline::{Colours, Pipeline, transform};

/// Passes over the images that an epoch may have, so that epochs stay countable.
const MAX_REPEATS: usize = 10_000;

/// What a configuration says about images.
#[derive(Debug)]
pub(super) struct Images {
    pub(super) transform: TransformConfig,
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
    /// Where the configuration has its annotations.
    pub(super) annotations: Vec<String>,
}

/// A training set within its wrappers.
struct TrainSet<'a> {
    options: Options<'a>,
    repeats: usize,
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
        set.options
            .ignore(&["metainfo", "backend_args", "serialize_data", "max_refetch"]);
        set.options
            .ignore(&["lazy_init", "return_classes", "data_prefix"]);
        set.options.expect_none("indices")?;
        let filter = set.options.table("filter_cfg")?;
        let (filter_empty, min_size) = match &filter {
            Some(filter) => (
                filter.flag_or("filter_empty_gt", false)?,
                filter.size_or("min_size", 0)?,
            ),
            None => (false, 0),
        };
        filter.map_or(Ok(()), Options::finish)?;
        let train = Pipeline::read(&set.options, "pipeline")?;
        let (test, test_set) = test_3(config)?;
        let (colours, divisor) = preprocessor(config, model)?;
        let transform = transform(&train, &test, colours, divisor);
        let images = Self {
            transform: transform.map_err(|e| set.options.refuse("pipeline", e))?,
            filter_empty,
            min_size: min_size as u32,
            aspect_grouping: aspect_grouping(&loader)?,
            per_process: loader.needed_size("batch_size")?,
            repeats: set.repeats,
            annotations: vec![annotations(&set.options)?, test_set],
        };
        set.options.finish()?;
        loader.finish()?;
        Ok(images)
    }

    fn read_2(config: &Options<'_>) -> Result<Self, Refusal> {
        let data = config.needed_table("data")?;
        data.ignore(&["workers_per_gpu", "persistent_workers"]);
        let set = train_set(data.needed_table("train")?)?;
        set.options
            .ignore(&["img_prefix", "classes", "seg_prefix", "file_client_args"]);
        set.options.expect_none("proposal_file")?;
        let train = Pipeline::read(&set.options, "pipeline")?;
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
        let colours = train.colours.ok_or_else(|| {
            set.options
                .refuse("pipeline", "a step `Normalize` is needed")
        })?;
        let transform = transform(&train, &test, colours, train.divisor.unwrap_or(1));
        let images = Self {
            transform: transform.map_err(|e| set.options.refuse("pipeline", e))?,
            filter_empty: set.options.flag_or("filter_empty_gt", true)?,
            // What its dataset leaves out, whatever the configuration says.
            min_size: 32,
            aspect_grouping: true,
            per_process: data.needed_size("samples_per_gpu")?,
            repeats: set.repeats,
            annotations: vec![annotations(&set.options)?, annotations(&test_set)?],
        };
        set.options.finish()?;
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

fn train_set(options: Options<'_>) -> Result<TrainSet<'_>, Refusal> {
    if options.class()? == "RepeatDataset" {
        let inner = train_set(options.needed_table("dataset")?)?;
        let repeats = options.needed_size("times")?.saturating_mul(inner.repeats);
        if !(1..=MAX_REPEATS).contains(&repeats) {
            let expected = format!("from 1 to {MAX_REPEATS} passes over the images are known");
            return Err(options.refuse("times", expected));
        }
        options.finish()?;
        return Ok(TrainSet { repeats, ..inner });
    }
    options.expect_class(&["CocoDataset"])?;
    options.expect("test_mode", false)?;
    let repeats = 1;
    Ok(TrainSet { options, repeats })
}

/// The annotation file, in its folder.
fn annotations(set: &Options<'_>) -> Result<String, Refusal> {
    let file = set.text("ann_file")?.unwrap_or("");
    let root = set.text("data_root")?.unwrap_or("");
    let between = match root.is_empty() || root.ends_with('/') {
        true => "",
        false => "/",
    };
    Ok(format!("{root}{between}{file}"))
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
