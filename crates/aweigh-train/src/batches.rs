//! The batches of a run, epoch after epoch.

use std::fmt;

use aweigh_data::{Epoch, HostBatch, Loader, Part, Share};
use aweigh_distributed::{ProcessGroup, exchange};

use crate::TrainError;
use crate::distributed::own_or_other;

/// A position in a run: the batch of an epoch that comes next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: usize,
    pub(crate) batch: usize,
}

/// One batch further in a run.
pub(crate) struct Advance {
    /// What this process has of the next batch. None where the rest of an epoch has no readable image.
    pub(crate) batch: Option<HostBatch>,
    /// Images of the batch in all processes.
    pub(crate) images: usize,
    /// The position behind it.
    pub(crate) position: Position,
}

/// Goes through the batches of a training set without end.
pub(crate) struct Batches {
    loader: Loader,
    share: Share,
    per_epoch: usize,
    position: Position,
    /// The rest of the current epoch; none before its first batch is asked for.
    epoch: Option<Epoch>,
}

impl Batches {
    /// The batches from `position` on, of which this process loads a share. Nothing is loaded before
    /// the first is asked for.
    pub(crate) fn new(loader: Loader, position: Position, share: Share) -> Self {
        Self {
            share,
            per_epoch: loader.batches_per_epoch(),
            loader,
            position,
            epoch: None,
        }
    }

    /// What the batches come from.
    pub(crate) fn loader(&self) -> &Loader {
        &self.loader
    }

    /// The next batch, or the end of an epoch whose last batches cannot be read. All processes get the
    /// same one, each its part of it.
    ///
    /// # Errors
    ///
    /// When an image cannot be read, in whichever process, or no image of a whole epoch can.
    pub(crate) fn advance(&mut self, group: &dyn ProcessGroup) -> Result<Advance, TrainError> {
        let Position { epoch, batch } = self.position;
        let (loader, share) = (&self.loader, self.share);
        let rest = self
            .epoch
            .get_or_insert_with(|| loader.epoch_share(epoch as u64, batch, share));
        let (batch, images) = next(rest, group)?;
        if batch.is_none() && self.position.batch == 0 {
            // Another epoch would be no better, and so on without end.
            let annotations = loader.dataset().name();
            return Err(TrainError::NoBatches { epoch, annotations });
        }
        let next = batch.as_ref().map_or(self.per_epoch, |b| b.index + 1);
        self.position.batch = next;
        if next >= self.per_epoch {
            self.epoch = None;
            self.position = Position {
                epoch: epoch + 1,
                batch: 0,
            };
        }
        let position = self.position;
        Ok(Advance {
            batch,
            images,
            position,
        })
    }

    /// The next batch that has an image.
    ///
    /// # Errors
    ///
    /// As of [`advance`](Self::advance).
    pub(crate) fn next_batch(&mut self, group: &dyn ProcessGroup) -> Result<HostBatch, TrainError> {
        loop {
            if let Some(batch) = self.advance(group)?.batch {
                return Ok(batch);
            }
        }
    }
}

/// What this process has of the next batch of which any has an image, as high and wide as in one
/// process, and the number of its images. No batch at the end of the epoch.
fn next(
    rest: &mut Epoch,
    group: &dyn ProcessGroup,
) -> Result<(Option<HostBatch>, usize), TrainError> {
    loop {
        let part = rest.next_part().transpose().map_err(TrainError::from);
        let (part, all) = match part {
            Ok(part) => {
                let batch = part.as_ref().and_then(|part| part.batch.as_ref());
                let all = exchange(group, Ok(size_of_part(batch)));
                (part, all)
            }
            Err(error) => (None, exchange(group, Err(error))),
        };
        let all = all.map_err(own_or_other)?;
        let images: u64 = all.iter().map(|[images, ..]| images).sum();
        let largest = |side: usize| all.iter().map(|size| size[side] as usize).max();
        match part {
            None => return Ok((None, 0)),
            Some(_) if images == 0 => {}
            Some(Part { index, batch }) => {
                let size = [1, 2].map(|side| largest(side).unwrap_or(0));
                let padded = batch.map(|batch| batch.pad_to(size));
                let batch = padded.unwrap_or_else(|| HostBatch::empty(index, size));
                return Ok((Some(batch), images as usize));
            }
        }
    }
}

