//! Finding the layout and the prefix below which it lies.

use std::collections::BTreeSet;

use super::{
    ImportError, Layout, Part, Verdict, Wanted, adelaidet, caffe2, detectron2, mmdet, resnet,
    torchvision,
};
use crate::write::FileLayout;
use crate::{ModelMetadata, WeightsFile};

/// A layout, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) layout: Layout,
    pub(super) part: Part,
    /// What stands in front of the layout's names.
    pub(super) prefix: String,
    /// Other places where the layout lies, which are not used.
    pub(super) copies: Vec<String>,
    /// Maps of the backbone that a pyramid uses.
    pub(super) laterals: usize,
}

/// Tensors that every network of a layout has.
struct Anchors {
    layout: Layout,
    part: Part,
    names: &'static [&'static str],
}

/// The layouts, whole detectors before the backbones in them.
const ANCHORS: [Anchors; 14] = {
    use Layout::{
        AdelaiDet, Caffe2, Detectron2, Mmdet, Torchvision, TorchvisionFcos, TorchvisionRetina,
    };
    const fn anchors(layout: Layout, part: Part, names: &'static [&'static str]) -> Anchors {
        Anchors {
            layout,
            part,
            names,
        }
    }
    [
        anchors(
            AdelaiDet,
            Part::Detector,
            &[
                "backbone.bottom_up.stem.conv1.weight",
                "proposal_generator.fcos_head.cls_logits.weight",
            ],
        ),
        anchors(
            TorchvisionFcos,
            Part::Detector,
            &[
                "backbone.body.conv1.weight",
                "head.regression_head.bbox_ctrness.weight",
            ],
        ),
        anchors(
            TorchvisionRetina,
            Part::Detector,
            &[
                "backbone.body.conv1.weight",
                "head.regression_head.bbox_reg.weight",
                "head.classification_head.cls_logits.weight",
            ],
        ),
        anchors(
            Mmdet,
            Part::Detector,
            &[
                "backbone.*",
                "bbox_head.conv_cls.weight",
                "bbox_head.conv_reg.weight",
            ],
        ),
        anchors(
            Mmdet,
            Part::Detector,
            &["backbone.*", "bbox_head.fcos_cls.weight"],
        ),
        anchors(
            Mmdet,
            Part::Detector,
            &["backbone.*", "bbox_head.fovea_cls.weight"],
        ),
        anchors(
            Mmdet,
            Part::Detector,
            &[
                "backbone.*",
                "bbox_head.retina_cls.weight",
                "bbox_head.retina_reg.weight",
            ],
        ),
        anchors(
            Mmdet,
            Part::Detector,
            &["backbone.*", "bbox_head.reppoints_cls_out.weight"],
        ),
        anchors(
            Detectron2,
            Part::Backbone,
            &["stem.conv1.weight", "res2.0.conv1.weight"],
        ),
        anchors(Caffe2, Part::Backbone, &["conv1_w", "res2_0_branch2a_w"]),
        anchors(
            Torchvision,
            Part::Backbone,
            &["conv1.weight", "layer1.0.conv1.weight"],
        ),
        anchors(
            Torchvision,
            Part::Backbone,
            &["features.0.0.weight", "features.1.conv.0.0.weight"],
        ),
        anchors(
            Mmdet,
            Part::Backbone,
            &["conv1.conv.weight", "layer1.0.conv.0.conv.weight"],
        ),
        anchors(
            Mmdet,
            Part::Backbone,
            &["conv1.conv.weight", "layer1.0.depthwise_conv.conv.weight"],
        ),
    ]
};

/// Backbones that a detector of mmdetection may have here.
const BACKBONES: [&str; 3] = [
    "backbone.conv1.weight",
    "backbone.features.0.0.weight",
    "backbone.conv1.conv.weight",
];

/// Which of two copies of a network is used: that whose prefix has the earlier of these words. No
/// word at all comes first.
const COPIES: [&str; 12] = [
    "teacher",
    "encoder_q",
    "online",
    "base_encoder",
    "student",
    "ema",
    "model_ema",
    "encoder_k",
    "momentum_encoder",
    "target",
    "momentum",
    "shadow",
];

impl Found {
    /// A file of ours.
    fn own(part: Part) -> Self {
        Self {
            layout: Layout::Aweigh,
            part,
            prefix: String::new(),
            copies: Vec::new(),
            laterals: 0,
        }
    }

    /// What a name of the layout is here, the prefix left out.
    pub(super) fn rename(&self, name: &str) -> Verdict {
        match (self.layout, self.part) {
            (Layout::Aweigh, _) => Verdict::Own(name.to_owned()),
            (Layout::Torchvision, _) => resnet::rename(name),
            (Layout::TorchvisionFcos, _) => torchvision::rename_fcos(name, self.laterals),
            (Layout::TorchvisionRetina, _) => torchvision::rename_retina(name, self.laterals),
            (Layout::Mmdet, Part::Detector) => mmdet::rename(name),
            (Layout::Mmdet, Part::Backbone) => mmdet::rename_backbone(name),
            (Layout::AdelaiDet, _) => adelaidet::rename(name, self.laterals),
            (Layout::Detectron2, _) => detectron2::rename(name),
            (Layout::Caffe2, _) => caffe2::rename(name),
        }
    }
}

