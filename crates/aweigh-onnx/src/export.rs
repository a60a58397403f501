//! A detector as an ONNX model.

use aweigh_backbone::FeatureSpec;
use aweigh_detectors::{Detector, DetectorConfig, DetectorConfigError, InferenceConfig};
use prost::Message;

use crate::OnnxError;
use crate::decode::{Level, Levels, Scored, decoded, detections};
use crate::graph::{Axis, Element, Port, Value};
use crate::heads::{self, HeadOutputs};
use crate::network::{Network, Pyramid};
use crate::options::{DeformConv, InputSize, OnnxOptions, Outputs, RawOutputs};
use crate::parameters::Parameters;
use crate::proto::{GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto};

/// Version of the format: that of ONNX 1.16, the first with operator set 21.
pub const IR_VERSION: i64 = 10;

/// Version of the operators: the first whose group normalisation has a scale per channel.
pub const OPSET: i64 = 21;

/// Largest size of a file of protocol buffers.
const LARGEST: usize = i32::MAX as usize;

/// Sides of images are multiples of this while training: those of the deepest map of a backbone.
const SIDE_MULTIPLE: usize = 32;

/// A detector as an ONNX model.
#[derive(Debug, Clone, PartialEq)]
pub struct OnnxModel {
    proto: ModelProto,
    /// What is not as in the checkpoint, or otherwise than the detector does it, as sentences.
    pub notes: Vec<String>,
}

impl OnnxModel {
    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }
}

/// Writes a detector, with its configuration, as an ONNX model.
///
/// The input is `images` `[B, 3, H, W]`, normalised and padded as in training. Outputs are those of
/// [`OnnxOptions::outputs`], boxes `x1, y1, x2, y2` in pixels of the input and inside of it.
///
/// # Errors
///
/// When the configuration is not valid, has no number of classes or is not that of the detector;
/// when the input has no pixels; when the file would be too large.
pub fn export(
    detector: &Detector,
    config: &DetectorConfig,
    options: &OnnxOptions,
) -> Result<OnnxModel, OnnxError> {
    config.validate()?;
    let classes = config.num_classes.ok_or(DetectorConfigError::NoClasses)?;
    let mut network = Network::new(Parameters::of(detector), options.deform_conv);
    let levels = pyramid(&mut network, config, options)?;
    let head = heads::export(&mut network, &detector.bbox_head, classes, &levels)?;
    let inference = detector.method().inference();
    let target = Target {
        options,
        inference,
        classes,
    };
    results(&mut network, &head, &levels, &target);
    if options.raw == RawOutputs::With {
        raw(&mut network, &head, &levels, options);
    }
    let title = detector.method().title();
    let mut notes = notes(&network, &target);
    notes.extend(borders(options, config));
    let proto = model(network.graph.finish(title), options, &notes);
    let bytes = proto.encoded_len();
    if bytes > LARGEST {
        return Err(OnnxError::TooLarge { bytes });
    }
    Ok(OnnxModel { proto, notes })
}

/// The input, the backbone and the neck.
fn pyramid(
    network: &mut Network,
    config: &DetectorConfig,
    options: &OnnxOptions,
) -> Result<Levels, OnnxError> {
    let size = match options.input {
        InputSize::Dynamic => None,
        InputSize::Fixed([height, width]) if height == 0 || width == 0 => {
            return Err(OnnxError::InputSize { height, width });
        }
        InputSize::Fixed(size) => Some(size),
    };
    let shapes = size.map(|size| config.level_shapes(size)).transpose()?;
    let sizes: Option<Vec<[usize; 2]>> = shapes.as_ref().map(|shapes| {
        let sizes = shapes.iter().map(|shape| [shape.height, shape.width]);
        sizes.collect()
    });
    let images = network.graph.input(images(size, options));
    let maps = network.backbone(&config.backbone, &images)?;
    let pyramid = Pyramid {
        config: &config.neck,
        inputs: &config.backbone.features(),
        sizes: sizes.as_deref(),
    };
    let features = network.fpn(&pyramid, &maps)?;
    let spacing = config.method()?.spacing();
    let level = |(index, (features, spec)): (usize, (Value, &FeatureSpec))| Level {
        index,
        stride: spec.stride,
        features,
        shape: shapes.as_ref().map(|shapes| shapes[index]),
        spacing,
        images: images.clone(),
    };
    let specs = config.levels()?;
    let levels = features.into_iter().zip(&specs).enumerate();
    Ok(Levels {
        levels: levels.map(level).collect(),
        specs,
        images,
        size,
    })
}

fn images(size: Option<[usize; 2]>, options: &OnnxOptions) -> Port {
    let [height, width] = match size {
        Some(size) => size.map(Axis::Known),
        None => ["height", "width"].map(Axis::named),
    };
    Port {
        name: "images".to_owned(),
        element: Element::Float,
        shape: vec![batch(options), Axis::Known(3), height, width],
        doc: format!(
            "Images, channel after channel, pixels of 0 to 255 normalised, then padded below and at \
             the right with zeros; sides of multiples of {SIDE_MULTIPLE} as in training."
        ),
    }
}

/// NMS takes one image at a time.
fn batch(options: &OnnxOptions) -> Axis {
    match options.outputs {
        Outputs::Decoded => Axis::named("batch"),
        Outputs::Detections => Axis::Known(1),
    }
}

