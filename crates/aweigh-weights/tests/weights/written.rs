//! Files that are written here.

use std::collections::BTreeMap;
use std::fs;

use aweigh_weights::{
    Class, ExportError, FileLayout, Layout, ModelFile, ModelMetadata, Overwrite, Part, Precision,
    Tensor, Wanted, WeightsFile, WriteError, export_names, recognise, write_model,
};

use crate::shared::{import, listed};

fn model(tensors: BTreeMap<String, Tensor>) -> ModelFile {
    ModelFile {
        tensors,
        metadata: ModelMetadata::new(Part::Backbone, FileLayout::Aweigh),
        precision: Precision::F32,
    }
}

fn small() -> ModelFile {
    let tensors = [("b", 2.5), ("a", -0.125)];
    model(
        tensors
            .map(|(name, v)| (name.to_owned(), Tensor::filled(vec![1, 3], v)))
            .into(),
    )
}

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("m.safetensors");
    let mut model = small();
    model.metadata.classes = vec![Class {
        id: 7,
        name: "cell".to_owned(),
    }];
    for precision in [Precision::F32, Precision::F16] {
        let model = ModelFile {
            precision,
            ..model.clone()
        };
        write_model(&path, &model, Overwrite::Yes).expect("written");
        let file = WeightsFile::open(&path).expect("readable");
        assert_eq!(file.tensors, model.tensors);
        assert_eq!(file.metadata["format"], "pt");
        let import = recognise(file, Wanted::Model).expect("ours");
        assert_eq!(
            (import.layout, import.part),
            (Layout::Aweigh, Part::Backbone)
        );
        assert_eq!(import.classes, Some(vec!["cell".to_owned()]));
        assert_eq!(import.metadata, Some(model.metadata));
    }
    let entries = fs::read_dir(dir.path()).expect("a folder").count();
    assert_eq!(entries, 1, "a temporary file is left");
}

#[test]
fn files_in_other_layouts_keep_what_is_known() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("m.safetensors");
    let fcos = import(listed("tv_fcos_resnet50_fpn"));
    let mut metadata = ModelMetadata::new(Part::Detector, FileLayout::Mmdet);
    metadata.normalization = fcos.usual_normalization.clone();
    metadata.method = Some("fcos".to_owned());
    let tensors = export_names(fcos.tensors.clone(), Part::Detector, FileLayout::Mmdet);
    let model = ModelFile {
        tensors: tensors.expect("names"),
        metadata,
        precision: Precision::F32,
    };
    write_model(&path, &model, Overwrite::No).expect("written");
    let file = WeightsFile::open(&path).expect("readable");
    let back = recognise(file, Wanted::Model).expect("mmdetection's");
    assert_eq!(back.layout, Layout::Mmdet);
    assert_eq!(back.tensors, fcos.tensors);
    assert_eq!(back.normalization, fcos.usual_normalization);
    assert_eq!(back.metadata, Some(model.metadata));
}

#[test]
fn the_crate_of_safetensors_reads_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("m.safetensors");
    write_model(&path, &small(), Overwrite::No).expect("written");
    let bytes = fs::read(&path).expect("readable");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let tensor = file.tensor("b").expect("a tensor");
    assert_eq!(tensor.shape(), [1, 3]);
    assert_eq!(tensor.data(), [2.5f32.to_le_bytes(); 3].concat());
    // Data are aligned, as some readers map them into memory.
    assert_eq!(
        tensor
            .data()
            .as_ptr()
            .addr()
            .wrapping_sub(bytes.as_ptr().addr())
            % 4,
        0
    );
}

#[test]
fn one_model_gives_one_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str| {
        let path = dir.path().join(name);
        write_model(&path, &small(), Overwrite::No).expect("written");
        fs::read(path).expect("readable")
    };
    assert_eq!(write("a"), write("b"));
}

#[test]
fn files_are_replaced_only_if_asked() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("m.safetensors");
    fs::write(&path, "mine").expect("written");
    let error = write_model(&path, &small(), Overwrite::No).expect_err("refused");
    assert!(matches!(error, WriteError::Exists { .. }), "{error}");
    assert_eq!(fs::read(&path).expect("readable"), b"mine");
    write_model(&path, &small(), Overwrite::Yes).expect("written");
    assert_ne!(fs::read(&path).expect("readable"), b"mine");
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let check = |name: &str, model: &ModelFile, words: &str| {
        let error =
            write_model(&dir.path().join(name), model, Overwrite::Yes).expect_err("refused");
        assert!(error.to_string().contains(words), "{error}");
    };
    let mut large = small();
    large
        .tensors
        .insert("large".to_owned(), Tensor::filled(vec![1], 1e6));
    let large = ModelFile {
        precision: Precision::F16,
        ..large
    };
    check("m.safetensors", &large, "`large` has the value 1000000");
    check("no/folder/m.safetensors", &small(), "cannot write");
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
}

