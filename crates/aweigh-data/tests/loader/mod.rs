//! Batches: determinism, resuming, bad images.

mod sampling;

use aweigh_data::{
    DataError, DecodeConfig, HostBatch, Loader, LoaderConfig, MultiScale, OnBadImage, Purpose,
    SamplingConfig, SixteenBit, TransformConfig, read_picture,
};

use crate::fixture::Fixture;

fn transform() -> TransformConfig {
    TransformConfig {
        short_edge: 16,
        long_edge: 32,
        size_divisor: 8,
        ..TransformConfig::default()
    }
}

fn config(workers: usize) -> LoaderConfig {
    LoaderConfig {
        batch_size: 3,
        workers,
        seed: 11,
        ..LoaderConfig::default()
    }
}

fn train(fixture: &Fixture, config: LoaderConfig) -> Loader {
    Loader::train(fixture.shared(), transform(), config).expect("valid")
}

fn collect(loader: &Loader, epoch: u64, start: usize) -> Vec<HostBatch> {
    let batches: Result<Vec<_>, DataError> = loader.epoch(epoch, start).collect();
    batches.expect("good images")
}

#[test]
fn batches_do_not_depend_on_the_workers() {
    let fixture = Fixture::with_images();
    let expected = collect(&train(&fixture, config(0)), 2, 0);
    for workers in [1, 4] {
        let loader = train(&fixture, config(workers));
        assert_eq!(collect(&loader, 2, 0), expected, "{workers} workers");
    }
    assert_eq!(
        expected.len(),
        train(&fixture, config(0)).batches_per_epoch()
    );
}

#[test]
fn an_epoch_can_start_in_its_middle() {
    let fixture = Fixture::with_images();
    let loader = train(&fixture, config(2));
    let whole = collect(&loader, 5, 0);
    for start in 0..=whole.len() + 1 {
        let rest = whole.get(start..).unwrap_or_default();
        assert_eq!(collect(&loader, 5, start), rest, "from {start}");
    }
    assert_eq!(whole[3].index, 3);
}

#[test]
fn seed_and_epoch_decide_order_and_flips() {
    let fixture = Fixture::with_images();
    let metas = |seed, epoch| {
        let config = LoaderConfig { seed, ..config(1) };
        let batches = collect(&train(&fixture, config), epoch, 0);
        let metas = batches.into_iter().flat_map(|batch| batch.meta);
        metas
            .map(|meta| (meta.image_id, meta.flipped))
            .collect::<Vec<_>>()
    };
    let base = metas(1, 0);
    assert_eq!(base, metas(1, 0));
    assert_ne!(base, metas(1, 1));
    assert_ne!(base, metas(2, 0));
    let flipped = base.iter().filter(|(_, flipped)| *flipped).count();
    assert!((1..12).contains(&flipped), "{flipped} of 12");
    // The same image is not flipped in every epoch.
    let of_image_1 = |epoch| metas(1, epoch).into_iter().find(|meta| meta.0 == 1);
    let first = of_image_1(0);
    assert!((1..20).any(|epoch| of_image_1(epoch) != first));
}

/// Images and flips of the batches, as they have been since the first release: a run that is resumed
/// goes on with what it had begun.
#[test]
fn without_sampling_the_batches_are_those_of_old() {
    let fixture = Fixture::with_images();
    let check = |aspect_grouping, epoch, expected: [[(i64, bool); 3]; 4]| {
        let config = LoaderConfig {
            aspect_grouping,
            ..config(0)
        };
        assert_eq!(seen(&train(&fixture, config), epoch), expected);
    };
    let (o, f) = (false, true);
    check(
        true,
        0,
        [
            [(5, f), (4, o), (10, f)],
            [(3, o), (9, f), (6, f)],
            [(2, f), (8, o), (11, f)],
            [(1, o), (7, o), (12, f)],
        ],
    );
    check(
        false,
        7,
        [
            [(12, o), (9, o), (5, o)],
            [(8, f), (4, o), (11, f)],
            [(2, o), (10, o), (7, f)],
            [(6, f), (1, f), (3, f)],
        ],
    );
}

/// The id of each image of an epoch, and whether it is flipped.
fn seen(loader: &Loader, epoch: u64) -> Vec<Vec<(i64, bool)>> {
    let batches = collect(loader, epoch, 0);
    let metas = batches.iter().map(|batch| batch.meta.iter());
    metas
        .map(|metas| metas.map(|meta| (meta.image_id, meta.flipped)).collect())
        .collect()
}

