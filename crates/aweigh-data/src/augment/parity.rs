//! Augmentations against mmdetection's, of every case in a folder.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use aweigh_geometry::HostTruth;
use safetensors::SafeTensors;
use serde_json::Value;

use super::min_iou_crop::MinIouCrop;
use super::photometric::Distortion;
use super::scene::Scene;
use crate::DecodedImage;

/// Largest difference of a level from the reference's value, which is not rounded: half a level by
/// rounding, and what f32 leaves of values that are computed in another order.
const LEVEL: f32 = 0.501;

#[test]
fn colours_are_mmdetections() {
    run("photometric", |case, stored| {
        let mut pixels = stored.tensor("image").expect("image").data().to_vec();
        distortion(case).apply(&mut pixels);
        let expected = floats(stored, "distorted");
        let errors = pixels.iter().zip(&expected);
        // Values beyond 8 bits are cut.
        let error = |(got, value): (&u8, &f32)| (f32::from(*got) - value.clamp(0.0, 255.0)).abs();
        let largest = errors.map(error).fold(0.0, f32::max);
        assert!(largest <= LEVEL, "{}: {largest} levels", case["name"]);
    });
}

fn distortion(case: &Value) -> Distortion {
    let on = |at: usize| case["flags"][at] == 1;
    let value = |at: usize| case["values"][at].as_f64().expect("a number") as f32;
    let swap = |at: usize| case["swap"][at].as_u64().expect("a channel") as usize;
    let contrast = if on(1) { value(1) } else { 1.0 };
    let first = case["mode"] == 1;
    Distortion {
        brightness: if on(0) { value(0) } else { 0.0 },
        before: if first { contrast } else { 1.0 },
        saturation: on(2).then(|| value(2)),
        hue: on(3).then(|| value(3)),
        after: if first { 1.0 } else { contrast },
        // The reference exchanges blue, green and red.
        channels: match on(4) {
            true => [0, 1, 2].map(|channel| 2 - swap(2 - channel)),
            false => [0, 1, 2],
        },
    }
}

#[test]
fn crops_are_mmdetections() {
    run("min_iou_crop", |case, stored| {
        let size = [0, 1].map(|at| case["size"][at].as_u64().expect("a size") as usize);
        let limits = case["min_ious"].as_array().expect("limits");
        let config = MinIouCrop {
            min_ious: limits.iter().filter_map(Value::as_f64).collect(),
            min_size: case["min_crop_size"].as_f64().expect("a size"),
            ..MinIouCrop::default()
        };
        let boxes: Vec<[f32; 4]> = quads(&floats(stored, "boxes"));
        let kept: Vec<[f32; 4]> = quads(&floats(stored, "kept"));
        let numbers = doubles(stored, "numbers");
        let crops = stored
            .tensor("crops")
            .expect("crops")
            .data()
            .chunks_exact(8);
        let crops = crops.map(|bytes| i64::from_le_bytes(bytes.try_into().expect("eight")));
        let crops: Vec<usize> = crops.map(|side| side as usize).collect();
        let (rounds, each) = (crops.len() / 4, boxes.len() / (crops.len() / 4));
        for round in 0..rounds {
            let boxes = boxes[round * each..][..each].to_vec();
            let mut scene = scene(size, boxes);
            let count = numbers.len() / rounds;
            let mut numbers = numbers[round * count..][..count].iter().copied().cycle();
            if let Some(crop) = config.find(&scene, || numbers.next().expect("they repeat")) {
                scene = crop.apply(scene);
            }
            let name = format!("{}, crop {round}", case["name"]);
            let crop = &crops[round * 4..][..4];
            assert_eq!(
                scene.size(),
                [crop[3] - crop[1], crop[2] - crop[0]],
                "{name}"
            );
            // The image is its own record of where it was cropped.
            let first = [crop[1] as u8, crop[0] as u8];
            assert_eq!(scene.image.pixels[..2], first, "{name}");
            let expected = kept[round * each..][..each].iter().zip(0..);
            let expected = expected.filter(|(bbox, _)| bbox[0] >= 0.0);
            let (expected, labels): (Vec<[f32; 4]>, Vec<usize>) = expected.unzip();
            assert_eq!(scene.truth.boxes, expected, "{name}");
            assert_eq!(scene.truth.labels, labels, "{name}");
        }
    });
}

/// An image whose pixels hold their row and column.
fn scene([height, width]: [usize; 2], boxes: Vec<[f32; 4]>) -> Scene<'static> {
    let rows = (0..height).flat_map(|y| (0..width).flat_map(move |x| [y as u8, x as u8, 0]));
    Scene {
        image: Cow::Owned(DecodedImage::made([height, width], rows.collect())),
        truth: HostTruth {
            labels: (0..boxes.len()).collect(),
            boxes,
            ignore: Vec::new(),
        },
    }
}

/// Runs every case of a kind in the folder of goldens.
fn run(kind: &str, check: impl Fn(&Value, &SafeTensors<'_>)) {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let folder = std::env::var_os("AWEIGH_GOLDENS").map_or(own.clone(), PathBuf::from);
    let entries = std::fs::read_dir(&folder).expect("a folder of cases");
    let mut found = 0;
    for entry in entries {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read(&path).expect("readable");
        let case: Value = serde_json::from_slice(&text).expect("JSON");
        if case["kind"] == kind {
            let stored = std::fs::read(path.with_extension("safetensors")).expect("readable");
            let stored = SafeTensors::deserialize(&stored).expect("tensors");
            check(&case, &stored);
            found += 1;
        }
    }
    // Another folder may hold other groups only.
    assert!(found > 0 || folder != own, "no cases");
}

fn floats(stored: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = stored.tensor(name).expect(name).data().chunks_exact(4);
    let floats = bytes.map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four")));
    floats.collect()
}

fn doubles(stored: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let bytes = stored.tensor(name).expect(name).data().chunks_exact(8);
    let doubles = bytes.map(|bytes| f64::from_le_bytes(bytes.try_into().expect("eight")));
    doubles.collect()
}

fn quads(values: &[f32]) -> Vec<[f32; 4]> {
    let quads = values.chunks_exact(4);
    quads.map(|quad| quad.try_into().expect("four")).collect()
}
