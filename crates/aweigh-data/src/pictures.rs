//! A look into the pictures of a dataset before they are needed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::batch::read_record;
use crate::decode::extent;
use crate::remark::Remark;
use crate::{CocoDataset, DataError, DecodeConfig, DecodedImage, Stored, decode, evenly_spread};

/// How often something was seen, and the first example in the order of the annotation file.
#[derive(Debug)]
pub struct Seen<T> {
    /// Number of pictures.
    pub count: usize,
    /// The first.
    pub first: Option<T>,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self {
            count: 0,
            first: None,
        }
    }
}

impl<T> Seen<T> {
    fn add(&mut self, example: T) {
        self.count += 1;
        self.first.get_or_insert(example);
    }
}

/// What was seen in pictures of a dataset.
#[derive(Debug, Default)]
pub struct Pictures {
    /// Pictures looked at. Files that do not exist are not among them.
    pub looked: usize,
    /// Pictures that cannot be decoded, or that the configuration refuses.
    pub unreadable: Seen<DataError>,
    /// Pictures of another size than declared.
    pub other_size: Seen<DataError>,
    /// Pictures that are to be turned to be upright, and how.
    pub oriented: Seen<(PathBuf, u8)>,
    /// Those of them whose size does not tell that their boxes refer to the same pixels.
    pub doubtful: Seen<(PathBuf, u8)>,
    /// Pictures of 16 bits that become next to one grey level, and their extreme samples.
    pub narrow: Seen<(PathBuf, [u16; 2])>,
    /// The smallest and the largest sample of all pictures of 16 bits.
    pub samples: Option<[u16; 2]>,
}

/// Decodes a picture that has no annotations. Warns of samples of 16 bits that become next to one
/// grey level.
///
/// # Errors
/// If the file is not a readable image.
pub fn read_picture(file: &Path, decoding: &DecodeConfig) -> Result<DecodedImage, DataError> {
    let picture = decode(file, decoding)?;
    if let Some(extent) = picture.stored.narrow(decoding.sixteen_bit) {
        Remark::Narrow(extent).warn(file, decoding);
    }
    Ok(picture)
}

/// Decodes pictures of a dataset, spread evenly over it, until all are done or `go_on` is false.
///
/// What is wrong with a picture is counted and never an error. `workers` threads decode; 0 decodes
/// in this one.
pub fn look_into(
    dataset: &CocoDataset,
    workers: usize,
    go_on: impl Fn() -> bool + Sync,
) -> Pictures {
    let count = dataset.images().len();
    let mut pictures = Pictures::default();
    let look = |index| Some(look(dataset, index)?.map(|image| image.stored));
    for (index, result) in spread(count, workers, go_on, look) {
        pictures.add(dataset, index, result);
    }
    pictures
}

/// As [`look_into`], at all pictures, with what `note` makes of each that can be read.
pub(crate) fn look_at_all<T: Send>(
    dataset: &CocoDataset,
    workers: usize,
    note: impl Fn(usize, &DecodedImage) -> T + Sync,
) -> (Pictures, Vec<(usize, T)>) {
    let look = |index| {
        let image = look(dataset, index)?;
        Some(image.map(|image| (image.stored, note(index, &image))))
    };
    let mut pictures = Pictures::default();
    let mut notes = Vec::new();
    for (index, result) in spread(dataset.images().len(), workers, || true, look) {
        let result = result.map(|(stored, note)| {
            notes.push((index, note));
            stored
        });
        pictures.add(dataset, index, result);
    }
    (pictures, notes)
}

/// The smallest and the largest sample of all pictures of 16 bits of a dataset; none where it has
/// no such picture. Those that cannot be read do not count.
pub fn measure_range(dataset: &CocoDataset, workers: usize) -> Option<[u16; 2]> {
    let decoding = &dataset.config().decoding;
    let measure = |index| extent(&dataset.image_path(index), decoding);
    let extents = spread(dataset.images().len(), workers, || true, measure);
    extents.into_iter().map(|(_, extent)| extent).reduce(join)
}

fn join([low, high]: [u16; 2], [lower, higher]: [u16; 2]) -> [u16; 2] {
    [low.min(lower), high.max(higher)]
}

/// A picture; nothing of a file that does not exist.
fn look(dataset: &CocoDataset, index: usize) -> Option<Result<DecodedImage, DataError>> {
    match read_record(dataset, index) {
        Err(DataError::ImageFile { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => {
            None
        }
        result => Some(result),
    }
}

impl Pictures {
    fn add(&mut self, dataset: &CocoDataset, index: usize, result: Result<Stored, DataError>) {
        self.looked += 1;
        let stored = match result {
            Ok(stored) => stored,
            Err(error @ DataError::SizeMismatch { .. }) => return self.other_size.add(error),
            Err(error) => return self.unreadable.add(error),
        };
        let decoding = &dataset.config().decoding;
        let path = dataset.image_path(index);
        if stored.orientation != 1 {
            self.oriented.add((path.clone(), stored.orientation));
        }
        for remark in Remark::of(&stored, decoding) {
            match remark {
                Remark::Orientation(orientation) => self.doubtful.add((path.clone(), orientation)),
                Remark::Narrow(extent) => self.narrow.add((path.clone(), extent)),
            }
        }
        let all = self.samples.into_iter().chain(stored.samples);
        self.samples = all.reduce(join);
    }
}

/// Makes the items of `0..count` in parallel, in an order of which every beginning is spread
/// evenly, until all are made or `go_on` is false. Gives them, with their numbers, in rising order.
fn spread<T: Send>(
    count: usize,
    workers: usize,
    go_on: impl Fn() -> bool + Sync,
    make: impl Fn(usize) -> Option<T> + Sync,
) -> Vec<(usize, T)> {
    let (next, number) = (AtomicUsize::new(0), evenly_spread(count));
    let work = || {
        let mut made = Vec::new();
        while go_on() {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            if turn >= count {
                break;
            }
            let index = number(turn);
            made.extend(make(index).map(|item| (index, item)));
        }
        made
    };
    let mut made = thread::scope(|scope| {
        // This thread works too: should the system refuse all others, nothing but time is lost.
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..workers.min(count)).filter_map(start).collect();
        let mut made = work();
        for other in others {
            let more = other.join();
            made.extend(more.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        made
    });
    made.sort_unstable_by_key(|(index, _)| *index);
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_made_once_in_order_by_any_number_of_workers() {
        for workers in [0, 1, 2, 50] {
            for count in [0, 1, 2, 7, 100] {
                let made = spread(count, workers, || true, |index| Some(2 * index));
                let expected: Vec<_> = (0..count).map(|index| (index, 2 * index)).collect();
                assert_eq!(made, expected, "{workers} workers");
            }
        }
        let odd = spread(10, 2, || true, |index| (index % 2 == 1).then_some(()));
        assert_eq!(odd.len(), 5);
    }

    #[test]
    fn what_is_made_before_the_end_is_spread_evenly() {
        let left = AtomicUsize::new(20);
        let go_on =
            || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        let made = spread(1000, 1, || go_on().is_ok(), Some);
        assert_eq!(made.len(), 20);
        for pair in made.windows(2) {
            let gap = pair[1].0 - pair[0].0;
            assert!((15..=100).contains(&gap), "{made:?}");
        }
    }
}
