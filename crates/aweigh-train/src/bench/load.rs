//! Timing of the loader.

use std::sync::Arc;
use std::time::Instant;

use aweigh_data::{CocoDataset, Loader, Purpose, Share};
use aweigh_distributed::Alone;

use super::{BenchOptions, Times};
use crate::TrainError;
use crate::batches::{Batches, Position};
use crate::config::Experiment;
use crate::synthetic::make_synthetic;

/// Times the loading of batches; gives `[height, width]` of the last one.
pub(super) fn data(
    experiment: &Experiment,
    options: &BenchOptions,
    times: &mut Times,
) -> Result<[usize; 2], TrainError> {
    make_synthetic(experiment)?;
    let data = &experiment.data;
    let dataset = CocoDataset::open_all(&data.train_sets(), Purpose::Train)?;
    let config = data.loader(options.batch, experiment.seed.into());
    let loader = Loader::train(Arc::new(dataset), data.transform.clone(), config)?;
    let mut batches = Batches::new(loader, Position::default(), Share::default());
    let mut size = options.size;
    // Batches that are ready when they are asked for cost nothing: each figure is the mean of many
    // more than the queue holds, and the queue's own come before the first.
    let queue = data.workers + data.prefetch;
    let group = 8 * (queue + 1);
    for figure in 0..=options.repeats {
        let count = if figure == 0 { queue } else { group };
        let started = Instant::now();
        for _ in 0..count {
            let [_, _, height, width] = batches.next_batch(&Alone)?.shape;
            size = [height, width];
        }
        if figure > 0 {
            let ms = started.elapsed().as_secs_f64() * 1000.0 / group as f64;
            times.steps.push(vec![("load", ms)]);
        }
    }
    Ok(size)
}
