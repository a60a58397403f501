//! A synthetic detection dataset: shapes on textured backgrounds, with COCO annotations.
//!
//! Five classes (circle, square, triangle, star, ring), 8 to 200 pixels, that overlap but stay
//! visible to at least six tenths. Every 16th image holds a crowd region, every 25th is empty.
//! Only additions, multiplications, divisions and square roots of f64 are used, which every
//! platform rounds alike, so the files are the same byte for byte everywhere.

mod background;
mod canvas;
mod scene;
mod shapes;
mod write;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use shapes::Shape;

use crate::DataError;
use crate::random::{Stream, Topic};

/// What to generate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SynthConfig {
    /// Images of the training set. Default: 400.
    pub train: usize,
    /// Images of the validation set. Default: 100.
    pub val: usize,
    /// Seed. Default: 0. An image depends on the seed, its set and its number, not on how many
    /// images there are.
    pub seed: u64,
    /// Width of the images in pixels, at least 64. Default: 256.
    pub width: usize,
    /// Height of the images in pixels, at least 64. Default: 224.
    pub height: usize,
}

impl Default for SynthConfig {
    fn default() -> Self {
        Self {
            train: 400,
            val: 100,
            seed: 0,
            width: 256,
            height: 224,
        }
    }
}

impl SynthConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// If a value is out of range, naming its key.
    pub fn validate(&self) -> Result<(), DataError> {
        let fail = |key, reason: &str| {
            Err(DataError::Config {
                key,
                reason: reason.to_string(),
            })
        };
        if self.train == 0 {
            fail("train", "0; expected at least 1 image")
        } else if self.val == 0 {
            fail("val", "0; expected at least 1 image")
        } else if !(64..=4096).contains(&self.width) {
            fail("width", "expected 64 to 4096 pixels")
        } else if !(64..=4096).contains(&self.height) {
            fail("height", "expected 64 to 4096 pixels")
        } else {
            Ok(())
        }
    }
}

/// The two sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The training set.
    Train,
    /// The validation set.
    Val,
}

impl Split {
    /// `train` or `val`, as in the names of files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
        }
    }

    /// The annotation file of this set in a generated dataset.
    pub fn annotations(self, dataset: &Path) -> PathBuf {
        dataset
            .join("annotations")
            .join(format!("instances_{}.json", self.name()))
    }

    /// The folder of the images of this set in a generated dataset.
    pub fn images(self, dataset: &Path) -> PathBuf {
        dataset.join(self.name())
    }

    fn topic(self) -> Topic {
        match self {
            Self::Train => Topic::SynthTrain,
            Self::Val => Topic::SynthVal,
        }
    }
}

/// What was generated, both sets together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynthSummary {
    /// Images.
    pub images: usize,
    /// Boxes of single objects.
    pub boxes: usize,
    /// Crowd regions.
    pub crowds: usize,
    /// Images without any annotation.
    pub empty: usize,
}

/// Writes a dataset: `train/*.png`, `val/*.png` and `annotations/instances_{train,val}.json`.
///
/// It appears under its name only when it is complete: everything is written to a folder next to
/// it first, which is then renamed.
///
/// # Errors
/// If a value of `config` is out of range, `out` exists already, or a file cannot be written.
pub fn generate(config: &SynthConfig, out: &Path) -> Result<SynthSummary, DataError> {
    config.validate()?;
    write::atomically(out, |folder| {
        let mut summary = SynthSummary::default();
        for (split, count) in [(Split::Train, config.train), (Split::Val, config.val)] {
            write::split(folder, config, (split, count), &mut summary)?;
        }
        Ok(summary)
    })
}

/// Draws one image of a set.
fn draw(config: &SynthConfig, split: Split, index: usize) -> scene::Scene {
    let mut random = Stream::new(config.seed, split.topic(), 0, index as u64);
    let content = match index {
        _ if index % 25 == 12 => scene::Content::Empty,
        _ if index % 16 == 7 => scene::Content::WithCrowd,
        _ => scene::Content::Objects,
    };
    scene::draw([config.height, config.width], content, &mut random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CocoDataset, DatasetConfig, Purpose};

    fn tiny() -> SynthConfig {
        SynthConfig {
            train: 13,
            val: 2,
            seed: 3,
            ..SynthConfig::default()
        }
    }

    fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        for split in [Split::Train, Split::Val] {
            let path = split.annotations(folder);
            files.push((path.clone(), std::fs::read(&path).expect("reads")));
            for entry in std::fs::read_dir(split.images(folder)).expect("lists") {
                let path = entry.expect("entry").path();
                let bytes = std::fs::read(&path).expect("reads");
                files.push((path, bytes));
            }
        }
        for (path, _) in &mut files {
            *path = path.strip_prefix(folder).expect("inside").to_path_buf();
        }
        files.sort();
        files
    }

    #[test]
    fn same_seed_gives_the_same_bytes_and_a_valid_dataset() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let out = |name| folder.path().join("new/folders").join(name);
        let summary = generate(&tiny(), &out("a")).expect("generates");
        assert_eq!((summary.images, summary.empty), (15, 1));
        assert!(summary.crowds >= 1 && summary.boxes > 20, "{summary:?}");
        generate(&tiny(), &out("b")).expect("generates");
        assert_eq!(files(&out("a")), files(&out("b")));
        assert_eq!(files(&out("a")).len(), 17);

        let config = DatasetConfig::new(
            Split::Train.annotations(&out("a")),
            Split::Train.images(&out("a")),
        );
        let dataset = CocoDataset::open(&config, Purpose::Evaluate).expect("opens");
        assert_eq!(dataset.classes().len(), 5);
        assert_eq!((dataset.stats().images, dataset.stats().dropped()), (13, 0));
        // Nothing but the two datasets is left in the folder.
        let entries = std::fs::read_dir(folder.path().join("new/folders")).expect("lists");
        assert_eq!(entries.count(), 2);
    }

    #[test]
    fn an_existing_folder_is_not_touched() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let error = generate(&tiny(), folder.path()).expect_err("exists");
        assert!(error.to_string().contains("exists already"), "{error}");
    }

    #[test]
    fn an_image_does_not_depend_on_how_many_there_are() {
        let more = SynthConfig {
            train: 500,
            ..tiny()
        };
        let (a, b) = (draw(&tiny(), Split::Train, 4), draw(&more, Split::Train, 4));
        assert_eq!(a.canvas.pixels(), b.canvas.pixels());
        let other = draw(&tiny(), Split::Val, 4);
        assert_ne!(a.canvas.pixels(), other.canvas.pixels());
    }

    #[test]
    fn impossible_values_name_their_key() {
        let check = |change: fn(&mut SynthConfig), key: &str| {
            let mut config = tiny();
            change(&mut config);
            let message = config.validate().expect_err(key).to_string();
            assert!(message.starts_with(&format!("`{key}`: ")), "{message}");
        };
        check(|c| c.train = 0, "train");
        check(|c| c.val = 0, "val");
        check(|c| c.width = 63, "width");
        check(|c| c.height = 5000, "height");
    }
}
