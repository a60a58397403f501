//! Epochs in which images occur several times.

use aweigh_data::{
    CocoDataset, HostBatch, Loader, LoaderConfig, OnBadImage, Purpose, SamplingConfig, SamplingKind,
};

use super::{collect, config, transform};
use crate::fixture::Fixture;

/// Two annotation files, of which the second is there thrice, in epochs of twenty images.
fn sampled(fixtures: &[Fixture; 2], workers: usize) -> Loader {
    let mut configs = fixtures.each_ref().map(|fixture| fixture.config.clone());
    configs[1].repeat = 3;
    let dataset = CocoDataset::open_all(&configs, Purpose::Train).expect("opens");
    let config = LoaderConfig {
        sampling: SamplingConfig {
            kind: SamplingKind::RepeatFactor,
            oversample_thr: Some(1.0),
            epoch_images: Some(20),
            ..SamplingConfig::default()
        },
        on_bad_image: OnBadImage::Skip,
        ..config(workers)
    };
    Loader::train(dataset.into(), transform(), config).expect("valid")
}

#[test]
fn sampled_batches_do_not_depend_on_workers_or_start() {
    let fixtures = [Fixture::with_images(), Fixture::with_images()];
    let expected = collect(&sampled(&fixtures, 0), 3, 0);
    assert_eq!(expected.len(), 7);
    for workers in [0, 1, 4] {
        let loader = sampled(&fixtures, workers);
        assert_eq!(loader.batches_per_epoch(), 7);
        for start in [0, 1, 6, 7] {
            let batches = collect(&loader, 3, start);
            assert_eq!(batches, expected[start..], "{workers} workers from {start}");
        }
    }
}

#[test]
fn an_image_that_occurs_twice_is_drawn_for_twice() {
    let fixtures = [Fixture::with_images(), Fixture::with_images()];
    let loader = sampled(&fixtures, 0);
    let mut differ = false;
    for epoch in 0..4 {
        let batches = collect(&loader, epoch, 0);
        let metas: Vec<_> = batches.iter().flat_map(|batch| &batch.meta).collect();
        let pairs = (0..metas.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        let mut same = pairs.filter(|(a, b)| metas[*a].file == metas[*b].file);
        differ |= same.any(|(a, b)| metas[a].flipped != metas[b].flipped);
    }
    assert!(differ, "the same flip for every occurrence");
}

#[test]
fn bad_images_are_skipped_at_every_occurrence() {
    let fixtures = [Fixture::with_images(), Fixture::with_images()];
    let whole = collect(&sampled(&fixtures, 2), 1, 0);
    let bad = &whole[0].meta[0].file.clone();
    std::fs::write(bad, "no picture").expect("writes");
    let loader = sampled(&fixtures, 2);
    let mut epoch = loader.epoch(1, 0);
    let left: Vec<HostBatch> = epoch.by_ref().map(|batch| batch.expect("skips")).collect();
    let metas = |batches: &[HostBatch]| -> Vec<_> {
        let metas = batches.iter().flat_map(|batch| batch.meta.clone());
        metas.filter(|meta| meta.file != *bad).collect()
    };
    assert_eq!(metas(&left), metas(&whole));
    let images = |batches: &[HostBatch]| batches.iter().map(|b| b.meta.len()).sum::<usize>();
    assert_eq!(images(&whole), 20);
    assert_eq!(images(&left) + epoch.skipped(), 20);
    assert!(epoch.skipped() > 0);
}
