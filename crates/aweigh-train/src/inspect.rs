//! A model as a table.

use aweigh_backbone::LayerInfo;
use aweigh_data::{CocoDataset, Purpose};

use crate::TrainError;
use crate::config::Experiment;
use crate::synthetic::make_synthetic;

/// The layers of a detector and their sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Height and width of the input, in pixels.
    pub input: [usize; 2],
    /// Number of classes.
    pub classes: usize,
    /// Every layer, from the image to the predictions.
    pub layers: Vec<LayerInfo>,
    /// Weights and biases.
    pub parameters: usize,
    /// Weights and biases that training changes.
    pub trainable: usize,
    /// Multiply-adds for one image.
    pub macs: u64,
}

/// Lists the layers of an experiment's detector for an input of `[height, width]` pixels.
///
/// Without `detector.num_classes` the classes are counted in the training annotations.
///
/// # Errors
///
/// When the number of classes is not known.
pub fn inspect(experiment: &Experiment, input: [usize; 2]) -> Result<Inspection, TrainError> {
    let mut config = experiment.detector.clone();
    let classes = match config.num_classes {
        Some(classes) => classes,
        None => {
            make_synthetic(experiment)?;
            let dataset = CocoDataset::open_all(&experiment.data.train_sets(), Purpose::Train);
            let dataset = dataset.map_err(|reason| TrainError::Classes { reason })?;
            dataset.classes().len()
        }
    };
    config.num_classes = Some(classes);
    let layers = config.layers(input)?;
    let trained = layers.iter().filter(|layer| layer.trainable);
    Ok(Inspection {
        input,
        classes,
        parameters: layers.iter().map(|layer| layer.params).sum(),
        trainable: trained.map(|layer| layer.params).sum(),
        macs: layers.iter().map(|layer| layer.macs).sum(),
        layers,
    })
}
