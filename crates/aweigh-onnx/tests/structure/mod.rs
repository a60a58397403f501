//! Graphs are whole: whatever a node takes is there, under a name of its own.

use std::collections::{BTreeMap, BTreeSet};

use aweigh_detectors::{Detector, DetectorConfig};
use aweigh_onnx::proto::{
    DimensionValue, GraphProto, ModelProto, TypeValue, ValueInfoProto, data_type,
};
use aweigh_onnx::{
    DeformConv, IR_VERSION, InputSize, OPSET, OnnxModel, OnnxOptions, Outputs, RawOutputs, export,
};
use aweigh_testkit::device;
use burn::store::{ModuleSnapshot, bridge};
use prost::Message;

use crate::recipes;

/// Ways to export a detector.
fn options() -> Vec<OnnxOptions> {
    let inputs = [InputSize::Fixed([64, 96]), InputSize::Dynamic];
    let each = |input| {
        [Outputs::Decoded, Outputs::Detections].map(|outputs| OnnxOptions {
            outputs,
            ..OnnxOptions::new(input)
        })
    };
    let mut options: Vec<OnnxOptions> = inputs.into_iter().flat_map(each).collect();
    options.extend(inputs.map(|input| OnnxOptions {
        raw: RawOutputs::With,
        deform_conv: DeformConv::Decomposed,
        ..OnnxOptions::new(input)
    }));
    options
}

fn detector(config: &DetectorConfig) -> Detector {
    config.init(&device()).expect("a detector")
}

fn exported(config: &DetectorConfig, options: &OnnxOptions) -> (OnnxModel, ModelProto) {
    let model = export(&detector(config), config, options).expect("a model");
    let read = ModelProto::decode(model.to_bytes().as_slice()).expect("a whole file");
    (model, read)
}

fn graph(model: &ModelProto) -> &GraphProto {
    model.graph.as_ref().expect("a graph")
}

/// What is wrong with a graph.
fn problems(graph: &GraphProto) -> Vec<String> {
    let mut problems = Vec::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let inputs = graph.input.iter().map(|input| input.name.as_str());
    let constants = graph.initializer.iter().map(|tensor| tensor.name.as_str());
    for name in inputs.chain(constants) {
        if !known.insert(name) {
            problems.push(format!("`{name}` is there twice"));
        }
    }
    for node in &graph.node {
        for input in node.input.iter().filter(|input| !input.is_empty()) {
            used.insert(input);
            if !known.contains(input.as_str()) {
                problems.push(format!("{} takes `{input}`, which is not there", node.name));
            }
        }
        for output in &node.output {
            if !known.insert(output) {
                problems.push(format!("`{output}` is there twice"));
            }
        }
    }
    let outputs = graph.output.iter().map(|output| output.name.as_str());
    let missing = outputs.filter(|name| !known.contains(name));
    problems.extend(missing.map(|name| format!("no node makes the output `{name}`")));
    let constants = graph.initializer.iter();
    let unused = constants.filter(|tensor| !used.contains(tensor.name.as_str()));
    problems.extend(unused.map(|tensor| format!("nothing takes the constant `{}`", tensor.name)));
    problems
}

#[test]
fn every_graph_is_whole() {
    for config in recipes::all() {
        for options in options() {
            let (_, model) = exported(&config, &options);
            let found = problems(graph(&model));
            assert!(found.is_empty(), "{found:#?} of {config:?}, {options:?}");
        }
    }
}

#[test]
fn names_of_nodes_are_unique() {
    for config in recipes::all() {
        let (_, model) = exported(&config, &OnnxOptions::new(InputSize::Dynamic));
        let names = graph(&model).node.iter().map(|node| node.name.as_str());
        let names: Vec<&str> = names.collect();
        let distinct: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(distinct.len(), names.len());
    }
}

#[test]
fn constants_have_the_bytes_of_their_shapes() {
    for config in recipes::all() {
        let (_, model) = exported(&config, &OnnxOptions::new(InputSize::Fixed([64, 96])));
        for tensor in &graph(&model).initializer {
            let count: i64 = tensor.dims.iter().product();
            let size = match tensor.data_type {
                data_type::FLOAT => 4,
                data_type::INT64 => 8,
                other => panic!("{}: type {other}", tensor.name),
            };
            assert_eq!(
                tensor.raw_data.len() as i64,
                count * size,
                "{}",
                tensor.name
            );
        }
    }
}

