//! Augmentation through the loader: marks at boxes, determinism, evaluation, memory of images.

use aweigh_data::{
    AugmentConfig, DataError, DecodedImage, HostBatch, LargeScaleJitter, Loader, LoaderConfig,
    MinIouCrop, Mixup, Mosaic, OnBadImage, Photometric, Purpose, TransformConfig,
};
use serde_json::{Value, json};

use crate::fixture::{Fixture, file};

/// Colour of the boxes of each label; the last is that of ignore regions.
const COLOURS: [[u8; 3]; 4] = [[230, 20, 20], [20, 230, 20], [220, 220, 20], [20, 20, 230]];

const BACKGROUND: u8 = 60;

/// Eight images of alternating orientation, whose boxes and ignore regions are filled with colours.
fn marked() -> Fixture {
    let size = |id: u32| {
        if id.is_multiple_of(3) {
            [60, 90]
        } else {
            [90, 60 + id]
        }
    };
    let boxes = |id: u32| [[5 + id, 6, 22, 18], [36, 8 + id, 17, 22], [8, 34, 20, 15]];
    let ignored = |id: u32| [34, 40, 20, 12 + id / 2];
    let image = |id: u32| {
        let [width, height] = size(id);
        json!({"id": id, "file_name": format!("{id}.png"), "width": width, "height": height})
    };
    let mut annotations = Vec::new();
    let mut add = |image: u32, bbox: [u32; 4], category: usize, iscrowd: u8| {
        let id = annotations.len() + 1;
        annotations.push(json!({"id": id, "image_id": image, "category_id": category,
            "bbox": bbox, "iscrowd": iscrowd}));
    };
    for id in 1..=8 {
        let categories = [1, 3, 7];
        for (bbox, category) in boxes(id).into_iter().zip(categories) {
            add(id, bbox, category, 0);
        }
        add(id, ignored(id), 1, 1);
    }
    let images: Vec<Value> = (1..=8).map(image).collect();
    let fixture = Fixture::new(&file(json!(images), json!(annotations)));
    for id in 1..=8 {
        let [width, height] = size(id);
        let [a, b, c] = boxes(id);
        let all = [a, b, c, ignored(id)];
        let colour = |x: u32, y: u32| {
            let inside = |[left, top, w, h]: &[u32; 4]| {
                (*left..left + w).contains(&x) && (*top..top + h).contains(&y)
            };
            let at = all.iter().position(inside);
            image::Rgb(at.map_or([BACKGROUND; 3], |at| COLOURS[at]))
        };
        let image = image::RgbImage::from_fn(width, height, colour);
        image.save(fixture.image(id)).expect("writes");
    }
    fixture
}

fn transform() -> TransformConfig {
    TransformConfig {
        short_edge: 90,
        long_edge: 120,
        size_divisor: 8,
        ..TransformConfig::default()
    }
}

fn config(augment: AugmentConfig) -> LoaderConfig {
    LoaderConfig {
        batch_size: 3,
        workers: 0,
        seed: 11,
        augment,
        ..LoaderConfig::default()
    }
}

fn load(fixture: &Fixture, config: LoaderConfig, epoch: u64) -> Vec<HostBatch> {
    let loader = Loader::train(fixture.shared(), transform(), config).expect("valid");
    let batches: Result<Vec<_>, DataError> = loader.epoch(epoch, 0).collect();
    batches.expect("good images")
}

fn everything() -> AugmentConfig {
    AugmentConfig {
        vertical_flip_prob: 0.5,
        rotate90_prob: 0.5,
        mosaic: Some(Mosaic {
            prob: 0.5,
            ..Mosaic::default()
        }),
        mixup: Some(Mixup {
            prob: 0.5,
            ..Mixup::default()
        }),
        min_iou_crop: Some(MinIouCrop::default()),
        large_scale_jitter: Some(LargeScaleJitter {
            prob: 0.5,
            ..LargeScaleJitter::default()
        }),
        photometric: Some(Photometric::default()),
    }
}

/// The colour that a pixel is closest to: of a label, of ignore regions, or another.
fn nearest(picture: &DecodedImage, [x, y]: [i32; 2]) -> Option<usize> {
    let [width, height] = [picture.width, picture.height].map(|side| side as i32);
    if !(0..width).contains(&x) || !(0..height).contains(&y) {
        return None;
    }
    let pixel = &picture.pixels[3 * (y * width + x) as usize..][..3];
    let away = |from: [u8; 3]| -> u32 {
        let levels = pixel.iter().zip(from);
        levels.map(|(a, b)| u32::from(a.abs_diff(b))).sum()
    };
    let others = [[BACKGROUND; 3], [114; 3], [0; 3]];
    let all = COLOURS.into_iter().chain(others).enumerate();
    let (at, _) = all.min_by_key(|(_, colour)| away(*colour))?;
    (at < COLOURS.len()).then_some(at)
}

