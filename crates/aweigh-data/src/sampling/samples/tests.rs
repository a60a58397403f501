use super::*;
use crate::dataset::testing::{dataset, image, in_parts};
use crate::{ImageRecord, SamplingKind};

const PLAIN: SamplingConfig = SamplingConfig {
    kind: SamplingKind::Uniform,
    oversample_thr: None,
    empty_share: None,
    epoch_images: None,
};

const EPOCHS: u64 = 400;

fn images(labels: &[&[usize]]) -> Vec<ImageRecord> {
    labels.iter().map(|labels| image(labels)).collect()
}

fn samples(dataset: &CocoDataset, config: SamplingConfig) -> Samples {
    Samples::new(dataset, &config, 9).expect("valid")
}

/// How often the images occur in an epoch.
fn counts(samples: &Samples, epoch: u64) -> Vec<usize> {
    let mut counts = vec![0; samples.images];
    let epoch = samples.epoch(epoch);
    assert_eq!(epoch.len(), samples.count());
    for sample in epoch {
        assert_eq!(sample.occurrence as usize, counts[sample.place]);
        counts[sample.place] += 1;
    }
    counts
}

/// How often the images occur in an epoch on average over many, and as expected.
fn means(samples: &Samples) -> (Vec<f64>, Vec<f64>) {
    let mut sums = vec![0.0; samples.images];
    for epoch in 0..EPOCHS {
        let counts = counts(samples, epoch);
        let both = sums.iter_mut().zip(counts);
        both.for_each(|(sum, count)| *sum += count as f64);
    }
    let means = sums.iter().map(|sum| sum / EPOCHS as f64).collect();
    (means, samples.expected())
}

#[test]
fn a_repeated_annotation_file_is_repeated_in_every_epoch() {
    let parts = vec![(1, images(&[&[0], &[1]])), (3, images(&[&[2], &[]]))];
    let samples = samples(&in_parts(parts), PLAIN);
    for epoch in 0..5 {
        assert_eq!(counts(&samples, epoch), [1, 1, 3, 3]);
    }
    assert_ne!(samples.epoch(0), samples.epoch(1));
}

#[test]
fn balanced_classes_round_repeat_factors_up() {
    let labels: [&[usize]; 8] = [&[0], &[0], &[0], &[0, 1], &[1], &[0, 1, 2], &[], &[]];
    let config = SamplingConfig {
        kind: SamplingKind::ClassBalanced,
        oversample_thr: Some(0.5),
        ..PLAIN
    };
    let once = samples(&dataset(images(&labels)), config);
    // The factors are 1, 1.15 and 2.
    assert_eq!(counts(&once, 0), [1, 1, 1, 2, 2, 2, 1, 1]);
    assert_eq!(counts(&once, 7), counts(&once, 0));
    let twice = samples(&in_parts(vec![(2, images(&labels))]), config);
    assert_eq!(counts(&twice, 0), [2, 2, 2, 4, 4, 4, 2, 2]);
}

#[test]
fn repeat_factors_hold_on_average_at_a_constant_length() {
    // Class 1 is in 20 of 100 images: sqrt(0.3 / 0.2) = 1.22. Class 2 is in 4: 2.74.
    let labels = (0..100).map(|at| match at % 25 {
        0 => image(&[0, 2]),
        1..6 => image(&[1]),
        _ => image(&[0]),
    });
    let dataset = dataset(labels.collect());
    let config = SamplingConfig {
        kind: SamplingKind::RepeatFactor,
        oversample_thr: Some(0.3),
        ..PLAIN
    };
    let samples = samples(&dataset, config);
    // 76 + 20 * 1.22 + 4 * 2.74.
    assert_eq!(samples.count(), 111);
    let (means, expected) = means(&samples);
    for (place, (mean, expected)) in means.into_iter().zip(expected).enumerate() {
        let factor = match place % 25 {
            0 => 2.739,
            1..6 => 1.225,
            _ => 1.0,
        };
        // Of 7.45 images rounded up, 7 are: each is expected a little less often.
        assert!((factor - expected).abs() < 0.05, "{place}: {expected}");
        // The deviation of a mean is at most 0.5 / sqrt(400): four of them.
        assert!((mean - expected).abs() < 0.1, "{place}: {mean}");
    }
}