/// That tensors come back from another layout as they were.
fn check_round_trip(list: &str, layout: FileLayout) {
    let first = import(listed(list));
    let part = first.part;
    let named = export_names(first.tensors.clone(), part, layout).expect("names");
    let second = import(named.clone());
    assert_eq!(second.tensors, first.tensors, "{list}");
    assert_eq!(second.left_over, [""; 0], "{list}");
    let again = export_names(second.tensors, part, layout).expect("names");
    assert_eq!(again, named, "{list}");
}

#[test]
fn layouts_come_back() {
    for list in [
        "tv_resnet50",
        "tv_mobilenet_v2",
        "mmdet_fcos_dcn",
        "mmdet_fovea_align",
        "mmdet_reppoints",
        "mmdet_fsaf",
        "mmdet_retinanet",
        "adelaidet_fcos",
    ] {
        check_round_trip(list, FileLayout::Mmdet);
    }
    for list in [
        "tv_resnet18",
        "tv_fcos_resnet50_fpn",
        "tv_retinanet_resnet50_fpn",
        "tv_retinanet_resnet50_fpn_v2",
    ] {
        check_round_trip(list, FileLayout::Torchvision);
    }
}

/// That a layout gives the very names and shapes of its framework.
fn check_names(list: &str, source: &str, layout: FileLayout) {
    let import = import(listed(source));
    let named = export_names(import.tensors, import.part, layout).expect("names");
    let shapes = |tensors: BTreeMap<String, Tensor>| -> Vec<(String, Vec<usize>)> {
        let wanted = |name: &str| !name.starts_with("fc.") && !name.starts_with("classifier.");
        let tensors = tensors.into_iter().filter(|(name, _)| wanted(name));
        tensors.map(|(name, tensor)| (name, tensor.shape)).collect()
    };
    assert_eq!(shapes(named), shapes(listed(list)), "{list} from {source}");
}

#[test]
fn exported_names_are_the_frameworks() {
    check_names("mmdet_fcos", "mmdet_fcos", FileLayout::Mmdet);
    check_names("mmdet_mobilenet_v2", "tv_mobilenet_v2", FileLayout::Mmdet);
    check_names(
        "tv_fcos_resnet50_fpn",
        "tv_fcos_resnet50_fpn",
        FileLayout::Torchvision,
    );
    check_names(
        "tv_retinanet_resnet50_fpn",
        "tv_retinanet_resnet50_fpn",
        FileLayout::Torchvision,
    );
    check_names(
        "tv_retinanet_resnet50_fpn_v2",
        "tv_retinanet_resnet50_fpn_v2",
        FileLayout::Torchvision,
    );
    check_names("tv_resnet50", "d2_resnet50", FileLayout::Torchvision);
}

#[test]
fn group_norms_have_mmdetections_names() {
    let tensors = listed("tv_resnet18")
        .into_iter()
        .filter(|(name, _)| !name.contains("running"));
    let own = import(tensors.collect());
    let named =
        export_names(own.tensors.clone(), Part::Backbone, FileLayout::Mmdet).expect("names");
    assert!(named.contains_key("gn1.weight") && named.contains_key("layer1.0.gn2.bias"));
    assert!(named.contains_key("layer2.0.downsample.1.weight"));
    assert_eq!(import(named).tensors, own.tensors);
}

#[test]
fn a_common_scale_goes_into_the_layer_of_boxes() {
    let fcos = |scales: [f32; 5]| {
        let mut tensors = import(listed("tv_fcos_resnet50_fpn")).tensors;
        for (level, scale) in scales.into_iter().enumerate() {
            let name = format!("bbox_head.scales.{level}.scale");
            tensors.insert(name, Tensor::filled(vec![1], scale));
        }
        export_names(tensors, Part::Detector, FileLayout::Torchvision)
    };
    let bias = |tensors: &BTreeMap<String, Tensor>| {
        tensors["head.regression_head.bbox_reg.bias"]
            .floats()
            .expect("floats")
            .to_vec()
    };
    assert_eq!(bias(&fcos([1.0; 5]).expect("names")), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(bias(&fcos([2.0; 5]).expect("names")), [2.0, 4.0, 6.0, 8.0]);
    for scales in [[1.0, 1.0, 1.0, 1.0, 2.0], [-1.0; 5]] {
        let scales_of = |scales: [f32; 5]| ExportError::Scales {
            scales: scales.to_vec(),
        };
        assert_eq!(fcos(scales), Err(scales_of(scales)));
    }
}

#[test]
fn torchvision_has_not_every_network() {
    let check = |list: &str, words: &str| {
        let import = import(listed(list));
        let result = export_names(import.tensors, import.part, FileLayout::Torchvision);
        let error = result.expect_err("no such network").to_string();
        assert!(error.contains(words), "{error}");
    };
    check("mmdet_fsaf", "torchvision has no FSAF");
    check("mmdet_fcos_dcn", "conv_offset");
}
