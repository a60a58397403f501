//! Weights that come in: of the run itself, and of other programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aweigh_backbone::{BackboneConfig, MobileNetV2Config};
use aweigh_testkit::device;
use aweigh_train::TrainError;
use aweigh_train::config::{Experiment, StartsFrom};
use aweigh_train::import::{ImportOptions, Imported, Partial, import};
use aweigh_train::model::{fresh, load};
use aweigh_train::named_tensors;
use aweigh_train::trainer::Trainer;
use aweigh_weights::{
    FileLayout, Overwrite, Part, Style, Tensor, WeightsFile, export_names, write_model,
};
use burn::module::Module;
use safetensors::tensor::{Dtype, TensorView};

use super::support::{Place, train};

type Tensors = BTreeMap<String, Tensor>;

fn options() -> ImportOptions {
    ImportOptions {
        config: None,
        normalization: None,
        classes: None,
        partial: Partial::Refused,
    }
}

fn with_config(experiment: Experiment) -> ImportOptions {
    ImportOptions {
        config: Some(experiment),
        ..options()
    }
}

fn tensors<M: Module>(module: &M) -> Tensors {
    let named = named_tensors(module).into_iter();
    let tensor =
        |data: burn::tensor::TensorData| Tensor::new(data.shape().to_vec(), data.iter().collect());
    named.map(|(name, data)| (name, tensor(data))).collect()
}

/// A file as other programs write it: tensors, and nothing about them.
fn write(path: &Path, tensors: &Tensors) {
    let bytes = |tensor: &Tensor| -> Vec<u8> {
        let values = tensor.floats().expect("floats").iter();
        values.flat_map(|value| value.to_le_bytes()).collect()
    };
    let content: Vec<(&String, &Tensor, Vec<u8>)> =
        tensors.iter().map(|(n, t)| (n, t, bytes(t))).collect();
    let views = content.iter().map(|(name, tensor, bytes)| {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes);
        (name, view.expect("as many bytes as the shape says"))
    });
    let file = safetensors::serialize(views, None).expect("a small header");
    std::fs::write(path, file).expect("writes");
}

fn write_imported(path: &Path, imported: &Imported) {
    write_model(path, &imported.model, Overwrite::Yes).expect("writes");
}

/// The narrowest MobileNetV2 without its last convolution.
fn short() -> BackboneConfig {
    BackboneConfig::MobileNetV2(MobileNetV2Config {
        widen_factor: 0.1,
        out_indices: vec![1, 2, 4, 6],
        ..MobileNetV2Config::default()
    })
}

/// The experiment of a place on that network.
fn on_short(place: &Place, changes: &[&str]) -> Experiment {
    let mut experiment = place.experiment("a", changes);
    experiment.detector.backbone = short();
    experiment.detector.num_classes = Some(5);
    experiment
}

#[test]
fn a_run_is_imported_with_what_it_knows() {
    let place = Place::new();
    let ended = train(place.experiment("a", &[]));
    let check = |source: PathBuf| {
        let imported = import(&source, &options(), &device()).expect("a checkpoint");
        let metadata = &imported.model.metadata;
        let names: Vec<&String> = metadata.classes.iter().map(|class| &class.name).collect();
        let expected: Vec<&String> = ended
            .state
            .classes
            .iter()
            .map(|class| &class.name)
            .collect();
        assert_eq!(names, expected);
        assert!(metadata.metrics.is_some(), "{}", source.display());
        let summary = &imported.report.summary;
        assert!(summary.ends_with("in Aweigh's layout"), "{summary}");
    };
    let run = place.run_dir("a");
    check(run.clone());
    check(run.join("checkpoints/best"));
    check(run.join("checkpoints/best/model.safetensors"));
    let from_run = format!("model.weights.detector={}", run.display());
    Trainer::new(place.experiment("b", &[&from_run]), &device()).expect("starts from a run");
}