/// The layout of a file.
///
/// # Errors
///
/// When there is none, several networks fit, or it is another detector's.
pub(super) fn find(
    file: &WeightsFile,
    metadata: Option<&ModelMetadata>,
    wanted: Wanted,
) -> Result<Found, ImportError> {
    // A file of ours says itself what it is.
    if let Some(metadata) = metadata.filter(|m| m.layout == FileLayout::Aweigh) {
        return Ok(Found::own(metadata.part));
    }
    let names: BTreeSet<&str> = file.tensors.keys().map(String::as_str).collect();
    let fitting = ANCHORS
        .iter()
        .filter(|anchors| wanted == Wanted::Model || anchors.part == Part::Backbone);
    let places = fitting.map(|anchors| (anchors, prefixes(&names, anchors.names)));
    let known = places
        .into_iter()
        .find(|(_, prefixes)| !prefixes.is_empty());
    // A known backbone says nothing about the head beside it.
    let whole = known
        .as_ref()
        .is_some_and(|(anchors, _)| anchors.part == Part::Detector);
    if wanted == Wanted::Model && !whole {
        refuse_other_detector(file, &names)?;
    }
    let (anchors, prefixes) = known.ok_or_else(|| unknown(file, &names))?;
    let (prefix, copies) = choose(&prefixes).ok_or_else(|| {
        let path = file.path.clone();
        let shown: Vec<_> = prefixes.iter().map(|p| format!("`{p}`")).collect();
        let prefixes = shown.join(", ");
        ImportError::Ambiguous { path, prefixes }
    })?;
    let laterals = laterals(&names, &prefix);
    let layout = layout(anchors.layout, &names, &prefix);
    let part = anchors.part;
    Ok(Found {
        layout,
        part,
        prefix,
        copies,
        laterals,
    })
}

/// mmdetection's backbones have torchvision's names, but for group norms, below `backbone.`.
fn layout(found: Layout, names: &BTreeSet<&str>, prefix: &str) -> Layout {
    let group_norm = names.contains(format!("{prefix}gn1.weight").as_str());
    let mmdet = group_norm || prefix.ends_with("backbone.");
    if found == Layout::Torchvision && mmdet {
        return Layout::Mmdet;
    }
    found
}

fn refuse_other_detector(file: &WeightsFile, names: &BTreeSet<&str>) -> Result<(), ImportError> {
    let Some((detector, name)) = mmdet::other_detector(names) else {
        return Ok(());
    };
    Err(ImportError::OtherDetector {
        path: file.path.clone(),
        detector: detector.to_owned(),
        name: name.to_owned(),
    })
}

/// What stands in front of all anchors somewhere in a file; a name ends in `.` or is none.
fn prefixes(names: &BTreeSet<&str>, anchors: &[&str]) -> Vec<String> {
    let (last, others) = anchors.split_last().expect("a layout has anchors");
    let candidates = names.iter().filter_map(|name| name.strip_suffix(last));
    let whole = candidates.filter(|prefix| prefix.is_empty() || prefix.ends_with('.'));
    let has = |prefix: &str, anchor: &str| names.contains(format!("{prefix}{anchor}").as_str());
    let fits = |prefix: &&str| {
        others.iter().all(|anchor| match *anchor {
            "backbone.*" => BACKBONES.iter().any(|backbone| has(prefix, backbone)),
            anchor => has(prefix, anchor),
        })
    };
    whole.filter(fits).map(str::to_owned).collect()
}

/// The prefix that is used, and the others; nothing if it cannot be said which.
fn choose(prefixes: &[String]) -> Option<(String, Vec<String>)> {
    let rank = |prefix: &str| {
        let words = prefix.split('.');
        words
            .filter_map(|word| COPIES.iter().position(|copy| *copy == word))
            .min()
            .map_or(0, |i| i + 1)
    };
    let best = prefixes.iter().map(|prefix| rank(prefix)).min()?;
    let mut first = prefixes.iter().filter(|prefix| rank(prefix) == best);
    let chosen = first.next()?;
    if first.next().is_some() {
        return None;
    }
    let copies = prefixes.iter().filter(|prefix| *prefix != chosen);
    Some((chosen.clone(), copies.cloned().collect()))
}

/// How many maps a pyramid of torchvision or Detectron2 uses.
fn laterals(names: &BTreeSet<&str>, prefix: &str) -> usize {
    let lateral = ["backbone.fpn.inner_blocks.", "backbone.fpn_lateral"];
    let numbers = names.iter().filter_map(|name| {
        let rest = name.strip_prefix(prefix)?;
        let rest = lateral
            .iter()
            .find_map(|lateral| rest.strip_prefix(lateral))?;
        rest.split('.').next()
    });
    numbers.collect::<BTreeSet<_>>().len()
}

fn unknown(file: &WeightsFile, names: &BTreeSet<&str>) -> ImportError {
    const SHOWN: usize = 6;
    let head = names.iter().find(|name| name.contains("bbox_head."));
    let backbone = names.iter().find(|name| name.contains("backbone."));
    let problem = match (head, backbone) {
        (Some(_), Some(backbone)) => {
            format!("the backbone (`{backbone}`) is none of ResNet, ResNeXt and MobileNetV2")
        }
        (Some(head), None) => format!("there is a head (`{head}`) and no backbone"),
        _ => "no name is one of a network that is known".to_owned(),
    };
    let first: Vec<_> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    ImportError::Unknown {
        path: file.path.clone(),
        problem,
        count: names.len(),
        names: first.join(", "),
    }
}