/// What the decoding depends on.
struct Target<'a> {
    options: &'a OnnxOptions,
    inference: &'a InferenceConfig,
    /// C, the number of classes.
    classes: usize,
}

/// Boxes and scores of all points, or the detections.
fn results(network: &mut Network, head: &HeadOutputs, levels: &Levels, target: &Target<'_>) {
    let Target {
        options,
        inference,
        classes,
    } = *target;
    let graph = &mut network.graph;
    graph.enter("decode");
    let scored = head.predicted.iter();
    let scored: Vec<Scored> = scored.map(|p| Scored::new(graph, p, levels)).collect();
    let float = |name: &str, shape: Vec<Axis>, doc: &str| Port {
        name: name.to_owned(),
        element: Element::Float,
        shape,
        doc: doc.to_owned(),
    };
    const BOXES: &str = "x1, y1, x2, y2 in pixels of the input";
    match options.outputs {
        Outputs::Decoded => {
            let [boxes, scores] = decoded(graph, &scored, inference);
            let points = Axis::named("points");
            let axes = |last: usize| vec![batch(options), points.clone(), Axis::Known(last)];
            graph.output(&boxes, float("boxes", axes(4), BOXES));
            let doc = "of every class, combined with the location's quality";
            graph.output(&scores, float("scores", axes(classes), doc));
        }
        Outputs::Detections => {
            let [boxes, scores, labels] = detections(graph, &scored, classes, inference);
            let count = || Axis::named("detections");
            graph.output(&boxes, float("boxes", vec![count(), Axis::Known(4)], BOXES));
            graph.output(&scores, float("scores", vec![count()], "best first"));
            let labels_port = Port {
                element: Element::Int64,
                ..float("labels", vec![count()], "places in aweigh.classes, from 0")
            };
            graph.output(&labels, labels_port);
        }
    }
}

/// The outputs of the head.
fn raw(network: &mut Network, head: &HeadOutputs, levels: &Levels, options: &OnnxOptions) {
    for output in &head.raw {
        for (level, map) in levels.levels.iter().zip(&output.maps) {
            let [height, width] = level.axes();
            let port = Port {
                name: format!("{}_{}", output.name, level.index),
                element: Element::Float,
                shape: vec![batch(options), Axis::Known(output.channels), height, width],
                doc: format!(
                    "output {} of the head on stride {}",
                    output.name, level.stride
                ),
            };
            network.graph.output(map, port);
        }
    }
}

/// What users of the model should know.
fn notes(network: &Network, target: &Target<'_>) -> Vec<String> {
    let (options, inference) = (target.options, target.inference);
    let mut notes = Vec::new();
    let folded = network.folded.len();
    if folded > 0 {
        notes.push(format!(
            "{folded} batch norms are folded into the weights of their convolutions"
        ));
    }
    if network.deformable > 0 {
        notes.push(match options.deform_conv {
            DeformConv::Standard => format!(
                "{} deformable convolutions are ONNX's DeformConv",
                network.deformable
            ),
            DeformConv::Decomposed => format!(
                "{} deformable convolutions are made of GridSample and Conv",
                network.deformable
            ),
        });
    }
    if let InputSize::Fixed([height, width]) = options.input
        && network.group_norms > 0
    {
        notes.push(format!(
            "group norms average over the padding, too: for pictures of another shape than \
             {height}x{width}, detections differ from Aweigh's, which pads to multiples of \
             {SIDE_MULTIPLE} alone; a model of any size (--dynamic), fed so, gives the same"
        ));
    }
    if options.outputs == Outputs::Detections && inference.min_box_size > 0.0 {
        notes.push(format!(
            "min_box_size = {} is in pixels of the input, not of the file",
            inference.min_box_size
        ));
    }
    if options.outputs == Outputs::Detections {
        notes.push("labels are places in aweigh.classes, counted from 0".to_owned());
    }
    notes
}

/// Where boxes end, which the input alone does not say of the picture in it.
fn borders(options: &OnnxOptions, config: &DetectorConfig) -> Vec<String> {
    let after = match options.outputs {
        Outputs::Decoded => "clip them to the picture before NMS, as Aweigh does",
        Outputs::Detections => {
            "NMS compares them so, where Aweigh clips them to the picture first: clip what it keeps"
        }
    };
    let mut notes = vec![format!(
        "boxes are clipped to the borders of the input, its padding included; {after}"
    )];
    if config.fovea.is_some() {
        notes.push("FoveaBox's boxes end at the last pixel, width - 1 and height - 1".to_owned());
    }
    notes
}

fn model(graph: GraphProto, options: &OnnxOptions, notes: &[String]) -> ModelProto {
    let mut metadata = options.metadata.clone();
    let size = match options.input {
        InputSize::Fixed([height, width]) => format!("{height}x{width}"),
        InputSize::Dynamic => format!("multiples of {SIDE_MULTIPLE}"),
    };
    let own = [
        ("aweigh.input_size", size),
        ("aweigh.notes", notes.join("; ")),
    ];
    for (key, value) in own {
        metadata.entry(key.to_owned()).or_insert(value);
    }
    let entries = metadata.into_iter();
    ModelProto {
        ir_version: IR_VERSION,
        producer_name: "aweigh".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: String::new(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }],
        metadata_props: entries
            .map(|(key, value)| StringStringEntryProto { key, value })
            .collect(),
    }
}
