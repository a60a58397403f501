//! Pictures as an experiment feeds them to the network.

use std::sync::Arc;

use aweigh_data::{CocoDataset, DecodedImage, ImageMeta, Loader, Purpose};
use aweigh_geometry::HostTruth;

use crate::TrainError;
use crate::config::Experiment;
use crate::synthetic::make_synthetic;

/// Which pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The first of an epoch, in its order, with what is random about them.
    Train {
        /// From 0.
        epoch: u64,
    },
    /// The first to validate on.
    Val,
}

/// An image of a batch, as the network gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownImage {
    /// The pixels, without normalisation.
    pub picture: DecodedImage,
    /// Boxes, labels and ignore regions, in pixels of the picture.
    pub truth: HostTruth,
    /// The way of the image into the batch.
    pub meta: ImageMeta,
}

/// Loads the first images of an epoch exactly as training or evaluation does. Gives the names of
/// the classes too.
///
/// # Errors
///
/// When the dataset cannot be used, or the experiment has none to validate on.
pub fn show(
    experiment: &Experiment,
    shown: Shown,
    images: usize,
) -> Result<(Vec<String>, Vec<ShownImage>), TrainError> {
    make_synthetic(experiment)?;
    let data = &experiment.data;
    let transform = data.transform.clone();
    let (loader, epoch) = match shown {
        Shown::Train { epoch } => {
            let dataset = CocoDataset::open_all(&data.train_sets(), Purpose::Train)?;
            let config = data.loader(experiment.train.batch_size, experiment.seed.into());
            (Loader::train(Arc::new(dataset), transform, config)?, epoch)
        }
        Shown::Val => {
            let split = data.val.as_ref().ok_or(TrainError::NoValidationSet)?;
            let dataset = CocoDataset::open(&data.dataset(split), Purpose::Evaluate)?;
            let config = data.loader(experiment.eval.batch_size, experiment.seed.into());
            (Loader::eval(Arc::new(dataset), transform, config)?, 0)
        }
    };
    let classes = loader.dataset().classes().iter();
    let names = classes.map(|class| class.name.clone()).collect();
    let mut all = Vec::new();
    for batch in loader.epoch(epoch, 0) {
        let batch = batch?;
        let each = (0..batch.truth.len()).map(|at| ShownImage {
            picture: batch.picture(at, &data.transform),
            truth: batch.truth[at].clone(),
            meta: batch.meta[at].clone(),
        });
        all.extend(each);
        if all.len() >= images {
            break;
        }
    }
    all.truncate(images);
    Ok((names, all))
}
