//! What is generated.

use std::ops::AddAssign;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::random::Topic;

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
    /// How many images a set has.
    pub(super) fn images(&self, split: Split) -> usize {
        match split {
            Split::Train => self.train,
            Split::Val => self.val,
        }
    }

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

    pub(super) fn topic(self) -> Topic {
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

impl AddAssign for SynthSummary {
    fn add_assign(&mut self, other: Self) {
        self.images += other.images;
        self.boxes += other.boxes;
        self.crowds += other.crowds;
        self.empty += other.empty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_name_their_key() {
        let check = |change: fn(&mut SynthConfig), key: &str| {
            let mut config = SynthConfig::default();
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