/// Name and shape of an input or output.
fn described(value: &ValueInfoProto) -> String {
    let value_type = value.r#type.as_ref().and_then(|t| t.value.as_ref());
    let Some(TypeValue::TensorType(tensor)) = value_type else {
        panic!("{}: no tensor", value.name);
    };
    let axes = tensor.shape.iter().flat_map(|shape| &shape.dim);
    let axes = axes.map(|axis| match &axis.value {
        Some(DimensionValue::DimValue(length)) => length.to_string(),
        Some(DimensionValue::DimParam(name)) => name.clone(),
        None => panic!("{}: an axis without a length", value.name),
    });
    format!("{} [{}]", value.name, axes.collect::<Vec<_>>().join(", "))
}

fn check_ports(options: &OnnxOptions, input: &str, outputs: &[&str]) {
    let (_, model) = exported(&recipes::fcos(Default::default()), options);
    let graph = graph(&model);
    let inputs: Vec<String> = graph.input.iter().map(described).collect();
    assert_eq!(inputs, [input]);
    let found: Vec<String> = graph.output.iter().map(described).collect();
    assert_eq!(found, outputs);
}

#[test]
fn inputs_and_outputs_are_described() {
    let fixed = OnnxOptions::new(InputSize::Fixed([64, 96]));
    let decoded = ["boxes [batch, points, 4]", "scores [batch, points, 3]"];
    check_ports(&fixed, "images [batch, 3, 64, 96]", &decoded);
    let any = OnnxOptions::new(InputSize::Dynamic);
    check_ports(&any, "images [batch, 3, height, width]", &decoded);
    let detections = OnnxOptions {
        outputs: Outputs::Detections,
        ..fixed
    };
    let found = [
        "boxes [detections, 4]",
        "scores [detections]",
        "labels [detections]",
    ];
    check_ports(&detections, "images [1, 3, 64, 96]", &found);
}

#[test]
fn raw_outputs_come_level_by_level() {
    let options = OnnxOptions {
        raw: RawOutputs::With,
        ..OnnxOptions::new(InputSize::Fixed([64, 96]))
    };
    let config = recipes::fcos(Default::default());
    let (_, model) = exported(&config, &options);
    let raw: Vec<String> = graph(&model).output[2..].iter().map(described).collect();
    assert_eq!(raw.len(), 3 * 5);
    assert_eq!(raw[0], "cls_score_0 [batch, 3, 8, 12]");
    assert_eq!(raw[14], "centerness_4 [batch, 1, 1, 1]");
}

#[test]
fn models_say_what_they_are() {
    let options = OnnxOptions {
        metadata: BTreeMap::from([("classes".to_owned(), "[\"cell\"]".to_owned())]),
        ..OnnxOptions::new(InputSize::Dynamic)
    };
    let (exported, model) = exported(&recipes::fcos(Default::default()), &options);
    assert_eq!(
        (model.ir_version, model.opset_import[0].version),
        (IR_VERSION, OPSET)
    );
    assert_eq!(model.producer_name, "aweigh");
    assert_eq!(graph(&model).name, "FCOS");
    let entries = model.metadata_props.iter();
    let metadata: BTreeMap<&str, &str> = entries
        .map(|e| (e.key.as_str(), e.value.as_str()))
        .collect();
    assert_eq!(metadata["classes"], "[\"cell\"]");
    assert_eq!(metadata["aweigh.notes"], exported.notes.join("; "));
}

#[test]
fn what_was_changed_is_noted() {
    let options = OnnxOptions::new(InputSize::Dynamic);
    let [plain, decomposed] = [DeformConv::Standard, DeformConv::Decomposed].map(|deform_conv| {
        let options = OnnxOptions {
            deform_conv,
            ..options.clone()
        };
        let config = recipes::all()[3].clone();
        exported(&config, &options).0.notes.join("\n")
    });
    assert!(plain.contains("20 batch norms are folded"), "{plain}");
    assert!(
        plain.contains("5 deformable convolutions are ONNX's"),
        "{plain}"
    );
    assert!(decomposed.contains("made of GridSample"), "{decomposed}");
    assert!(plain.contains("borders of the input"), "{plain}");
}