/// Checks that the mark of a box begins and ends where the box does.
fn check_mark(picture: &DecodedImage, bbox: [f32; 4], colour: usize, name: &str) {
    let at = [(bbox[0] + bbox[2]) / 2.0, (bbox[1] + bbox[3]) / 2.0].map(|side| side as i32);
    let walk = |[dx, dy]: [i32; 2]| {
        let [mut x, mut y] = at;
        while nearest(picture, [x, y]) == Some(colour) {
            (x, y) = (x + dx, y + dy);
        }
        (x, y)
    };
    let found = [
        walk([-1, 0]).0 + 1,
        walk([0, -1]).1 + 1,
        walk([1, 0]).0,
        walk([0, 1]).1,
    ];
    let near = found
        .iter()
        .zip(bbox)
        .all(|(found, side)| (*found as f32 - side).abs() <= 1.0);
    assert!(
        near,
        "{name}: colour {colour} is at {found:?}, its box {bbox:?}"
    );
}

fn check_marks(augment: &AugmentConfig, name: &str) {
    let fixture = marked();
    for epoch in 0..6 {
        for batch in load(&fixture, config(augment.clone()), epoch) {
            for (at, truth) in batch.truth.iter().enumerate() {
                let picture = batch.picture(at, &transform());
                let name = format!("{name}, epoch {epoch}, batch {} image {at}", batch.index);
                for (bbox, label) in truth.boxes.iter().zip(&truth.labels) {
                    check_mark(&picture, *bbox, *label, &name);
                }
                for bbox in &truth.ignore {
                    check_mark(&picture, *bbox, 3, &name);
                }
            }
        }
    }
}

#[test]
fn boxes_lie_on_their_marks() {
    let off = AugmentConfig::default();
    check_marks(&off, "nothing");
    let all = everything();
    let check = |augment, name| check_marks(&augment, name);
    check(
        AugmentConfig {
            vertical_flip_prob: 0.5,
            rotate90_prob: 0.5,
            ..off.clone()
        },
        "turns",
    );
    check(
        AugmentConfig {
            mosaic: Some(Mosaic::default()),
            ..off.clone()
        },
        "mosaic",
    );
    check(
        AugmentConfig {
            min_iou_crop: all.min_iou_crop.clone(),
            ..off.clone()
        },
        "crop",
    );
    let jitter = LargeScaleJitter {
        range: [0.5, 2.0],
        ..LargeScaleJitter::default()
    };
    check(
        AugmentConfig {
            large_scale_jitter: Some(jitter.clone()),
            ..off.clone()
        },
        "jitter",
    );
    // Colours stay what they are, and no image covers another.
    check(
        AugmentConfig {
            photometric: None,
            mixup: None,
            large_scale_jitter: Some(jitter),
            ..all
        },
        "all but colours",
    );
}

#[test]
fn batches_do_not_depend_on_workers_or_memory() {
    let fixture = marked();
    let load = |workers, cache_mb, epoch| {
        let config = LoaderConfig {
            workers,
            cache_mb,
            ..config(everything())
        };
        load(&fixture, config, epoch)
    };
    let expected = load(0, 0, 2);
    for (workers, cache_mb) in [(1, 0), (4, 0), (0, 1), (4, 1)] {
        assert_eq!(
            load(workers, cache_mb, 2),
            expected,
            "{workers} workers, {cache_mb} MB"
        );
    }
    assert_ne!(load(0, 0, 3), expected);
}

#[test]
fn an_epoch_with_mosaics_can_start_in_its_middle() {
    let fixture = marked();
    let loader = Loader::train(fixture.shared(), transform(), config(everything()));
    let loader = loader.expect("valid");
    let batches = |start| loader.epoch(1, start).map(|batch| batch.expect("loads"));
    let whole: Vec<_> = batches(0).collect();
    assert_eq!(batches(2).collect::<Vec<_>>(), whole[2..]);
}