/// Images, height and width of what a process has of a batch.
fn size_of_part(batch: Option<&HostBatch>) -> [u64; 3] {
    batch.map_or([0; 3], |batch| {
        let [_, _, height, width] = batch.shape;
        [batch.meta.len(), height, width].map(|count| count as u64)
    })
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches")
            .field("loader", &self.loader)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use aweigh_data::synth::{Split, SynthConfig, generate};
    use aweigh_data::{
        CocoDataset, DatasetConfig, LoaderConfig, OnBadImage, Purpose, TransformConfig,
    };

    use super::*;
    use aweigh_distributed::Alone;

    /// A dataset of five pictures, in batches of two: the loader of an epoch has three.
    fn loader(dir: &Path) -> Loader {
        let config = SynthConfig {
            train: 5,
            val: 1,
            seed: 7,
            width: 96,
            height: 64,
        };
        generate(&config, dir).unwrap();
        let config = DatasetConfig::new(Split::Train.annotations(dir), Split::Train.images(dir));
        let dataset = CocoDataset::open(&config, Purpose::Train).unwrap();
        let config = LoaderConfig {
            workers: 0,
            on_bad_image: OnBadImage::Skip,
            ..LoaderConfig::default()
        };
        Loader::train(Arc::new(dataset), TransformConfig::default(), config).unwrap()
    }

    /// The epoch, the next batch and the images of so many advances.
    fn advances(loader: &Loader, start: Position, count: usize) -> Vec<[usize; 3]> {
        let mut batches = Batches::new(loader.clone(), start, Share::default());
        let next = |_| {
            let Advance {
                batch, position, ..
            } = batches.advance(&Alone).unwrap();
            let images = batch.map_or(0, |batch| batch.meta.len());
            [position.epoch, position.batch, images]
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn epochs_follow_each_other_from_any_position() {
        let dir = tempfile::tempdir().unwrap();
        let loader = loader(&dir.path().join("data"));
        let all = advances(&loader, Position::default(), 7);
        let expected = [[0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1]];
        let places: Vec<[usize; 2]> = all
            .iter()
            .map(|[epoch, batch, _]| [*epoch, *batch])
            .collect();
        assert_eq!(places, expected);
        assert_eq!(all[..3].iter().map(|[.., images]| images).sum::<usize>(), 5);
        for (done, [epoch, batch, _]) in all.iter().enumerate() {
            let position = Position {
                epoch: *epoch,
                batch: *batch,
            };
            let rest = advances(&loader, position, 6 - done);
            assert_eq!(rest, all[done + 1..], "{position:?}");
        }
    }

    #[test]
    fn batches_that_cannot_be_read_end_an_epoch_or_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let loader = loader(&dir.path().join("data"));
        let mut batches = Batches::new(loader.clone(), Position::default(), Share::default());
        let first = batches.advance(&Alone).unwrap().batch.unwrap();
        let good: Vec<_> = first.meta.iter().map(|meta| meta.file.clone()).collect();
        let files: Vec<_> = (0..5)
            .map(|index| loader.dataset().image_path(index))
            .collect();
        let rest = files.iter().filter(|file| !good.contains(file));
        rest.for_each(|file| fs::write(file, "no picture").unwrap());
        let start = Position { epoch: 0, batch: 1 };
        assert_eq!(advances(&loader, start, 1), [[1, 0, 0]]);

        files
            .iter()
            .for_each(|file| fs::write(file, "none").unwrap());
        let error = Batches::new(loader, Position::default(), Share::default()).next_batch(&Alone);
        let message = error.unwrap_err().to_string();
        assert!(
            message.starts_with("epoch 0 has no usable image in "),
            "{message}"
        );
    }
}