#[test]
fn training_groups_by_aspect_ratio() {
    let fixture = Fixture::with_images();
    let loader = train(
        &fixture,
        LoaderConfig {
            batch_size: 4,
            ..config(2)
        },
    );
    let batches = collect(&loader, 0, 0);
    assert_eq!(batches.len(), 3);
    for batch in &batches {
        let portraits = batch
            .meta
            .iter()
            .filter(|meta| meta.original[0] > meta.original[1]);
        assert!([0, 4].contains(&portraits.count()), "a mixed batch");
    }
}

#[test]
fn evaluation_is_plain() {
    let fixture = Fixture::with_images();
    let dataset = fixture.open(Purpose::Evaluate).expect("opens").into();
    let loader = Loader::eval(dataset, transform(), config(2)).expect("valid");
    let batches = collect(&loader, 0, 0);
    let metas = batches.iter().flat_map(|batch| &batch.meta);
    for (meta, id) in metas.clone().zip(1..) {
        assert_eq!((meta.image_id, meta.flipped), (id, false));
    }
    assert_eq!(metas.count(), 12);
    assert_eq!(batches[0].shape, [3, 3, 24, 24]);
    // Image 1: 41x30 to 22x16, box [1, 2, 6, 8].
    let [x, y] = [22.0 / 41.0, 16.0 / 30.0];
    assert_eq!(batches[0].truth[0].boxes, [[x, 2.0 * y, 6.0 * x, 8.0 * y]]);
    assert_eq!(collect(&loader, 1, 0), batches);
}

#[test]
fn flipped_pixels_and_boxes_agree() {
    let fixture = Fixture::with_images();
    let load = |flip_prob| {
        let transform = TransformConfig {
            flip_prob,
            ..transform()
        };
        let config = LoaderConfig {
            batch_size: 1,
            ..config(0)
        };
        let loader = Loader::train(fixture.shared(), transform, config).expect("valid");
        collect(&loader, 0, 0)
    };
    for (plain, flipped) in load(0.0).iter().zip(&load(1.0)) {
        let [_, _, height, stride] = plain.shape;
        let [_, width] = plain.meta[0].frame.size;
        for row in 0..3 * height {
            let row = row * stride..row * stride + width;
            let mut mirrored = flipped.images[row.clone()].to_vec();
            mirrored.reverse();
            assert_eq!(plain.images[row], mirrored);
        }
        let [x1, _, x2, _] = plain.truth[0].boxes[0];
        let expected = [width as f32 - x2, width as f32 - x1];
        let found = flipped.truth[0].boxes[0];
        assert_eq!([found[0], found[2]], expected);
    }
}

#[test]
fn training_draws_a_scale_for_each_image_in_each_epoch() {
    let fixture = Fixture::with_images();
    let multi_scale = Some(MultiScale::Choice(vec![8, 16, 24]));
    let transform = TransformConfig {
        multi_scale,
        ..transform()
    };
    let load = |workers, epoch| {
        let config = config(workers);
        let loader = Loader::train(fixture.shared(), transform.clone(), config).expect("valid");
        collect(&loader, epoch, 0)
    };
    let short_edges = |batches: &[HostBatch]| -> Vec<usize> {
        let metas = batches.iter().flat_map(|batch| &batch.meta);
        metas
            .map(|meta| meta.frame.size[0].min(meta.frame.size[1]))
            .collect()
    };
    let batches = load(0, 4);
    assert_eq!(load(3, 4), batches, "3 workers");
    let edges = short_edges(&batches);
    for edge in [8, 16, 24] {
        assert!(edges.contains(&edge), "{edge} in {edges:?}");
    }
    assert_ne!(short_edges(&load(0, 5)), edges);
    for batch in &batches {
        // A batch is as large as its largest image asks for, whatever the others drew.
        let largest = [0, 1].map(|side| batch.meta.iter().map(|meta| meta.frame.size[side]).max());
        let padded = largest.map(|side| side.expect("images").next_multiple_of(8));
        assert_eq!(batch.shape[2..], padded);
    }
    let dataset = fixture.open(Purpose::Evaluate).expect("opens").into();
    let loader = Loader::eval(dataset, transform.clone(), config(0)).expect("valid");
    assert!(
        short_edges(&collect(&loader, 4, 0))
            .iter()
            .all(|edge| *edge == 16)
    );
}

/// Breaks three images: one missing, one cut off, one of another size.
fn break_images(fixture: &Fixture) {
    std::fs::remove_file(fixture.image(2)).expect("removes");
    let bytes = std::fs::read(fixture.image(5)).expect("reads");
    std::fs::write(fixture.image(5), &bytes[..bytes.len() / 2]).expect("writes");
    image::RgbImage::new(30, 48)
        .save(fixture.image(8))
        .expect("writes");
}

