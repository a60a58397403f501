//! The images of an epoch of training, in their order.

use std::iter::repeat_n;

use super::SamplingConfig;
use super::factors::Counted;
use crate::random::{Stream, Topic};
use crate::{CocoDataset, DataError};

/// An image of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Position of the image in the dataset.
    pub(crate) place: usize,
    /// How many times the epoch has had the image before.
    pub(crate) occurrence: u32,
}

impl Sample {
    /// The index of its random draws: the place for the first occurrence in an epoch, another one
    /// for each further.
    pub(crate) fn index(self) -> u64 {
        u64::from(self.occurrence) << 32 | self.place as u64
    }
}

/// The images of the epochs of a run: each a function of the seed and the epoch, all equally many.
///
/// The images follow from an endless row of passes over the dataset, of which an epoch is a part.
/// What differs between passes keeps their length: as many repeat factors are rounded up as rounding
/// down cuts off whole images, and the number of images without boxes is fixed.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    seed: u64,
    /// Images of the dataset.
    images: usize,
    /// What every pass has: places of images, in rising order.
    fixed: Vec<usize>,
    /// The images that some passes have once more, with the probability.
    rounded: Vec<(usize, f64)>,
    /// How many of these a pass has.
    rounded_up: usize,
    /// The images without boxes, where a pass has a share of them.
    empty: Vec<usize>,
    /// How many of these a pass has.
    empty_count: usize,
    /// Images of an epoch.
    count: usize,
}

impl Samples {
    /// # Errors
    /// If a value of `config` is out of range, or there is nothing to draw images from.
    pub(crate) fn new(
        dataset: &CocoDataset,
        config: &SamplingConfig,
        seed: u64,
    ) -> Result<Self, DataError> {
        config.validate()?;
        let parts = dataset.parts().iter();
        if parts.clone().any(|part| part.config.repeat == 0) {
            return Err(DataError::Config {
                key: "repeat",
                reason: "0; expected at least 1".to_string(),
            });
        }
        let repeats: Vec<usize> = parts
            .flat_map(|part| repeat_n(part.config.repeat, part.images.len()))
            .collect();
        let counted = Counted {
            images: dataset.images(),
            repeats: &repeats,
            classes: dataset.classes().len(),
        };
        let mut samples = Self::all(counted, config, seed)?;
        if let Some(share) = config.empty_share {
            samples.draw_empty(share, dataset)?;
        }
        samples.count = config.epoch_images.unwrap_or(samples.pass_len());
        Ok(samples)
    }

    /// Every image as often as its factor says; those without boxes aside if there is a share.
    fn all(counted: Counted<'_>, config: &SamplingConfig, seed: u64) -> Result<Self, DataError> {
        let factors = config.factors(counted);
        let weights = counted.repeats.iter().zip(&factors);
        let weights: Vec<f64> = weights.map(|(repeat, r)| *repeat as f64 * r).collect();
        check_length(weights.iter().sum())?;
        let mut samples = Self {
            seed,
            images: counted.images.len(),
            fixed: Vec::new(),
            rounded: Vec::new(),
            rounded_up: 0,
            empty: Vec::new(),
            empty_count: 0,
            count: 0,
        };
        for (place, (image, weight)) in counted.images.iter().zip(weights).enumerate() {
            let whole = repeat_n(place, weight as usize);
            if config.empty_share.is_some() && image.is_empty() {
                samples.empty.extend(whole);
                continue;
            }
            samples.fixed.extend(whole);
            if weight.fract() > 0.0 {
                samples.rounded.push((place, weight.fract()));
            }
        }
        let cut_off: f64 = samples.rounded.iter().map(|(_, fraction)| fraction).sum();
        // Rounded down, so that no image is chosen twice: probabilities shrink, not grow.
        samples.rounded_up = cut_off as usize;
        Ok(samples)
    }

    /// Settles how many images without boxes a pass has.
    fn draw_empty(&mut self, share: f64, dataset: &CocoDataset) -> Result<(), DataError> {
        let others = (self.fixed.len() + self.rounded_up) as f64;
        let count = share / (1.0 - share) * others;
        check_length(others + count)?;
        self.empty_count = count.round() as usize;
        let missing = if others == 0.0 {
            "image with boxes"
        } else if self.empty_count == 0 || !self.empty.is_empty() {
            return Ok(());
        } else if dataset.config().filter_empty {
            "image without boxes: `data.filter_empty` leaves them out, set it to false"
        } else {
            "image without boxes"
        };
        Err(DataError::Config {
            key: "data.sampling.empty_share",
            reason: format!("{share}, but {} has no {missing}", dataset.name()),
        })
    }

