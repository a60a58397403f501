//! Which images form which batch.

use crate::ImageRecord;
use crate::random::{Stream, Topic};

/// Order of the images of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// As in the annotation file.
    Sequential,
    /// Shuffled anew in each epoch.
    Shuffled {
        /// Seed of the run.
        seed: u64,
    },
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sampler {
    /// Images of a batch; only the last one of an epoch can have fewer.
    pub(crate) batch_size: usize,
    pub(crate) order: Order,
    pub(crate) grouping: Grouping,
}

impl Sampler {
    /// The batches of one epoch, as positions in `images`.
    ///
    /// With grouping, a batch is formed as soon as one of the two groups has enough images; what
    /// is left of both at the end is put together (mmdetection 3.x `AspectRatioBatchSampler`).
    pub(crate) fn batches(&self, images: &[ImageRecord], epoch: u64) -> Vec<Vec<usize>> {
        let mut places: Vec<usize> = (0..images.len()).collect();
        if let Order::Shuffled { seed } = self.order {
            Stream::new(seed, Topic::Order, epoch, 0).shuffle(&mut places);
        }
        match self.grouping {
            Grouping::None => self.chunks(&places),
            Grouping::AspectRatio => self.grouped(images, places),
        }
    }

    /// The number of batches of an epoch; the order of the images does not change it.
    pub(crate) fn count(&self, images: &[ImageRecord]) -> usize {
        let order = Order::Sequential;
        Self { order, ..*self }.batches(images, 0).len()
    }

    fn grouped(&self, images: &[ImageRecord], places: Vec<usize>) -> Vec<Vec<usize>> {
        let mut batches = Vec::new();
        let mut groups = [Vec::new(), Vec::new()];
        for place in places {
            let portrait = images[place].width < images[place].height;
            let group = &mut groups[usize::from(portrait)];
            group.push(place);
            if group.len() == self.batch_size {
                batches.push(std::mem::take(group));
            }
        }
        batches.extend(self.chunks(&groups.concat()));
        batches
    }

    fn chunks(&self, places: &[usize]) -> Vec<Vec<usize>> {
        let chunks = places.chunks(self.batch_size);
        chunks.map(<[usize]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_geometry::HostTruth;

    fn images(sizes: &[(u32, u32)]) -> Vec<ImageRecord> {
        let record = |&(width, height)| ImageRecord {
            id: 0,
            file_name: String::new(),
            width,
            height,
            truth: HostTruth::default(),
        };
        sizes.iter().map(record).collect()
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
            assert_eq!(sampler.batches(&images(&MIXED), 0), expected);
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
        let images = images(&[(4, 3); 40]);
        for grouping in [Grouping::None, Grouping::AspectRatio] {
            let epoch = |seed, epoch| {
                let sampler = Sampler {
                    batch_size: 3,
                    order: Order::Shuffled { seed },
                    grouping,
                };
                let places = sampler.batches(&images, epoch);
                assert_eq!(places.len(), sampler.count(&images));
                places.concat()
            };
            assert_eq!(epoch(1, 2), epoch(1, 2));
            assert_ne!(epoch(1, 2), epoch(1, 3));
            assert_ne!(epoch(1, 2), epoch(2, 2));
            let mut places = epoch(1, 2);
            places.sort_unstable();
            assert_eq!(places, (0..40).collect::<Vec<_>>());
        }
    }
}
