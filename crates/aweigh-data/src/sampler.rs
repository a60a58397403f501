//! Which images form which batch.

use std::sync::Arc;

use crate::ImageRecord;
use crate::sampling::{Sample, Samples};

/// The images of an epoch and their order.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Every image, as in the annotation file.
    Sequential,
    /// Anew in each epoch.
    Random(Arc<Samples>),
}

/// How images are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// In order.
    None,
    /// Images wider than high, or not, among themselves.
    AspectRatio,
}

/// How the images of a dataset become the batches of an epoch.
#[derive(Clone, Debug)]
pub(crate) struct Sampler {
    /// Images of a batch; only the last one of an epoch can have fewer.
    pub(crate) batch_size: usize,
    pub(crate) order: Order,
    pub(crate) grouping: Grouping,
}

impl Sampler {
    /// The batches of one epoch.
    ///
    /// With grouping, a batch is formed as soon as one of the two groups has enough images; what
    /// is left of both at the end is put together (mmdetection 3.x `AspectRatioBatchSampler`).
    pub(crate) fn batches(&self, images: &[ImageRecord], epoch: u64) -> Vec<Vec<Sample>> {
        let samples = match &self.order {
            Order::Sequential => sequential(images.len()),
            Order::Random(samples) => samples.epoch(epoch),
        };
        match self.grouping {
            Grouping::None => self.chunks(&samples),
            Grouping::AspectRatio => self.grouped(images, samples),
        }
    }

    /// The number of batches of an epoch. Grouping does not change it, whatever the images are:
    /// but for the last batch, all are full.
    pub(crate) fn count(&self, images: &[ImageRecord]) -> usize {
        let samples = match &self.order {
            Order::Sequential => images.len(),
            Order::Random(samples) => samples.count(),
        };
        samples.div_ceil(self.batch_size)
    }

    fn grouped(&self, images: &[ImageRecord], samples: Vec<Sample>) -> Vec<Vec<Sample>> {
        let mut batches = Vec::new();
        let mut groups = [Vec::new(), Vec::new()];
        for sample in samples {
            let image = &images[sample.place];
            let group = &mut groups[usize::from(image.width < image.height)];
            group.push(sample);
            if group.len() == self.batch_size {
                batches.push(std::mem::take(group));
            }
        }
        batches.extend(self.chunks(&groups.concat()));
        batches
    }

    fn chunks(&self, samples: &[Sample]) -> Vec<Vec<Sample>> {
        let chunks = samples.chunks(self.batch_size);
        chunks.map(<[Sample]>::to_vec).collect()
    }
}

fn sequential(images: usize) -> Vec<Sample> {
    let sample = |place| Sample {
        place,
        occurrence: 0,
    };
    (0..images).map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SamplingConfig;
    use crate::dataset::testing::{dataset, sized};

    fn images(sizes: &[(u32, u32)]) -> Vec<ImageRecord> {
        sizes.iter().map(|size| sized(*size, &[])).collect()
    }

    fn places(batches: &[Vec<Sample>]) -> Vec<Vec<usize>> {
        let batch = |batch: &Vec<Sample>| batch.iter().map(|sample| sample.place).collect();
        batches.iter().map(batch).collect()
    }

    const MIXED: [(u32, u32); 7] = [(4, 3), (3, 4), (4, 3), (4, 4), (3, 4), (4, 3), (3, 4)];

    #[test]
    fn sequential_batches() {
        let check = |batch_size, grouping, expected: &[&[usize]]| {
            let sampler = Sampler {
                batch_size,
                order: Order::Sequential,
                grouping,
            };
            let batches = sampler.batches(&images(&MIXED), 0);
            assert_eq!(places(&batches), expected);
            assert_eq!(sampler.count(&images(&MIXED)), expected.len());
        };
        check(3, Grouping::None, &[&[0, 1, 2], &[3, 4, 5], &[6]]);
        check(9, Grouping::None, &[&[0, 1, 2, 3, 4, 5, 6]]);
        // A square counts as landscape.
        check(2, Grouping::AspectRatio, &[&[0, 2], &[1, 4], &[3, 5], &[6]]);
        check(3, Grouping::AspectRatio, &[&[0, 2, 3], &[1, 4, 6], &[5]]);
        check(5, Grouping::AspectRatio, &[&[0, 2, 3, 5, 1], &[4, 6]]);
    }

    #[test]
    fn every_epoch_has_every_image_once_in_its_own_order() {
        let dataset = dataset(images(&[(4, 3); 40]));
        for grouping in [Grouping::None, Grouping::AspectRatio] {
            let epoch = |seed, epoch| {
                let samples = Samples::new(&dataset, &SamplingConfig::default(), seed);
                let sampler = Sampler {
                    batch_size: 3,
                    order: Order::Random(samples.expect("valid").into()),
                    grouping,
                };
                let batches = sampler.batches(dataset.images(), epoch);
                assert_eq!(batches.len(), sampler.count(dataset.images()));
                places(&batches).concat()
            };
            assert_eq!(epoch(1, 2), epoch(1, 2));
            assert_ne!(epoch(1, 2), epoch(1, 3));
            assert_ne!(epoch(1, 2), epoch(2, 2));
            let mut places = epoch(1, 2);
            places.sort_unstable();
            assert_eq!(places, (0..40).collect::<Vec<_>>());
        }
    }

    #[test]
    fn epochs_of_other_images_have_as_many_batches() {
        // Which of the wide and high images an epoch has differs.
        let sizes = [(4, 3), (4, 3), (3, 4), (3, 4), (4, 3), (3, 4), (3, 4)];
        let dataset = dataset(images(&sizes));
        for (epoch_images, batches) in [(1, 1), (4, 2), (5, 2), (6, 2), (10, 4), (22, 8)] {
            let config = SamplingConfig {
                epoch_images: Some(epoch_images),
                ..SamplingConfig::default()
            };
            let samples = Samples::new(&dataset, &config, 5).expect("valid");
            let sampler = Sampler {
                batch_size: 3,
                order: Order::Random(samples.into()),
                grouping: Grouping::AspectRatio,
            };
            assert_eq!(sampler.count(dataset.images()), batches, "{epoch_images}");
            for epoch in 0..20 {
                let found = sampler.batches(dataset.images(), epoch).len();
                assert_eq!(found, batches, "{epoch_images}, epoch {epoch}");
            }
        }
    }
}