#[test]
fn a_bad_image_ends_the_epoch_with_its_name() {
    let check = |keep: u32, expected: &str| {
        let fixture = Fixture::with_images();
        break_images(&fixture);
        for id in [2, 5, 8].into_iter().filter(|id| *id != keep) {
            image::RgbImage::new(40 + id, 30)
                .save(fixture.image(id))
                .expect("writes");
        }
        for workers in [0, 2] {
            let loader = train(&fixture, config(workers));
            let mut epoch = loader.epoch(0, 0);
            let error = epoch.find_map(Result::err).expect(expected);
            let message = fixture.message(&error);
            assert!(message.starts_with(expected), "{message}");
            assert!(epoch.next().is_none(), "ends after an error");
        }
    };
    check(2, "cannot read image DIR/2.png: ");
    check(5, "cannot decode image DIR/5.png: ");
    check(
        8,
        "image DIR/8.png is 30x48 pixels (width x height), but DIR/a.json declares 48x30: the \
         sides are exchanged, and no EXIF orientation of the file tells why",
    );
}

#[test]
fn skipped_images_are_counted_and_leave_smaller_batches() {
    let fixture = Fixture::with_images();
    break_images(&fixture);
    for (batch_size, batches) in [(3, 4), (1, 9)] {
        let config = LoaderConfig {
            batch_size,
            on_bad_image: OnBadImage::Skip,
            ..config(2)
        };
        let loader = train(&fixture, config);
        let mut epoch = loader.epoch(0, 0);
        let good: Vec<HostBatch> = epoch.by_ref().map(|batch| batch.expect("skips")).collect();
        assert_eq!((good.len(), epoch.skipped()), (batches, 3));
        assert!(good.iter().all(|batch| batch.shape[0] == batch.meta.len()));
        assert_eq!(good.iter().map(|batch| batch.meta.len()).sum::<usize>(), 9);
    }
}

#[test]
fn dropping_an_epoch_early_is_clean() {
    let fixture = Fixture::with_images();
    let loader = train(&fixture, config(3));
    for taken in 0..3 {
        assert_eq!(loader.epoch(0, 0).take(taken).count(), taken);
    }
    assert_eq!(collect(&loader, 0, 0).len(), 4);
}

#[test]
fn a_picture_without_annotations_makes_a_batch() {
    let fixture = Fixture::with_images();
    let file = fixture.image(3);
    let decoding = DecodeConfig::default();
    let picture = read_picture(&file, &decoding).expect("reads");
    let batch = HostBatch::from_picture(&picture, &file, &transform());
    assert_eq!(batch.shape, [1, 3, 24, 16]);
    assert_eq!(batch.meta[0].file, file);
    assert_eq!(batch.meta[0].original, [32, 24]);
    assert!(read_picture(&fixture.image(99), &decoding).is_err());
}

#[test]
fn impossible_configurations() {
    let fixture = Fixture::with_images();
    let check = |transform, config, expected: &str| {
        let error = Loader::train(fixture.shared(), transform, config).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    };
    let empty = LoaderConfig {
        batch_size: 0,
        ..config(0)
    };
    check(transform(), empty, "`batch_size`: 0; expected at least 1");
    let no_threshold = LoaderConfig {
        sampling: SamplingConfig {
            oversample_thr: Some(0.1),
            ..SamplingConfig::default()
        },
        ..config(0)
    };
    let expected = "`oversample_thr`: kind = \"uniform\" repeats no class; expected kind = \
                    \"class_balanced\" or \"repeat_factor\"";
    check(transform(), no_threshold, expected);
    let odd = TransformConfig {
        bucket: 12,
        ..transform()
    };
    let expected = "`bucket`: 12 is not a multiple of size_divisor = 8";
    check(odd, config(0), expected);
    let mut dataset = fixture.open(Purpose::Train).expect("opens");
    dataset.set_decoding(DecodeConfig {
        sixteen_bit: SixteenBit::Measured,
        ..DecodeConfig::default()
    });
    let error = Loader::eval(dataset.into(), transform(), config(0)).expect_err("not measured");
    let message = error.to_string();
    assert!(message.starts_with("`data.sixteen_bit`: \"range\" is measured when"));
    let seed = serde_json::from_str::<LoaderConfig>(r#"{"seed": 3}"#);
    assert!(seed.is_err(), "the seed is not a key of the loader");
}