#[test]
fn images_without_boxes_have_their_share() {
    let labels = |empty: usize| {
        let mut images = images(&[&[0][..]; 30]);
        images.extend(vec![image(&[]); empty]);
        dataset(images)
    };
    // 30 others and a fifth of all: 30 * 0.2 / 0.8 = 7.5.
    let check = |empty: usize, share: f64, expected: usize| {
        let config = SamplingConfig {
            empty_share: Some(share),
            ..PLAIN
        };
        let dataset = labels(empty);
        let samples = samples(&dataset, config);
        assert_eq!(samples.count(), 30 + expected);
        let mut all = vec![0; empty];
        for epoch in 0..20 {
            let counts = counts(&samples, epoch);
            assert_eq!(counts[..30], [1; 30]);
            assert_eq!(counts[30..].iter().sum::<usize>(), expected);
            all.iter_mut().zip(&counts[30..]).for_each(|(a, c)| *a += c);
        }
        let [least, most] = [all.iter().min(), all.iter().max()];
        let apart = most.zip(least).map_or(0, |(most, least)| most - least);
        assert!(apart <= 1, "each in its turn: {all:?}");
    };
    check(50, 0.2, 8);
    check(50, 0.5, 30);
    // Fewer than asked for: they occur more than once.
    check(3, 0.5, 30);
    check(50, 0.0, 0);
}

#[test]
fn epochs_are_parts_of_an_endless_row_of_passes() {
    let dataset = dataset(images(&[&[0][..]; 10]));
    let passes: Vec<usize> = (0..6)
        .flat_map(|pass| samples(&dataset, PLAIN).epoch(pass))
        .map(|sample| sample.place)
        .collect();
    for count in [1, 4, 10, 13, 25] {
        let config = SamplingConfig {
            epoch_images: Some(count),
            ..PLAIN
        };
        let samples = samples(&dataset, config);
        let epochs = (0..).flat_map(|epoch| samples.epoch(epoch));
        let places = epochs.map(|sample| sample.place).take(60);
        assert_eq!(places.collect::<Vec<_>>(), passes, "{count} images");
    }
}

#[test]
fn a_further_occurrence_has_draws_of_its_own() {
    let index = |place, occurrence| Sample { place, occurrence }.index();
    assert_eq!(index(7, 0), 7);
    assert_eq!(index(7, 1), (1 << 32) + 7);
}

#[test]
fn what_there_is_nothing_for_is_an_error() {
    let check = |labels: &[&[usize]], config: SamplingConfig, expected: &str| {
        let dataset = dataset(images(labels));
        let error = Samples::new(&dataset, &config, 0).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    };
    let share = SamplingConfig {
        empty_share: Some(0.5),
        ..PLAIN
    };
    check(
        &[&[0]],
        share,
        "`data.sampling.empty_share`: 0.5, but a.json has no image without boxes: \
         `data.filter_empty` leaves them out, set it to false",
    );
    check(
        &[&[]],
        share,
        "`data.sampling.empty_share`: 0.5, but a.json has no image with boxes",
    );
    let never = in_parts(vec![(0, images(&[&[0]]))]);
    let error = Samples::new(&never, &PLAIN, 0).expect_err("never");
    assert_eq!(error.to_string(), "`repeat`: 0; expected at least 1");
    let nearly_one = SamplingConfig {
        empty_share: Some(1.0 - 2.0_f64.powi(-40)),
        ..PLAIN
    };
    check(
        &[&[0], &[]],
        nearly_one,
        "`data.sampling`: a pass over the dataset would have 1099511627776 images; expected at \
         most 100000000: lower `repeat`, `oversample_thr` or `empty_share`",
    );
}
