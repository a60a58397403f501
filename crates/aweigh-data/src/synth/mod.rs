//! A synthetic detection dataset: shapes on textured backgrounds, with COCO annotations.
//!
//! Five classes (circle, square, triangle, star, ring), 8 to 200 pixels, that overlap but stay
//! visible to at least six tenths. Every 16th image holds a crowd region, every 25th is empty.
//! Only additions, multiplications, divisions and square roots of f64 are used, which every
//! platform rounds alike, so the files are the same byte for byte everywhere.

mod background;
mod canvas;
mod config;
mod scene;
mod shapes;
mod write;

use std::path::Path;

use crate::DataError;
use crate::output::{self, Existing};

pub use config::{Split, SynthConfig, SynthSummary};
pub use shapes::Shape;

/// Writes a dataset: `train/*.png`, `val/*.png` and `annotations/instances_{train,val}.json`.
///
/// It appears under its name only when it is complete: everything is written to a folder next to
/// it first, which is then renamed.
///
/// # Errors
/// If a value of `config` is out of range, `out` exists already, or a file cannot be written.
pub fn generate(config: &SynthConfig, out: &Path) -> Result<SynthSummary, DataError> {
    config.validate()?;
    output::atomically(out, Existing::Refuse, |folder| {
        let mut summary = SynthSummary::default();
        for split in [Split::Train, Split::Val] {
            summary += write::split(folder, config, split)?;
        }
        Ok(summary)
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::scene::numbered;
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
        let (a, b) = (
            numbered(&tiny(), Split::Train, 4),
            numbered(&more, Split::Train, 4),
        );
        assert_eq!(a.canvas.pixels(), b.canvas.pixels());
        let other = numbered(&tiny(), Split::Val, 4);
        assert_ne!(a.canvas.pixels(), other.canvas.pixels());
    }
}