    /// Images in an epoch; the same in every epoch.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Images in a pass; the same in every pass.
    fn pass_len(&self) -> usize {
        self.fixed.len() + self.rounded_up + self.empty_count
    }

    /// The images of an epoch in their order.
    pub(crate) fn epoch(&self, epoch: u64) -> Vec<Sample> {
        let start = epoch.saturating_mul(self.count as u64);
        let row = Row {
            round: self.pass_len(),
            start,
            count: self.count,
        };
        let mut seen = vec![0; self.images];
        let sample = |place: usize| {
            let occurrence = seen[place];
            seen[place] += 1;
            Sample { place, occurrence }
        };
        let places = row.take(|pass| self.pass(pass));
        places.into_iter().map(sample).collect()
    }

    /// The places of a pass over the dataset, shuffled.
    fn pass(&self, pass: u64) -> Vec<usize> {
        let mut places = self.fixed.clone();
        places.extend(self.round_up(pass));
        places.extend(self.empty_of(pass));
        Stream::new(self.seed, Topic::Order, pass, 0).shuffle(&mut places);
        places
    }

    /// Which images a pass has once more: as many as in any other, each with its probability.
    ///
    /// Systematic sampling (Madow 1949): probabilities lie one after the other on a line, on which
    /// points of equal distance and a common random start fall. The order on the line is random, so
    /// that neighbours in the annotation file are independent.
    fn round_up(&self, pass: u64) -> Vec<usize> {
        let mut stream = Stream::new(self.seed, Topic::Rounding, pass, 0);
        let mut line = self.rounded.clone();
        stream.shuffle(&mut line);
        let mut end = 0.0;
        for (_, fraction) in &mut line {
            end += *fraction;
            *fraction = end;
        }
        let start = stream.unit();
        let chosen = |number: usize| {
            let point = (start + number as f64) / self.rounded_up as f64 * end;
            let at = line.partition_point(|(_, end)| *end <= point);
            // Rounding may put the last point behind the end.
            line[at.min(line.len() - 1)].0
        };
        (0..self.rounded_up).map(chosen).collect()
    }

    /// The images without boxes of a pass: all of them occur before one occurs again.
    fn empty_of(&self, pass: u64) -> Vec<usize> {
        let row = Row {
            round: self.empty.len(),
            start: pass.saturating_mul(self.empty_count as u64),
            count: self.empty_count,
        };
        row.take(|round| {
            let mut places = self.empty.clone();
            Stream::new(self.seed, Topic::Empty, round, 0).shuffle(&mut places);
            places
        })
    }

    /// How often an epoch has each image on average.
    pub(super) fn expected(&self) -> Vec<f64> {
        let mut expected = vec![0.0; self.images];
        let mut add = |place: usize, times: f64| expected[place] += times;
        let cut_off: f64 = self.rounded.iter().map(|(_, fraction)| fraction).sum();
        let epochs = self.count as f64 / self.pass_len() as f64;
        for place in &self.fixed {
            add(*place, epochs);
        }
        for (place, fraction) in &self.rounded {
            add(*place, fraction * self.rounded_up as f64 / cut_off * epochs);
        }
        for place in &self.empty {
            let share = self.empty_count as f64 / self.empty.len() as f64;
            add(*place, share * epochs);
        }
        expected
    }
}

/// A part of an endless row of rounds of one length.
struct Row {
    /// Items of a round.
    round: usize,
    /// Where the part starts.
    start: u64,
    /// Items of the part.
    count: usize,
}

impl Row {
    /// The items of the part; `make` gives those of a round.
    fn take(&self, make: impl Fn(u64) -> Vec<usize>) -> Vec<usize> {
        if self.count == 0 {
            return Vec::new();
        }
        let round = self.round as u64;
        let skipped = (self.start % round) as usize;
        let rounds = (self.start / round..).flat_map(make);
        rounds.skip(skipped).take(self.count).collect()
    }
}

fn check_length(images: f64) -> Result<(), DataError> {
    if images <= SamplingConfig::MOST as f64 {
        return Ok(());
    }
    Err(DataError::Config {
        key: "data.sampling",
        reason: format!(
            "a pass over the dataset would have {images:.0} images; expected at most {}: lower \
             `repeat`, `oversample_thr` or `empty_share`",
            SamplingConfig::MOST
        ),
    })
}

#[cfg(test)]
mod tests;