#[test]
fn the_written_configuration_trains_on() {
    let place = Place::new();
    let old = "train.backbone_weights=old.pth";
    let threshold = "detector.fcos.test.score_threshold=0.2";
    let mut experiment = place.experiment("a", &[old, threshold]);
    experiment.detector.num_classes = Some(5);
    let network = fresh(&experiment.detector, 0, &device()).expect("a detector");
    let file = place.data().join("weights.pth");
    write(&file, &tensors(&network));
    let imported = import(&file, &with_config(experiment), &device()).expect("its own weights");
    let model = place.data().join("m.safetensors");
    let text = imported.config_text(&model).expect("a detector");
    assert!(text.contains("score_threshold = 0.2\n"), "{text}");
    for absent in ["num_classes", "[run]", "backbone_weights"] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    let read = Experiment::parse("written.toml", &text, &[]).expect("a configuration");
    assert_eq!(read.starts_from(), StartsFrom::Detector(&model));
}

#[test]
fn what_lies_behind_the_last_output_of_a_detector_is_left_out() {
    let place = Place::new();
    let experiment = on_short(&place, &[]);
    let network = fresh(&experiment.detector, 0, &device()).expect("a detector");
    let own = tensors(&network);
    let mut mmdet =
        export_names(own.clone(), Part::Detector, FileLayout::Mmdet).expect("mmdetection's names");
    let last = [
        "conv.weight",
        "bn.weight",
        "bn.bias",
        "bn.running_mean",
        "bn.running_var",
    ];
    let last = last.map(|name| {
        (
            format!("backbone.conv2.{name}"),
            Tensor::filled(vec![1], 1.0),
        )
    });
    mmdet.extend(last);
    let file = place.data().join("mmdet.pth");
    write(&file, &mmdet);
    let imported = import(&file, &with_config(experiment), &device()).expect("its weights");
    assert_eq!(imported.model.tensors, own);
    let behind = imported.report.skipped.iter();
    let behind = behind.filter(|skipped| skipped.reason == "behind the backbone's last output");
    assert_eq!(behind.count(), 5);
    load(network, &file).expect("the same without an import");
}

#[test]
fn a_mobilenet_without_its_last_convolution_is_imported_and_keeps_its_origin() {
    let place = Place::new();
    let file = place.data().join("short.pth");
    write(&file, &tensors(&short().init(&device())));
    let first = import(&file, &options(), &device()).expect("a backbone");
    let normalization = first.model.metadata.normalization.as_ref();
    assert_eq!(normalization.and_then(|n| n.style), None::<Style>);
    let source = first.model.metadata.source.clone().expect("an origin");
    assert!(source.starts_with("short.pth (SHA-256 "), "{source}");
    let model = place.data().join("short.safetensors");
    write_imported(&model, &first);
    let again = import(&model, &options(), &device()).expect("our own file");
    assert_eq!(again.model.metadata.source, Some(source));
}

#[test]
fn a_checksum_is_that_of_the_file_or_of_its_origin() {
    let place = Place::new();
    let file = place.data().join("short.pth");
    write(&file, &tensors(&short().init(&device())));
    let model = place.data().join("short.safetensors");
    write_imported(
        &model,
        &import(&file, &options(), &device()).expect("a backbone"),
    );
    let sha256 = |path: &Path| WeightsFile::open(path).expect("weights").sha256;
    let start = |digits: &str| {
        let weights = format!("model.weights.backbone={}", model.display());
        let digits = format!("model.weights.sha256={digits:?}");
        let experiment = on_short(&place, &[&weights, &digits]);
        Trainer::new(experiment, &device()).map(|_| ())
    };
    let refused = start("00000000").expect_err("another checksum").to_string();
    let [own, origin] = [&model, &file].map(|path| sha256(path));
    let words = format!("{own}, that of the file it was imported from {origin}, the configuration");
    assert!(refused.contains(&words), "{refused}");
    start(&origin[..8]).expect("that of the origin");
    std::fs::remove_dir_all(place.run_dir("a")).expect("removes");
    start(&own.to_uppercase()).expect("that of the file");
}

#[test]
fn another_network_is_named() {
    let place = Place::new();
    let file = place.data().join("short.pth");
    write(&file, &tensors(&short().init(&device())));
    let weights = format!("model.weights.backbone={}", file.display());
    let experiment = place.experiment("a", &[&weights]);
    let words = "the file is MobileNetV2 with a stem of 8 channels, the configuration has ResNet-18 \
                 of 4 base channels";
    let check = |error: TrainError| {
        let error = error.to_string();
        assert!(error.ends_with(words), "{error}");
    };
    check(Trainer::new(experiment.clone(), &device()).expect_err("another network"));
    check(import(&file, &with_config(experiment), &device()).expect_err("another network"));
}
