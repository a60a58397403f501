//! Training sets within their wrappers, of mmdetection 2.x and 3.x.

use aweigh_data::{SamplingConfig, SamplingKind};

use super::super::splits::MOST_REPEATS;
use super::options::{Options, Refusal};
use super::pipeline::Pipeline;

/// A training set without its wrappers.
pub(super) struct TrainSet<'a> {
    /// At least one.
    members: Vec<Member<'a>>,
    /// Passes over the images in what is called an epoch.
    pub(super) repeats: usize,
    pub(super) sampling: SamplingConfig,
}

/// An annotation file.
struct Member<'a> {
    options: Options<'a>,
    /// Times that a pass has each image.
    repeat: usize,
}

/// What all annotation files of a training set share.
#[derive(Debug, PartialEq)]
pub(super) struct Common {
    pub(super) pipeline: Pipeline,
    /// Leave images without boxes out.
    pub(super) filter_empty: bool,
    /// Leave images with a shorter side than this out.
    pub(super) min_size: usize,
}

impl TrainSet<'_> {
    /// What the annotation files share; those that differ from the first are refused.
    pub(super) fn common(
        &self,
        read: impl Fn(&Options<'_>) -> Result<Common, Refusal>,
    ) -> Result<Common, Refusal> {
        let common = read(&self.members[0].options)?;
        for Member { options, .. } in &self.members[1..] {
            let Common {
                pipeline,
                filter_empty,
                min_size,
            } = read(options)?;
            if pipeline != common.pipeline {
                return Err(options.refuse("pipeline", "known: the steps of the first dataset"));
            }
            if (filter_empty, min_size) != (common.filter_empty, common.min_size) {
                return Err(options.refuse("filter_cfg", "known: the filter of the first dataset"));
            }
        }
        Ok(common)
    }

    /// Times that a pass has each annotation file.
    pub(super) fn parts(&self) -> Vec<usize> {
        self.members.iter().map(|member| member.repeat).collect()
    }

    /// The annotation files, then that of validation.
    pub(super) fn annotations(&self, validation: String) -> Result<Vec<String>, Refusal> {
        let members = self.members.iter();
        let files = members.map(|member| annotations(&member.options));
        files.chain([Ok(validation)]).collect()
    }

    /// Refuses an option of the first annotation file.
    pub(super) fn refuse(&self, key: &str, expected: impl Into<String>) -> Refusal {
        self.members[0].options.refuse(key, expected)
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        let mut members = self.members.into_iter();
        members.try_for_each(|member| member.options.finish())
    }
}

/// Takes the wrappers off.
pub(super) fn train_set(options: Options<'_>) -> Result<TrainSet<'_>, Refusal> {
    match options.class()? {
        "RepeatDataset" => repeated(options),
        "ClassBalancedDataset" => balanced(options),
        "ConcatDataset" => {
            options.ignore(&["lazy_init", "ignore_keys", "verify_meta", "separate_eval"]);
            let set = concatenated(&options, "datasets")?;
            options.finish()?;
            Ok(set)
        }
        _ => {
            let known = [
                "CocoDataset",
                "RepeatDataset",
                "ClassBalancedDataset",
                "ConcatDataset",
            ];
            options.expect_class(&known)?;
            options.expect("test_mode", false)?;
            Ok(TrainSet {
                members: vec![Member { options, repeat: 1 }],
                repeats: 1,
                sampling: SamplingConfig::default(),
            })
        }
    }
}

fn repeated(options: Options<'_>) -> Result<TrainSet<'_>, Refusal> {
    let inner = train_set(options.needed_table("dataset")?)?;
    let repeats = options.needed_size("times")?.saturating_mul(inner.repeats);
    if !(1..=MOST_REPEATS).contains(&repeats) {
        let expected = format!("from 1 to {MOST_REPEATS} passes over the images are known");
        return Err(options.refuse("times", expected));
    }
    options.ignore(&["lazy_init"]);
    options.finish()?;
    Ok(TrainSet { repeats, ..inner })
}

/// Repeats of all images change no share of a class, and so may lie in or around this wrapper.
fn balanced(options: Options<'_>) -> Result<TrainSet<'_>, Refusal> {
    let inner = train_set(options.needed_table("dataset")?)?;
    if inner.sampling != SamplingConfig::default() {
        let expected = "known: one such wrapper around all datasets";
        return Err(options.refuse("type", expected));
    }
    // In 2.x, images without boxes can be a class of their own.
    options.expect("filter_empty_gt", true)?;
    options.ignore(&["lazy_init"]);
    let sampling = SamplingConfig {
        kind: SamplingKind::ClassBalanced,
        oversample_thr: Some(options.number("oversample_thr")?),
        ..SamplingConfig::default()
    };
    options.finish()?;
    Ok(TrainSet { sampling, ..inner })
}

/// The datasets in a list, one after the other.
pub(super) fn concatenated<'a>(options: &Options<'a>, key: &str) -> Result<TrainSet<'a>, Refusal> {
    let list = options.list(key)?.unwrap_or_default();
    if list.is_empty() {
        return Err(options.refuse(key, "expected a list of datasets"));
    }
    let mut members = Vec::new();
    for (at, dataset) in list.iter().enumerate() {
        let path = options.path(&format!("{key}[{at}]"));
        let inner = train_set(Options::of(&path, dataset)?)?;
        if inner.sampling != SamplingConfig::default() {
            let expected = "within a list, datasets without `ClassBalancedDataset` are known";
            return Err(options.refuse(key, expected));
        }
        members.extend(inner.members.into_iter().map(|member| Member {
            repeat: member.repeat.saturating_mul(inner.repeats),
            ..member
        }));
    }
    Ok(TrainSet {
        members,
        repeats: 1,
        sampling: SamplingConfig::default(),
    })
}

pub(super) fn common_3(set: &Options<'_>) -> Result<Common, Refusal> {
    set.ignore(&["metainfo", "backend_args", "serialize_data", "max_refetch"]);
    set.ignore(&["lazy_init", "return_classes", "data_prefix"]);
    set.expect_none("indices")?;
    let filter = set.table("filter_cfg")?;
    let (filter_empty, min_size) = match &filter {
        Some(filter) => (
            filter.flag_or("filter_empty_gt", false)?,
            filter.size_or("min_size", 0)?,
        ),
        None => (false, 0),
    };
    filter.map_or(Ok(()), Options::finish)?;
    Ok(Common {
        pipeline: Pipeline::read(set, "pipeline")?,
        filter_empty,
        min_size,
    })
}

pub(super) fn common_2(set: &Options<'_>) -> Result<Common, Refusal> {
    set.ignore(&["img_prefix", "classes", "seg_prefix", "file_client_args"]);
    set.expect_none("proposal_file")?;
    Ok(Common {
        pipeline: Pipeline::read(set, "pipeline")?,
        filter_empty: set.flag_or("filter_empty_gt", true)?,
        // What its dataset leaves out, whatever the configuration says.
        min_size: 32,
    })
}

/// The annotation file, in its folder.
pub(super) fn annotations(set: &Options<'_>) -> Result<String, Refusal> {
    let file = set.text("ann_file")?.unwrap_or("");
    let root = set.text("data_root")?.unwrap_or("");
    let between = match root.is_empty() || root.ends_with('/') {
        true => "",
        false => "/",
    };
    Ok(format!("{root}{between}{file}"))
}
