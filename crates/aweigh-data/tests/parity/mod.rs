//! The network input against mmdetection's, of every case in a folder.

use std::path::{Path, PathBuf};

use aweigh_data::{ChannelOrder, DecodeConfig, HostBatch, Resize, TransformConfig, decode};
use safetensors::SafeTensors;
use serde_json::Value;

/// Largest difference of an input from a JPEG file, in levels. Decoders round in their own ways:
/// once in the transform, once in the colours, and where colours of half the resolution are made
/// larger. Forty noisy pictures differ by 4 levels at most.
const JPEG_LARGEST: f64 = 8.0;

/// Largest mean of these differences, in levels, without their signs. Those pictures have 0.36 at
/// most.
const JPEG_MEAN: f64 = 0.5;

/// Largest difference where images are shrunk by areas, in levels: sums in another order round the
/// other way where they end at a half. Normalising leaves a hundred-thousandth of a level.
const AREA_LARGEST: f64 = 1.0001;

/// Largest mean of these differences: one value in two hundred rounds the other way.
const AREA_MEAN: f64 = 0.005;

#[test]
// A parity test prints the cases it ran with their largest error.
#[allow(clippy::print_stdout)]
fn inputs_are_mmdetections() {
    let folder = std::env::var_os("AWEIGH_GOLDENS").map_or_else(own_folder, PathBuf::from);
    let cases = cases(&folder);
    for case in &cases {
        let name = case["name"].as_str().expect("a name");
        let errors = levels(&folder, case);
        let largest = errors.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        let mean = errors.iter().map(|e| e.abs()).sum::<f64>() / errors.len() as f64;
        println!("{name}: largest error {largest} levels, mean {mean}");
        let [most, usual] = match (case["format"] == ".jpg", case["resize"] == "area") {
            (true, _) => [JPEG_LARGEST, JPEG_MEAN],
            (_, true) => [AREA_LARGEST, AREA_MEAN],
            _ => [0.0; 2],
        };
        assert!(largest <= most && mean <= usual, "{name}");
    }
    // Another folder may hold other groups only.
    assert!(!cases.is_empty() || folder != own_folder(), "no cases");
}

fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

fn cases(folder: &Path) -> Vec<Value> {
    let entries = std::fs::read_dir(folder).expect("a folder of cases");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    paths.sort();
    let read = |path: &PathBuf| std::fs::read(path).expect("readable");
    let metas = paths
        .iter()
        .map(|path| serde_json::from_slice(&read(path)).expect("JSON"));
    metas
        .filter(|meta: &Value| meta["kind"] == "network_input")
        .collect()
}

/// The differences of all values, in levels of 8 bits.
fn levels(folder: &Path, case: &Value) -> Vec<f64> {
    let name = case["name"].as_str().expect("a name");
    let stored = std::fs::read(folder.join(format!("{name}.safetensors"))).expect("readable");
    let stored = SafeTensors::deserialize(&stored).expect("tensors");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), stored.tensor("file").expect("a file").data()).expect("writes");
    let picture = decode(file.path(), &DecodeConfig::default()).expect("a picture");
    let transform = transform(case);
    let batch = HostBatch::from_picture(&picture, file.path(), &transform);

    let expected = stored.tensor("images").expect("images");
    assert_eq!(batch.shape[..], *expected.shape(), "{name}");
    let plane = batch.shape[2] * batch.shape[3];
    let expected = expected.data().chunks_exact(4);
    let expected = expected.map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four")));
    let pairs = batch.images.iter().zip(expected).enumerate();
    let error = |(i, (got, expected)): (usize, (&f32, f32))| {
        f64::from(got - expected) * f64::from(transform.std[i / plane])
    };
    pairs.map(error).collect()
}

fn transform(case: &Value) -> TransformConfig {
    let whole = |value: &Value| value.as_u64().expect("a whole number") as u32;
    let colours = |key: &str| [0, 1, 2].map(|i| case[key][i].as_f64().expect("a number") as f32);
    TransformConfig {
        long_edge: whole(&case["scale"][0]),
        short_edge: whole(&case["scale"][1]),
        mean: colours("mean"),
        std: colours("std"),
        channel_order: match case["bgr_to_rgb"].as_bool().expect("a flag") {
            true => ChannelOrder::Rgb,
            false => ChannelOrder::Bgr,
        },
        size_divisor: whole(&case["pad_size_divisor"]),
        resize: match case["resize"].as_str() {
            None | Some("bilinear") => Resize::Bilinear,
            Some("area") => Resize::Area,
            Some(other) => panic!("{other} is not known"),
        },
        ..TransformConfig::default()
    }
}
