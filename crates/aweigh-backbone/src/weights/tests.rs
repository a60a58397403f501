use std::fs;

use super::*;
use crate::resnet::tests::tensors_with_gradient;
use crate::{Backbone, BackboneConfig, Depth, NormConfig, ResNetConfig};
use aweigh_testkit::device;
use safetensors::{Dtype, tensor::TensorView};

fn config() -> BackboneConfig {
    with_norm(NormConfig::default())
}

fn with_norm(norm: NormConfig) -> BackboneConfig {
    BackboneConfig::ResNet(ResNetConfig {
        depth: Depth::D18,
        base_channels: 1,
        norm,
        ..ResNetConfig::default()
    })
}

/// Element i of a tensor of the right file.
fn value(i: usize) -> f32 {
    (i % 17) as f32 / 8.0 - 1.0
}

/// Names and shapes of every tensor of a network.
fn shapes(net: &Backbone) -> BTreeMap<String, Vec<usize>> {
    let tensors = net.collect(None, None, true).into_iter();
    tensors.map(|t| (t.name, t.shape.to_vec())).collect()
}

fn values(net: &Backbone) -> Vec<f32> {
    let tensors = net.collect(None, None, true);
    let data = tensors
        .iter()
        .map(|t| bridge::to_data(t).expect("resident data"));
    data.flat_map(|d| d.iter::<f32>().collect::<Vec<_>>())
        .collect()
}

fn expected(shapes: &BTreeMap<String, Vec<usize>>, net: &Backbone) -> Vec<f32> {
    let order = net.collect(None, None, true).into_iter();
    let count = |name: &str| shapes[name].iter().product::<usize>();
    order.flat_map(|t| (0..count(&t.name)).map(value)).collect()
}

/// Writes f32 tensors to a `.safetensors` file.
pub(crate) fn write(path: &Path, tensors: BTreeMap<String, TensorData>) {
    let views = tensors.iter().map(|(name, data)| {
        let shape = data.shape().to_vec();
        let view = TensorView::new(Dtype::F32, shape, data.as_bytes()).expect("a whole tensor");
        (name, view)
    });
    let bytes = safetensors::serialize(views, None).expect("bytes");
    fs::write(path, bytes).expect("a file");
}

/// Writes f32 tensors to `name` in a new folder, after `edit` changed their list.
fn file(
    name: &str,
    edit: impl FnOnce(&mut BTreeMap<String, Vec<usize>>),
) -> (tempfile::TempDir, PathBuf) {
    let mut tensors = shapes(&config().init(&device()));
    edit(&mut tensors);
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(name);
    let tensors = tensors.into_iter().map(|(name, shape)| {
        let values = (0..shape.iter().product()).map(value);
        (name, TensorData::new(values.collect(), shape))
    });
    write(&path, tensors.collect());
    (dir, path)
}

fn check_right(edit: impl FnOnce(&mut BTreeMap<String, Vec<usize>>)) {
    let (_dir, path) = file("r18.safetensors", edit);
    let net = config()
        .init(&device())
        .load_weights(&path)
        .expect("the right file");
    let shapes = shapes(&net);
    assert_eq!(values(&net), expected(&shapes, &net));
}

fn rename(tensors: &mut BTreeMap<String, Vec<usize>>, new: impl Fn(&str) -> String) {
    let old = std::mem::take(tensors);
    tensors.extend(old.into_iter().map(|(name, shape)| (new(&name), shape)));
}

#[test]
fn a_right_file_sets_every_tensor() {
    check_right(|_| ());
    check_right(|tensors| {
        tensors.insert("fc.weight".into(), vec![10, 8]);
        tensors.insert("fc.bias".into(), vec![10]);
        tensors.insert("bn1.num_batches_tracked".into(), vec![1]);
    });
    check_right(|tensors| {
        rename(tensors, |name| format!("backbone.{name}"));
        tensors.insert("neck.lateral_convs.0.conv.weight".into(), vec![4, 8, 1, 1]);
    });
    check_right(|tensors| rename(tensors, |name| format!("module.backbone.{name}")));
}

#[test]
fn group_norms_keep_the_names_of_mmdetection() {
    let config = with_norm(NormConfig::GroupNorm { groups: 1 });
    let (_dir, path) = file("gn.safetensors", |tensors| {
        *tensors = shapes(&config.init(&device()));
        rename(tensors, |name| name.replace("bn", "gn"));
    });
    let net = config
        .init(&device())
        .load_weights(&path)
        .expect("the right file");
    let shapes = shapes(&net);
    assert_eq!(values(&net), expected(&shapes, &net));
}

#[test]
fn an_mmdetection_checkpoint_of_pytorch_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/detector_r18_w1.pth");
    let net = config()
        .init(&device())
        .load_weights(&path)
        .expect("the right file");
    let shapes = shapes(&net);
    assert_eq!(values(&net), expected(&shapes, &net));
}

#[test]
fn a_wrong_file_is_described() {
    let (_dir, path) = file("wrong.safetensors", |tensors| {
        tensors.remove("layer2.0.conv1.weight");
        tensors.insert("bn1.weight".into(), vec![2]);
    });
    let error = config().init(&device()).load_weights(&path).unwrap_err();
    let expected = format!(
        "{}: the weights do not fit the model; 1 missing in the file: layer2.0.conv1.weight; \
         1 of another shape: bn1.weight ([2] instead of [1])",
        path.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn long_lists_are_shortened() {
    let (_dir, path) = file("other.safetensors", |tensors| {
        tensors.retain(|name, _| !name.contains("bn"));
    });
    let error = config()
        .init(&device())
        .load_weights(&path)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("68 missing in the file: bn1.bias, bn1.running_mean"),
        "{error}"
    );
    assert!(error.ends_with(", ..."), "{error}");
}

fn check_unreadable(name: &str, bytes: Option<&[u8]>, expected: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(name);
    if let Some(bytes) = bytes {
        fs::write(&path, bytes).expect("a file");
    }
    let error = config()
        .init(&device())
        .load_weights(&path)
        .unwrap_err()
        .to_string();
    let start = format!("{}: {expected}", path.display());
    assert!(error.starts_with(&start), "{error}");
}

#[test]
fn an_unreadable_file_is_named() {
    check_unreadable("absent.pth", None, "cannot read the weights: No such file");
    check_unreadable("damaged.pth", Some(b"PK\x03\x04 and nothing else"), "");
    check_unreadable("text.pth", Some(b"not a checkpoint"), "");
    check_unreadable("empty.pt", Some(b""), "");
    check_unreadable("damaged.safetensors", Some(b"\xff\xff"), "");
}

#[test]
fn loading_keeps_what_is_frozen() {
    let (_dir, path) = file("r18.safetensors", |_| ());
    let device = device().autodiff();
    let net = config()
        .init(&device)
        .load_weights(&path)
        .expect("the right file");
    let images = burn::tensor::Tensor::ones([1, 3, 32, 32], &device);
    let last = net.forward(images).pop().expect("a map");
    let trained = tensors_with_gradient(&net, last.sum());
    let frozen = |name: &String| name.starts_with("layer1.") || name.contains("running_");
    assert_eq!(trained.iter().find(|name| frozen(name)), None);
}