#[test]
fn augmentations_change_no_other_draw() {
    let fixture = marked();
    let metas = |augment| {
        let batches = load(&fixture, config(augment), 0);
        let metas = batches.into_iter().flat_map(|batch| batch.meta);
        metas
            .map(|meta| (meta.image_id, meta.flipped))
            .collect::<Vec<_>>()
    };
    assert_eq!(metas(everything()), metas(AugmentConfig::default()));
    let only = |photometric| {
        let augment = AugmentConfig {
            vertical_flip_prob: 0.5,
            photometric,
            ..AugmentConfig::default()
        };
        let truth = load(&fixture, config(augment), 0);
        truth
            .into_iter()
            .flat_map(|batch| batch.truth)
            .collect::<Vec<_>>()
    };
    assert_eq!(only(None), only(Some(Photometric::default())));
}

#[test]
fn a_mosaic_is_on_in_the_first_epochs_only() {
    let fixture = marked();
    let augmented = |epoch| {
        let augment = AugmentConfig {
            mosaic: Some(Mosaic {
                until_epoch: Some(2),
                ..Mosaic::default()
            }),
            ..AugmentConfig::default()
        };
        let batches = load(&fixture, config(augment), epoch);
        let mut metas = batches.iter().flat_map(|batch| &batch.meta);
        metas.all(|meta| meta.augmented)
    };
    assert_eq!([0, 1, 2, 3].map(augmented), [true, true, false, false]);
    let plain = load(&fixture, config(AugmentConfig::default()), 2);
    let metas = plain.iter().flat_map(|batch| &batch.meta);
    assert!(metas.clone().all(|meta| !meta.augmented));
}

#[test]
fn a_mosaic_has_the_size_of_training() {
    let fixture = marked();
    let sizes = |augment| {
        let batches = load(&fixture, config(augment), 0);
        batches.iter().map(|batch| batch.shape).collect::<Vec<_>>()
    };
    let mosaic = AugmentConfig {
        mosaic: Some(Mosaic::default()),
        mixup: Some(Mixup::default()),
        ..AugmentConfig::default()
    };
    assert_eq!(sizes(mosaic), sizes(AugmentConfig::default()));
}

#[test]
fn jitter_pads_every_image_to_its_target() {
    let fixture = marked();
    let augment = AugmentConfig {
        large_scale_jitter: Some(LargeScaleJitter {
            size: Some(100),
            ..LargeScaleJitter::default()
        }),
        ..AugmentConfig::default()
    };
    for batch in load(&fixture, config(augment), 0) {
        assert_eq!(batch.shape[2..], [104, 104]);
        assert!(batch.meta.iter().all(|meta| meta.padded == [104, 104]));
    }
}

#[test]
fn evaluation_never_augments() {
    let fixture = marked();
    let batches = |augment| {
        let dataset = fixture.open(Purpose::Evaluate).expect("opens").into();
        let loader = Loader::eval(dataset, transform(), config(augment)).expect("valid");
        loader
            .epoch(0, 0)
            .map(|batch| batch.expect("loads"))
            .collect::<Vec<_>>()
    };
    assert_eq!(batches(everything()), batches(AugmentConfig::default()));
}

#[test]
fn a_bad_image_is_missing_in_mosaics_and_told_once() {
    let fixture = marked();
    std::fs::write(fixture.image(4), "no image").expect("writes");
    let config = LoaderConfig {
        on_bad_image: OnBadImage::Skip,
        ..config(AugmentConfig {
            mosaic: Some(Mosaic::default()),
            mixup: Some(Mixup::default()),
            ..AugmentConfig::default()
        })
    };
    let loader = Loader::train(fixture.shared(), transform(), config).expect("valid");
    let mut epoch = loader.epoch(0, 0);
    let images = epoch.by_ref().map(|batch| batch.expect("skips").meta.len());
    assert_eq!(images.sum::<usize>(), 7);
    assert_eq!(epoch.skipped(), 1);
}

#[test]
fn impossible_augmentations_are_refused() {
    let fixture = marked();
    let augment = AugmentConfig {
        rotate90_prob: 2.0,
        ..AugmentConfig::default()
    };
    let error = Loader::train(fixture.shared(), transform(), config(augment));
    let message = error.expect_err("out of range").to_string();
    assert_eq!(
        message,
        "`rotate90_prob`: 2; expected a probability in 0..=1"
    );
}

#[test]
#[should_panic(expected = "an augmented image has no original pixels")]
fn an_augmented_image_has_no_original_pixels() {
    let augment = AugmentConfig {
        vertical_flip_prob: 1.0,
        ..AugmentConfig::default()
    };
    load(&marked(), config(augment), 0)[0].meta[0].to_original([0.0, 0.0, 1.0, 1.0]);
}
