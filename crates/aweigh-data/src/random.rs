//! Random numbers that depend on a position in the run, not on the order of execution.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a stream is for; streams of different purposes are independent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Topic {
    /// Order of the images in an epoch.
    Order,
    /// Augmentation of one image in an epoch.
    Augment,
    /// One image of the synthetic training set.
    SynthTrain,
    /// One image of the synthetic validation set.
    SynthVal,
    // New ones come last: the numbers are part of the keys of streams.
    /// The mosaic of one image in an epoch.
    Mosaic,
    /// What one image in an epoch is blended with.
    Mixup,
    /// The crop of one image in an epoch.
    Crop,
    /// The large-scale jitter of one image in an epoch.
    Jitter,
    /// The turns of one image in an epoch.
    Turn,
    /// The colours of one image in an epoch.
    Photometric,
    /// Which repeat factors a pass over the dataset rounds up.
    Rounding,
    /// Order of the images without boxes, of which a pass has a share.
    Empty,
}

/// A stream of random numbers: ChaCha8 whose 256-bit key is (seed, topic, epoch, index).
///
/// The draws are written out here instead of taken from `rand`'s distributions, whose algorithms
/// may change between versions and would change every run with them.
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of one position in the run.
    pub(crate) fn new(seed: u64, topic: Topic, epoch: u64, index: u64) -> Self {
        let mut key = [0; 32];
        let words = [seed, topic as u64, epoch, index];
        for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in `0..bound`, without bias: draws from the incomplete last interval are rejected.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        let limit = u64::MAX - u64::MAX % bound;
        loop {
            let draw = self.0.next_u64();
            if draw < limit {
                return (draw % bound) as usize;
            }
        }
    }

    /// Uniform in `[0, 1)` with 53 random bits.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `[low, high)`.
    pub(crate) fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform integer in `low..=high`.
    pub(crate) fn integer(&mut self, low: i32, high: i32) -> i32 {
        low + self.below((high - low + 1) as usize) as i32
    }

    /// Fisher-Yates shuffle.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64, topic: Topic, epoch: u64, index: u64) -> u64 {
        Stream::new(seed, topic, epoch, index).0.next_u64()
    }

    #[test]
    fn every_part_of_the_key_changes_the_stream() {
        let base = first(1, Topic::Order, 2, 3);
        assert_eq!(base, first(1, Topic::Order, 2, 3));
        for other in [
            first(2, Topic::Order, 2, 3),
            first(1, Topic::Augment, 2, 3),
            first(1, Topic::Order, 3, 3),
            first(1, Topic::Order, 2, 4),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn draws_stay_in_range_and_are_uniform() {
        let mut stream = Stream::new(0, Topic::Augment, 0, 0);
        let mut counts = [0; 6];
        for _ in 0..6000 {
            counts[stream.below(6)] += 1;
            assert!((0.0..1.0).contains(&stream.unit()));
            assert!((-2..=2).contains(&stream.integer(-2, 2)));
        }
        // 1000 expected, standard deviation 29: six deviations.
        assert!(counts.iter().all(|n| (825..1175).contains(n)), "{counts:?}");
    }

    #[test]
    fn shuffle_is_a_permutation() {
        let mut items: Vec<usize> = (0..50).collect();
        Stream::new(7, Topic::Order, 0, 0).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
