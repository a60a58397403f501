//! The annotation files of an experiment with their images.

use std::fmt;
use std::path::PathBuf;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::check::in_range;
use super::error::Problem;

/// Most times that an annotation file may be repeated.
pub(super) const MOST_REPEATS: usize = 10_000;

/// An annotation file and its images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitConfig {
    /// COCO annotation file.
    pub annotations: PathBuf,
    /// Folder of the images.
    pub images: PathBuf,
    /// Times that each image occurs in a pass of training over the images. Default: 1.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub repeat: usize,
}

fn once() -> usize {
    1
}

fn is_once(repeat: &usize) -> bool {
    *repeat == once()
}

impl SplitConfig {
    /// An annotation file whose images occur once.
    pub fn new(annotations: impl Into<PathBuf>, images: impl Into<PathBuf>) -> Self {
        Self {
            annotations: annotations.into(),
            images: images.into(),
            repeat: once(),
        }
    }
}

/// What a run learns from: one annotation file, or several of which each has its table in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainSplits {
    /// At least one.
    splits: Vec<SplitConfig>,
}

impl TrainSplits {
    /// All annotation files, in the order in which their images follow each other.
    pub fn all(&self) -> &[SplitConfig] {
        &self.splits
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let range = 1.0..=MOST_REPEATS as f64;
        let what = format!("1 to {MOST_REPEATS} times");
        self.splits.iter().try_for_each(|split| {
            let repeat = split.repeat as f64;
            in_range("data.train.repeat", repeat, range.clone(), &what)
        })
    }
}

impl From<SplitConfig> for TrainSplits {
    fn from(split: SplitConfig) -> Self {
        Self {
            splits: vec![split],
        }
    }
}

impl TryFrom<Vec<SplitConfig>> for TrainSplits {
    type Error = &'static str;

    fn try_from(splits: Vec<SplitConfig>) -> Result<Self, Self::Error> {
        if splits.is_empty() {
            return Err("an empty list; expected at least one table");
        }
        Ok(Self { splits })
    }
}

impl Serialize for TrainSplits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.splits[..] {
            [split] => split.serialize(serializer),
            splits => splits.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TrainSplits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMore)
    }
}

/// Reads a table or a list of tables. Of our own, since an untagged enumeration cannot say what is
/// wrong in either.
struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = TrainSplits;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table with `annotations` and `images`, or a list of such tables")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TrainSplits, A::Error> {
        SplitConfig::deserialize(MapAccessDeserializer::new(map)).map(TrainSplits::from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<TrainSplits, A::Error> {
        let splits: Vec<SplitConfig> = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        TrainSplits::try_from(splits).map_err(A::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{ConfigError, Experiment};

    const SHORT: &str = "\
[data]
train = { annotations = \"a.json\", images = \"a\" }
[detector.fcos]
";

    const LIST: &str = "\
[data]
train = [
    { annotations = \"a.json\", images = \"a\" },
    { annotations = \"b.json\", images = \"b\", repeat = 3 },
]
[detector.fcos]
";

    fn parse(text: &str, overrides: &[&str]) -> Result<Experiment, ConfigError> {
        let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
        Experiment::parse("x.toml", text, &overrides)
    }

    #[test]
    fn training_images_are_one_table_or_a_list_of_tables() {
        let check = |text: &str, overrides: &[&str], expected: &[(&str, &str, usize)]| {
            let experiment = parse(text, overrides).unwrap_or_else(|error| panic!("{error}"));
            let sets = experiment.data.train_sets();
            let found: Vec<_> = sets
                .iter()
                .map(|set| (set.annotations.to_str(), set.images.to_str(), set.repeat))
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|(annotations, images, repeat)| (Some(*annotations), Some(*images), *repeat))
                .collect();
            assert_eq!(found, expected);
            assert_eq!(parse(&experiment.to_toml(), &[]).unwrap(), experiment);
        };
        check(SHORT, &[], &[("a.json", "a", 1)]);
        let argument = "data.train.annotations=c.json";
        check(SHORT, &[argument], &[("c.json", "a", 1)]);
        check(SHORT, &["data.train.repeat=2"], &[("a.json", "a", 2)]);
        check(LIST, &[], &[("a.json", "a", 1), ("b.json", "b", 3)]);
        let argument = "data.train=[{ annotations = \"c.json\", images = \"c\" }]";
        check(LIST, &[argument], &[("c.json", "c", 1)]);
        let tables = "[[data.train]]\nannotations = \"a.json\"\nimages = \"a\"\n[detector.fcos]\n";
        check(tables, &[], &[("a.json", "a", 1)]);
    }

    #[test]
    fn mistakes_in_training_images_name_place_and_key() {
        let check = |train: &str, expected: &str| {
            let text = format!("[data]\ntrain = {train}\n[detector.fcos]\n");
            let error = parse(&text, &[]).expect_err(expected).to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(
            "{ annotation = \"a\", images = \"b\" }",
            "x.toml:2:11: unknown key `data.train.annotation`, did you mean `annotations`?",
        );
        check(
            "{ annotations = \"a\" }",
            "x.toml:2:9: `data.train`: missing key `images`",
        );
        check(
            "[{ annotations = \"a\" }]",
            "x.toml:2:10: `data.train`: missing key `images`",
        );
        check(
            "[]",
            "x.toml:2:9: `data.train`: an empty list; expected at least one table",
        );
        check(
            "\"a.json\"",
            "x.toml:2:9: `data.train`: invalid type: string \"a.json\", expected a table with \
             `annotations` and `images`, or a list of such tables",
        );
        check(
            "[{ annotations = \"a\", images = \"b\", repeat = 0 }]",
            "x.toml:2:1: `data.train.repeat`: expected 1 to 10000 times, found 0",
        );
        let argument = "data.train.images=b";
        let error = parse(LIST, &[argument]).expect_err(argument).to_string();
        assert_eq!(
            error,
            "--set data.train.images=b: `data.train` is array, not a table"
        );
        let argument = "data.val={ annotations = \"a\", images = \"b\", repeat = 2 }";
        let error = parse(LIST, &[argument]).expect_err(argument).to_string();
        let expected = "`data.val.repeat`: evaluation uses every image once";
        assert!(error.contains(expected), "{error}");
    }
}