#[test]
fn what_a_runtime_does_otherwise_is_noted() {
    let check = |config: &DetectorConfig, options: &OnnxOptions, words: &str, there: bool| {
        let notes = exported(config, options).0.notes.join("\n");
        assert_eq!(notes.contains(words), there, "`{words}`: {notes}");
    };
    let fcos = recipes::fcos(Default::default());
    let with_nms = |input| OnnxOptions {
        outputs: Outputs::Detections,
        ..OnnxOptions::new(input)
    };
    let (fixed, dynamic) = (InputSize::Fixed([64, 96]), InputSize::Dynamic);
    let group_norm = "group norms average over the padding, too: for pictures of another shape \
                      than 64x96";
    check(&fcos, &with_nms(fixed), group_norm, true);
    check(&fcos, &with_nms(dynamic), "group norms", false);
    let before = "clip them to the picture before NMS";
    check(&fcos, &OnnxOptions::new(dynamic), before, true);
    let so = "NMS compares them so";
    check(&fcos, &with_nms(dynamic), so, true);
    let labels = "labels are places in aweigh.classes";
    check(&fcos, &with_nms(dynamic), labels, true);
    check(&fcos, &OnnxOptions::new(dynamic), labels, false);
    check(&fcos, &OnnxOptions::new(dynamic), "FoveaBox", false);
    let mut all = recipes::all().into_iter();
    let fovea = all.find(|config| config.fovea.is_some()).expect("a recipe");
    let last_pixel = "end at the last pixel, width - 1";
    check(&fovea, &OnnxOptions::new(dynamic), last_pixel, true);
}

/// Values of a constant.
fn values(graph: &GraphProto, name: &str) -> Vec<f32> {
    let mut constants = graph.initializer.iter();
    let found = constants.find(|tensor| tensor.name == name).expect(name);
    let (chunks, _) = found.raw_data.as_chunks::<4>();
    chunks
        .iter()
        .map(|chunk| f32::from_le_bytes(*chunk))
        .collect()
}

#[test]
fn batch_norm_is_folded_into_the_weights_before_it() {
    let config = recipes::fcos(Default::default());
    let detector = detector(&config);
    let model = export(&detector, &config, &OnnxOptions::new(InputSize::Dynamic));
    let model = ModelProto::decode(model.expect("a model").to_bytes().as_slice());
    let model = model.expect("a whole file");
    let tensors = detector.collect(None, None, true).into_iter();
    let mut tensors = tensors.filter(|tensor| tensor.name == "backbone.conv1.weight");
    let own = bridge::to_data(&tensors.next().expect("a stem")).expect("a tensor in memory");
    // A new norm has scale 1, shift 0, mean 0 and variance 1.
    let scale = 1.0 / (1.0_f32 + 1e-5).sqrt();
    let expected: Vec<f32> = own.iter::<f32>().map(|weight| weight * scale).collect();
    assert_eq!(values(graph(&model), "backbone.conv1.weight"), expected);
    assert_eq!(values(graph(&model), "backbone.conv1.bias"), [0.0; 4]);
    let names = graph(&model).initializer.iter().map(|tensor| &tensor.name);
    let norms: Vec<&String> = names.filter(|name| name.contains("bn1")).collect();
    assert!(norms.is_empty(), "{norms:?}");
}

#[test]
fn weights_are_written_once_for_all_levels() {
    let (_, model) = exported(
        &recipes::fcos(Default::default()),
        &OnnxOptions::new(InputSize::Dynamic),
    );
    let constants = graph(&model).initializer.iter();
    let weights = constants.filter(|tensor| tensor.name == "bbox_head.cls_convs.0.conv.weight");
    assert_eq!(weights.count(), 1);
    let nodes = graph(&model).node.iter();
    let users = nodes.filter(|node| {
        node.op_type == "Conv" && node.input[1] == "bbox_head.cls_convs.0.conv.weight"
    });
    assert_eq!(users.count(), 5);
}

#[test]
fn deformable_convolutions_are_the_operator_or_made_of_others() {
    let check = |deform_conv, expected: &[&str], absent: &str| {
        let options = OnnxOptions {
            deform_conv,
            ..OnnxOptions::new(InputSize::Dynamic)
        };
        let (_, model) = exported(&recipes::all()[3], &options);
        let nodes = graph(&model).node.iter();
        let operators: BTreeSet<&str> = nodes.map(|node| node.op_type.as_str()).collect();
        assert!(
            expected.iter().all(|name| operators.contains(name)),
            "{operators:?}"
        );
        assert!(!operators.contains(absent), "{operators:?}");
    };
    check(DeformConv::Standard, &["DeformConv"], "GridSample");
    check(DeformConv::Decomposed, &["GridSample"], "DeformConv");
}
