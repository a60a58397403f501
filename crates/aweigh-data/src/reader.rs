//! Decoded images of a dataset, kept in memory as far as they may be.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::batch::read_record;
use crate::{CocoDataset, DataError, DecodedImage};

/// Bytes in a unit of the configuration.
const MEGABYTE: usize = 1 << 20;

/// Decodes the images of a dataset, and keeps the first ones that fit into a budget.
///
/// None is ever given up for another: in shuffled epochs the image that was used last is the one
/// that is needed last, and a cache smaller than the dataset that keeps the most recent images
/// would never hit. What is read is the same with any budget.
#[derive(Debug)]
pub(crate) struct Reader {
    dataset: Arc<CocoDataset>,
    /// One for each image; none without a budget.
    kept: Vec<OnceLock<Arc<DecodedImage>>>,
    /// Bytes that may still be kept.
    left: AtomicUsize,
}

impl Reader {
    /// A reader that keeps up to `budget` times 2^20 bytes of pixels.
    pub(crate) fn new(dataset: Arc<CocoDataset>, budget: usize) -> Self {
        let images = if budget == 0 {
            0
        } else {
            dataset.images().len()
        };
        Self {
            dataset,
            kept: (0..images).map(|_| OnceLock::new()).collect(),
            left: AtomicUsize::new(budget.saturating_mul(MEGABYTE)),
        }
    }

    pub(crate) fn dataset(&self) -> &Arc<CocoDataset> {
        &self.dataset
    }

    /// Number of images.
    pub(crate) fn len(&self) -> usize {
        self.dataset.images().len()
    }

    /// Decodes an image and checks its size, or gives the one that is kept.
    ///
    /// # Errors
    /// If the file is not a readable image or has another size than declared.
    pub(crate) fn read(&self, index: usize) -> Result<Arc<DecodedImage>, DataError> {
        let Some(place) = self.kept.get(index) else {
            return read_record(&self.dataset, index).map(Arc::new);
        };
        if let Some(kept) = place.get() {
            return Ok(Arc::clone(kept));
        }
        let image = Arc::new(read_record(&self.dataset, index)?);
        if self.reserve(image.pixels.len()) && place.set(Arc::clone(&image)).is_err() {
            // Another worker was faster.
            self.left.fetch_add(image.pixels.len(), Ordering::Relaxed);
        }
        Ok(image)
    }

    /// Takes bytes off the budget; false where it has too few.
    fn reserve(&self, bytes: usize) -> bool {
        let take = |left: usize| left.checked_sub(bytes);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatasetConfig, Purpose};

    /// A reader of three images of 300 bytes, in memory, that may keep so many bytes.
    fn reader(folder: &std::path::Path, budget: usize) -> Reader {
        let record = |id| format!(r#"{{"id":{id},"file_name":"{id}.png","width":10,"height":10}}"#);
        let images = [1, 2, 3].map(record).join(",");
        let annotations = folder.join("a.json");
        let categories = r#"[{"id":1,"name":"a"}]"#;
        let text = format!(r#"{{"images":[{images}],"annotations":[],"categories":{categories}}}"#);
        std::fs::write(&annotations, text).expect("writes");
        for id in 1..=3 {
            let image = image::RgbImage::from_pixel(10, 10, image::Rgb([id; 3]));
            image
                .save(folder.join(format!("{id}.png")))
                .expect("writes");
        }
        let config = DatasetConfig::new(annotations, folder);
        let dataset = CocoDataset::open(&config, Purpose::Evaluate).expect("opens");
        Reader {
            left: AtomicUsize::new(budget),
            ..Reader::new(Arc::new(dataset), usize::from(budget > 0))
        }
    }

    #[test]
    fn the_first_images_that_fit_are_kept() {
        let check = |budget, kept: [bool; 3]| {
            let folder = tempfile::tempdir().expect("a folder");
            let reader = reader(folder.path(), budget);
            let first = [2, 0, 1].map(|index| reader.read(index).expect("reads"));
            for (image, index) in first.iter().zip([2, 0, 1]) {
                let again = reader.read(index).expect("reads");
                assert_eq!(again, *image);
                assert_eq!(Arc::ptr_eq(&again, image), kept[index], "{budget} {index}");
            }
            let bytes = 300 * kept.iter().filter(|kept| **kept).count();
            assert_eq!(reader.left.load(Ordering::Relaxed), budget - bytes);
        };
        check(0, [false; 3]);
        check(299, [false; 3]);
        check(300, [false, false, true]);
        check(899, [true, false, true]);
        check(900, [true; 3]);
    }

    #[test]
    fn an_image_that_several_threads_read_counts_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let reader = reader(folder.path(), 100_000);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for index in 0..3 {
                        reader.read(index).expect("reads");
                    }
                });
            }
        });
        assert_eq!(reader.left.load(Ordering::Relaxed), 100_000 - 900);
    }
}
