//! What sampling does to the classes of a dataset.

use super::factors::distinct;
use super::{Samples, SamplingKind};
use crate::CocoDataset;
use crate::finding::counted;

/// Classes that are named.
const SHOWN: usize = 10;

/// How often a class occurs in an epoch on average, and in the dataset.
struct ClassCount<'a> {
    name: &'a str,
    boxes: usize,
    /// Boxes of an epoch.
    epoch_boxes: f64,
    /// Images of an epoch with such a box.
    epoch_images: f64,
}

impl Samples {
    /// What to say of the images of an epoch and of its boxes by class; nothing where nobody asked
    /// for anything else than every image once.
    pub(crate) fn report(&self, dataset: &CocoDataset, kind: SamplingKind) -> Vec<String> {
        let expected = self.expected();
        let once = expected.iter().all(|times| *times == 1.0);
        if once && kind == SamplingKind::Uniform {
            return Vec::new();
        }
        let mut classes = counts(dataset, &expected);
        classes.sort_by_key(|class| class.boxes);
        let mut texts = vec![self.summary(dataset, &expected, &classes)];
        texts.extend(hardly_reached(&classes));
        texts
    }

    fn summary(
        &self,
        dataset: &CocoDataset,
        expected: &[f64],
        classes: &[ClassCount<'_>],
    ) -> String {
        let images = dataset.images().iter().zip(expected);
        let empty = images.filter(|(image, _)| image.is_empty());
        let empty: f64 = empty.map(|(_, times)| times).sum();
        let shown = classes.iter().take(SHOWN);
        let shown: Vec<String> = shown
            .map(|class| {
                let (name, boxes) = (class.name, class.boxes);
                format!("`{name}` {:.0} ({boxes})", class.epoch_boxes)
            })
            .collect();
        let rest = if classes.len() > SHOWN { ", ..." } else { "" };
        format!(
            "an epoch has {}, {empty:.0} of them without boxes; the dataset has {}; boxes of an \
             epoch (of the dataset), from the rarest class on: {}{rest}",
            counted(self.count(), "image", "images"),
            expected.len(),
            shown.join(", "),
        )
    }
}

/// What to say of classes that most epochs lack.
fn hardly_reached(classes: &[ClassCount<'_>]) -> Option<String> {
    let hardly = classes.iter().filter(|class| class.epoch_images < 1.0);
    let names: Vec<String> = hardly.map(|class| format!("`{}`", class.name)).collect();
    if names.is_empty() {
        return None;
    }
    let rest = if names.len() > SHOWN { ", ..." } else { "" };
    Some(format!(
        "{} of {} classes with boxes are in less than one image of an epoch on average: \
         {}{rest}; raise `data.sampling.epoch_images` to have them in every epoch",
        names.len(),
        classes.len(),
        names[..names.len().min(SHOWN)].join(", "),
    ))
}

/// The classes that have boxes.
fn counts<'a>(dataset: &'a CocoDataset, expected: &[f64]) -> Vec<ClassCount<'a>> {
    let classes = dataset.classes().iter();
    let mut counts: Vec<ClassCount<'_>> = classes
        .map(|class| ClassCount {
            name: &class.name,
            boxes: 0,
            epoch_boxes: 0.0,
            epoch_images: 0.0,
        })
        .collect();
    for (image, times) in dataset.images().iter().zip(expected) {
        for label in &image.truth.labels {
            counts[*label].boxes += 1;
            counts[*label].epoch_boxes += times;
        }
        for label in distinct(image) {
            counts[label].epoch_images += times;
        }
    }
    counts.retain(|class| class.boxes > 0);
    counts
}

#[cfg(test)]
mod tests {
    use crate::dataset::testing::{dataset, image};
    use crate::sampling::{Samples, SamplingConfig, SamplingKind};

    #[test]
    fn epochs_are_told_with_their_boxes_by_class() {
        let labels: [&[usize]; 8] = [&[0], &[0, 0], &[0], &[0, 1], &[1, 0], &[0, 1, 2], &[], &[]];
        let dataset = dataset(labels.iter().map(|labels| image(labels)).collect());
        let check = |config: SamplingConfig, expected: &[&str]| {
            let samples = Samples::new(&dataset, &config, 0).expect("valid");
            assert_eq!(samples.report(&dataset, config.kind), expected);
        };
        let plain = SamplingConfig::default();
        check(plain, &[]);
        let balanced = SamplingConfig {
            kind: SamplingKind::ClassBalanced,
            oversample_thr: Some(0.5),
            ..plain
        };
        check(
            balanced,
            &[
                "an epoch has 11 images, 2 of them without boxes; the dataset has 8; boxes of an \
               epoch (of the dataset), from the rarest class on: `c2` 2 (1), `c1` 6 (3), `c0` 10 \
               (7)",
            ],
        );
        let few = SamplingConfig {
            epoch_images: Some(4),
            ..plain
        };
        check(
            few,
            &[
                "an epoch has 4 images, 1 of them without boxes; the dataset has 8; boxes of an \
                 epoch (of the dataset), from the rarest class on: `c2` 0 (1), `c1` 2 (3), `c0` 4 \
                 (7)",
                "1 of 3 classes with boxes are in less than one image of an epoch on average: \
                 `c2`; raise `data.sampling.epoch_images` to have them in every epoch",
            ],
        );
    }
}
