//! Pictures that are the same or alike, whatever their names.

use std::collections::HashMap;
use std::path::Path;

use image::RgbImage;
use image::imageops::thumbnail;
use sha2::{Digest, Sha256};

use crate::finding::{Counter, Finding, counted};
use crate::plain::plain;
use crate::{CocoDataset, DecodedImage};

/// Bits in which the hashes of pictures that look alike may differ.
const DIFFERENT: u32 = 2;
/// Bits that the hash of a picture with anything on it has, and lacks.
const TELLING: u32 = 8;

/// What tells pictures apart.
#[derive(Clone, Debug)]
pub(super) struct Fingerprint {
    /// SHA-256 of the file; none where it cannot be read again.
    digest: Option<[u8; 32]>,
    /// Whether each of 8 x 8 cells is darker than its right neighbour.
    hash: u64,
}

/// The fingerprints of a set, with the numbers of their images.
pub(super) struct Contents(pub(super) Vec<(usize, Fingerprint)>);

impl Fingerprint {
    pub(super) fn of(file: &Path, image: &DecodedImage) -> Self {
        let bytes = std::fs::read(file).ok();
        Self {
            digest: bytes.map(|bytes| Sha256::digest(bytes).into()),
            hash: difference_hash(image),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        let tells = (TELLING..=64 - TELLING).contains(&self.hash.count_ones());
        tells && (self.hash ^ other.hash).count_ones() <= DIFFERENT
    }
}

/// The difference hash `dHash` (<https://www.hackerfactor.com/blog/?/archives/529-Kind-of-Like-That.html>).
fn difference_hash(image: &DecodedImage) -> u64 {
    let (width, height) = (image.width as u32, image.height as u32);
    let Some(whole) = RgbImage::from_raw(width, height, image.pixels.clone()) else {
        return 0;
    };
    let small = thumbnail(&whole, 9, 8);
    let grey = |x: u32, y: u32| {
        small
            .get_pixel(x, y)
            .0
            .iter()
            .map(|v| u32::from(*v))
            .sum::<u32>()
    };
    let cells = (0..8).flat_map(|y| (0..8).map(move |x| (x, y)));
    cells.fold(0, |hash, (x, y)| {
        hash << 1 | u64::from(grey(x, y) < grey(x + 1, y))
    })
}

impl Contents {
    /// Pictures that a set has under several names.
    pub(super) fn repeated(&self, dataset: &CocoDataset) -> Option<Finding> {
        let mut first_of: HashMap<[u8; 32], usize> = HashMap::new();
        let mut repeated = Counter::default();
        for (index, fingerprint) in &self.0 {
            let Some(digest) = fingerprint.digest else {
                continue;
            };
            let first = *first_of.entry(digest).or_insert(*index);
            let name = |index: usize| &dataset.images()[index].file_name;
            // Images that share a file are another finding.
            if plain(Path::new(name(first))) != plain(Path::new(name(*index))) {
                repeated.add(|| format!("`{}` is `{}`", name(*index), name(first)));
            }
        }
        let first = repeated.first()?;
        let count = counted(repeated.count(), "picture is", "pictures are");
        let text = format!("{count} there under another name too (first: {first})");
        Some(Finding::warning(dataset.annotations(), text))
    }

    /// Pictures that two sets share under other paths, and those that look alike.
    pub(super) fn shared(
        &self,
        dataset: &CocoDataset,
        trained: &Self,
        train: &CocoDataset,
    ) -> Vec<Finding> {
        let by_digest: HashMap<[u8; 32], usize> = trained
            .0
            .iter()
            .filter_map(|(index, fingerprint)| Some((fingerprint.digest?, *index)))
            .collect();
        let (mut same, mut alike) = (Counter::default(), Counter::default());
        let pair = |index: usize, other: usize| {
            let (path, other) = (dataset.image_path(index), train.image_path(other));
            format!("{} and {}", path.display(), other.display())
        };
        for (index, fingerprint) in &self.0 {
            let found = fingerprint.digest.and_then(|digest| by_digest.get(&digest));
            match found {
                Some(other) => {
                    // The same path is another finding.
                    if plain(&dataset.image_path(*index)) != plain(&train.image_path(*other)) {
                        same.add(|| pair(*index, *other));
                    }
                }
                None => {
                    let like = trained
                        .0
                        .iter()
                        .find(|(_, other)| fingerprint.is_like(other));
                    if let Some((other, _)) = like {
                        alike.add(|| pair(*index, *other));
                    }
                }
            }
        }
        let all = self.0.len();
        let train = train.annotations().display();
        let same = same.first().map(|first| {
            let text = format!(
                "{} of {all} pictures are in {train} too, under other names (first: {first})",
                same.count()
            );
            Finding::warning(dataset.annotations(), text)
        });
        let alike = alike.first().map(|first| {
            let text = format!(
                "{} of {all} pictures look like some in {train} (first: {first})",
                alike.count()
            );
            Finding::note(dataset.annotations(), text)
        });
        same.into_iter().chain(alike).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(value: impl Fn(usize, usize) -> u8) -> Fingerprint {
        let pixels = (0..64 * 64)
            .flat_map(|at| [value(at % 64, at / 64); 3])
            .collect();
        let image = DecodedImage::made([64, 64], pixels);
        Fingerprint::of(Path::new("none"), &image)
    }

    #[test]
    fn brighter_copies_are_alike_and_other_pictures_are_not() {
        let waves = |x: usize, y: usize| (100.0 + 80.0 * ((x * y) as f64 / 90.0).sin()) as u8;
        let base = picture(waves);
        assert!(base.is_like(&picture(|x, y| waves(x, y) + 20)));
        assert!(!base.is_like(&picture(|x, y| waves(63 - x, y))));
        let grey = picture(|_, _| 128);
        assert!(!grey.is_like(&picture(|_, _| 30)));
    }
}
