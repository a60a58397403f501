//! Repeat factors of images, by the rarest class in them.

use super::{SamplingConfig, SamplingKind};
use crate::ImageRecord;

/// Images with what counts for sampling.
#[derive(Clone, Copy)]
pub(super) struct Counted<'a> {
    pub(super) images: &'a [ImageRecord],
    /// How often each image is there.
    pub(super) repeats: &'a [usize],
    pub(super) classes: usize,
}

impl SamplingConfig {
    /// The factor of each image: how often a pass has it, its own repeats aside.
    pub(super) fn factors(&self, counted: Counted<'_>) -> Vec<f64> {
        let threshold = self.oversample_thr.unwrap_or(0.0);
        match self.kind {
            SamplingKind::Uniform => vec![1.0; counted.images.len()],
            SamplingKind::RepeatFactor => repeat_factors(counted, threshold),
            SamplingKind::ClassBalanced => {
                let factors = repeat_factors(counted, threshold);
                factors.into_iter().map(f64::ceil).collect()
            }
        }
    }
}

/// `r(I) = max_c r(c)` over the classes of the boxes of image I, where
/// `r(c) = max(1, sqrt(t / f(c)))` and `f(c)` is the share of images with class c; 1 for an image
/// without boxes (Gupta et al. 2019, LVIS; mmengine `ClassBalancedDataset._get_repeat_factors`).
fn repeat_factors(counted: Counted<'_>, threshold: f64) -> Vec<f64> {
    let mut with = vec![0; counted.classes];
    for (image, repeat) in counted.images.iter().zip(counted.repeats) {
        for label in distinct(image) {
            with[label] += repeat;
        }
    }
    let all = counted.repeats.iter().sum::<usize>() as f64;
    // No image asks for a class without images, whose factor is infinite.
    let factor = |with: usize| (threshold / (with as f64 / all)).sqrt().max(1.0);
    let by_class: Vec<f64> = with.into_iter().map(factor).collect();
    let of_image = |image: &ImageRecord| {
        let labels = image.truth.labels.iter();
        labels.map(|label| by_class[*label]).fold(1.0, f64::max)
    };
    counted.images.iter().map(of_image).collect()
}

/// The labels of an image, each once.
pub(super) fn distinct(image: &ImageRecord) -> Vec<usize> {
    let mut labels = image.truth.labels.clone();
    labels.sort_unstable();
    labels.dedup();
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::testing::image;

    #[test]
    fn factors_are_those_of_the_rarest_class() {
        // Class 0 in 6 of 8 images, 1 in 3, 2 in 1, 3 in none.
        let labels: [&[usize]; 8] = [&[0], &[0, 0], &[0], &[0, 1], &[1, 0], &[0, 1, 2], &[], &[]];
        let images: Vec<ImageRecord> = labels.iter().map(|labels| image(labels)).collect();
        let check = |threshold, repeats: [usize; 8], expected: [f64; 8]| {
            let counted = Counted {
                images: &images,
                repeats: &repeats,
                classes: 4,
            };
            assert_eq!(repeat_factors(counted, threshold), expected, "{threshold}");
        };
        // The same numbers as from mmengine 0.10 `ClassBalancedDataset._get_repeat_factors`.
        check(0.125, [1; 8], [1.0; 8]);
        // sqrt(0.5 / (3 / 8)) and sqrt(0.5 / (1 / 8)).
        let (rare, rarest) = (1.1547005383792515, 2.0);
        check(0.5, [1; 8], [1.0, 1.0, 1.0, rare, rare, rarest, 1.0, 1.0]);
        let (common, rare) = (1.1547005383792515, 1.632993161855452);
        let rarest = 2.8284271247461903;
        check(
            1.0,
            [1; 8],
            [common, common, common, rare, rare, rarest, 1.0, 1.0],
        );
        // With its image thrice, the rarest class is in 3 of 10, and class 1 in 5 of 10.
        let rarest = (0.5_f64 / 0.3).sqrt();
        check(
            0.5,
            [1, 1, 1, 1, 1, 3, 1, 1],
            [1.0, 1.0, 1.0, 1.0, 1.0, rarest, 1.0, 1.0],
        );
    }
}
