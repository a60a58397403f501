//! Files that PyTorch and safetensors wrote.

use std::collections::BTreeMap;
use std::path::Path;

use aweigh_weights::{ReadError, Tensor, Values, WeightsFile};
use serde_json::json;

use crate::shared::fixture;

fn open(name: &str) -> WeightsFile {
    WeightsFile::open(&fixture(&format!("files/{name}"))).expect("readable weights")
}

fn check(file: &WeightsFile, name: &str, shape: &[usize], values: &[f32]) {
    let expected = Tensor::new(shape.to_vec(), values.to_vec());
    assert_eq!(file.tensors.get(name), Some(&expected), "{name}");
}

fn check_state_dict(file: &WeightsFile) {
    check(file, "conv.weight", &[2, 1, 1, 1], &[0.0, 0.125]);
    check(file, "bn.running_mean", &[2], &[0.0, 0.125]);
    assert_eq!(
        file.tensors["bn.num_batches_tracked"].values,
        Values::Integer
    );
    assert_eq!(file.tensors.len(), 3);
}

#[test]
fn a_checkpoint_gives_its_model_and_what_else_it_says() {
    let file = open("checkpoint.pth");
    check_state_dict(&file);
    assert_eq!(file.container.as_deref(), Some("state_dict"));
    let beside: BTreeMap<_, _> = file
        .beside
        .iter()
        .map(|b| (b.name.as_str(), b.reason.as_str()))
        .collect();
    assert_eq!(
        beside["optimizer.state.0.momentum_buffer"],
        "state of the optimiser"
    );
    let copy = "another copy of the model, `state_dict` is used";
    assert_eq!(beside["ema_state_dict.module.conv.weight"], copy);
    let python = file.python.expect("something beside tensors");
    assert_eq!(python["meta"]["epoch"], json!(12));
    assert_eq!(
        python["meta"]["dataset_meta"]["classes"],
        json!(["person", "car"])
    );
    assert_eq!(
        python["meta"]["foreign"],
        json!({"python": "__main__.Foreign"})
    );
    assert_eq!(
        python["meta"]["iter"],
        json!({"python": "numpy.core.multiarray.scalar"})
    );
    assert_eq!(python.get("state_dict"), None);
}

#[test]
fn the_legacy_format_is_read() {
    check_state_dict(&open("legacy.pth"));
}

#[test]
fn every_type_and_stride_is_read() {
    let file = open("dtypes.pth");
    for name in ["f64", "f16", "bf16"] {
        check(&file, name, &[2, 2], &[1.5, -2.0, 0.25, 4.0]);
    }
    check(&file, "transposed", &[2, 2], &[1.5, 0.25, -2.0, 4.0]);
    check(&file, "expanded", &[3], &[0.5; 3]);
    assert_eq!(file.tensors["flags"].values, Values::Integer);
}

#[test]
fn a_pickled_module_is_its_state_dict() {
    let file = open("whole_module.pth");
    check(&file, "conv.weight", &[2, 1, 1, 1], &[0.5; 2]);
    assert_eq!(file.container.as_deref(), Some("model"));
    assert_eq!(file.tensors.len(), 7);
}

#[test]
fn the_digest_is_of_the_whole_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("any.name");
    let header = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).expect("written");
    let file = WeightsFile::open(&path).expect("readable");
    // What sha256sum says of the same bytes.
    assert_eq!(
        file.sha256,
        "976ee9750f662754fa868ee57182142a4bfdba151564ff9d54b3cce3c50b91b1"
    );
    assert_eq!(file.non_finite(), [("a", 1)]);
}

#[test]
fn other_files_say_what_they_are() {
    let check = |path: &Path, words: &str| {
        let error = WeightsFile::open(path).expect_err("no weights").to_string();
        assert!(error.contains(words), "{error}");
        assert!(error.starts_with(&path.display().to_string()), "{error}");
    };
    check(&fixture("files/detectron2.pkl"), "a pickle of NumPy arrays");
    check(&fixture("files/object.pth"), "`torch.Tensor`");
    check(&fixture("files"), "this is a folder");
    check(
        &fixture("names/tv_resnet18.txt"),
        "looks like text (`conv1.weight 64 3 7 7`)",
    );
    let missing = fixture("files/missing.pth");
    check(&missing, "cannot read the weights");
    let error = WeightsFile::open(&missing).expect_err("missing");
    assert!(matches!(error, ReadError::Io { .. }));
}
