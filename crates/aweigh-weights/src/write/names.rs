//! Other frameworks' names for our tensors.

use std::collections::BTreeMap;

use thiserror::Error;

use super::FileLayout;
use crate::architecture::{Architecture, BackboneKind, Method};
use crate::layout::mmdet::{MOBILENET_BLOCKS, last_conv};
use crate::{Part, Tensor};

type Tensors = BTreeMap<String, Tensor>;

/// Why tensors have no names in a layout.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum ExportError {
    /// The layout has no such network.
    #[error("torchvision has no {network}; expected a backbone, FCOS or RetinaNet on ResNet-50")]
    Network {
        /// What the tensors are.
        network: String,
    },
    /// The layout has no such tensor.
    #[error("torchvision's networks have nothing like `{name}`")]
    Tensor {
        /// Our name.
        name: String,
    },
    /// The scales of levels differ, and the layout has one layer for all of them.
    #[error(
        "the scales of the levels are {scales:?}; torchvision's FCOS has none, and its one layer of boxes can only take a common one above 0"
    )]
    Scales {
        /// The scales.
        scales: Vec<f32>,
    },
}

/// Our tensors under the names of a layout, for other programs.
///
/// mmdetection gets scalars for FCOS's scales, `gn1` for a backbone's group norms and its own names
/// for MobileNetV2. torchvision gets its modules' numbers; FCOS's scales, which it does not have, go
/// into the layer of boxes: `relu(s x) = s relu(x)` for `s > 0`, so weight and bias are multiplied by
/// the scale that all levels share. Convolutions of its towers have biases, 0 where ours have none.
///
/// # Errors
///
/// When the layout has no such network, or cannot hold its scales.
pub fn export_names(
    tensors: Tensors,
    part: Part,
    layout: FileLayout,
) -> Result<Tensors, ExportError> {
    match (layout, part) {
        (FileLayout::Aweigh, _) => Ok(tensors),
        (FileLayout::Mmdet, part) => Ok(to_mmdet(tensors, part)),
        (FileLayout::Torchvision, part) => {
            refuse_offsets(&tensors)?;
            match part {
                Part::Backbone => Ok(tensors),
                Part::Detector => to_torchvision(tensors),
            }
        }
    }
}

/// torchvision has no network with deformable convolutions.
fn refuse_offsets(tensors: &Tensors) -> Result<(), ExportError> {
    match tensors.keys().find(|name| name.contains("conv_offset.")) {
        Some(name) => Err(ExportError::Tensor { name: name.clone() }),
        None => Ok(()),
    }
}

fn to_mmdet(tensors: Tensors, part: Part) -> Tensors {
    let prefix = match part {
        Part::Backbone => "",
        Part::Detector => "backbone.",
    };
    let batch_norm = tensors.contains_key(&format!("{prefix}bn1.running_var"));
    let renamed = tensors.into_iter().map(|(name, tensor)| {
        let mut tensor = tensor;
        if name.ends_with(".scale") && tensor.shape == [1] {
            tensor.shape = Vec::new();
        }
        let own = match name.strip_prefix(prefix) {
            Some(rest) => match mobilenet(rest) {
                Some(rest) => format!("{prefix}{rest}"),
                None if batch_norm => name,
                None => format!("{prefix}{}", group_norms(rest)),
            },
            None => name,
        };
        (own, tensor)
    });
    renamed.collect()
}

/// `bn1` becomes `gn1`.
fn group_norms(name: &str) -> String {
    let is_norm = |part: &str| {
        let number = part.strip_prefix("bn");
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let parts = name.split('.').map(|part| match part.strip_prefix("bn") {
        Some(number) if is_norm(part) => format!("gn{number}"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(".")
}

/// mmdetection's name of a tensor of a MobileNetV2.
fn mobilenet(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.strip_prefix("features.")?.split('.').collect();
    let layer = |module: usize| ["conv", "bn"].get(module).copied();
    let number: usize = parts.first()?.parse().ok()?;
    let rest: Vec<usize> = parts
        .iter()
        .skip(1)
        .filter_map(|part| part.parse().ok())
        .collect();
    let part = parts.last()?;
    if number == 0 || number == 18 {
        let name = if number == 0 { "conv1" } else { "conv2" };
        return Some(format!("{name}.{}.{part}", layer(*rest.first()?)?));
    }
    let (stage, block) = stage_of(number)?;
    let last = last_conv(number);
    let (conv, module) = match rest.as_slice() {
        [conv, module] => (*conv, *module),
        [module] => (last, module.checked_sub(last)?),
        _ => return None,
    };
    let conv = ["linear_conv", "depthwise_conv", "expand_conv"].get(last.checked_sub(conv)?)?;
    Some(format!(
        "layer{}.{block}.{conv}.{}.{part}",
        stage + 1,
        layer(module)?
    ))
}

/// Stage and block in it of block `number`, which counts from 1.
fn stage_of(number: usize) -> Option<(usize, usize)> {
    let mut first = 1;
    for (stage, blocks) in MOBILENET_BLOCKS.into_iter().enumerate() {
        if number < first + blocks {
            return Some((stage, number - first));
        }
        first += blocks;
    }
    None
}

fn to_torchvision(tensors: Tensors) -> Result<Tensors, ExportError> {
    let unknown = || ExportError::Network {
        network: "such network".to_owned(),
    };
    let architecture = Architecture::of(&tensors).ok_or_else(unknown)?;
    let network = || ExportError::Network {
        network: architecture.to_string(),
    };
    let head = architecture.head.as_ref().ok_or_else(network)?;
    let neck = architecture.neck.as_ref().ok_or_else(network)?;
    if matches!(architecture.backbone, BackboneKind::MobileNetV2 { .. }) {
        return Err(network());
    }
    let mut tensors = tensors;
    match head.method {
        Method::Fcos => {
            fold_scales(&mut tensors)?;
            fill_biases(&mut tensors);
        }
        Method::Retina => {}
        _ => return Err(network()),
    }
    let laterals = neck.in_channels.len();
    let renamed = tensors.into_iter().map(|(name, tensor)| {
        let own = torchvision(&name, head.method, laterals);
        let own = own.ok_or(ExportError::Tensor { name })?;
        Ok((own, tensor))
    });
    renamed.collect()
}

/// Multiplies the layer of boxes by the scale that all levels share, and takes the scales out.
fn fold_scales(tensors: &mut Tensors) -> Result<(), ExportError> {
    let is_scale = |name: &String| name.starts_with("bbox_head.scales.");
    let scales = tensors.iter().filter(|(name, _)| is_scale(name));
    let scales: Vec<f32> = scales
        .flat_map(|(_, t)| t.floats().unwrap_or_default().to_vec())
        .collect();
    tensors.retain(|name, _| !is_scale(name));
    let Some(&scale) = scales.first() else {
        return Ok(());
    };
    if scale <= 0.0 || scales.iter().any(|other| *other != scale) {
        return Err(ExportError::Scales { scales });
    }
    for name in ["bbox_head.conv_reg.weight", "bbox_head.conv_reg.bias"] {
        if let Some(tensor) = tensors.get_mut(name) {
            let values = tensor.floats().unwrap_or_default();
            let values = values.iter().map(|value| scale * value).collect();
            *tensor = Tensor::new(tensor.shape.clone(), values);
        }
    }
    Ok(())
}

/// Adds a bias of 0 to convolutions of towers that have none.
fn fill_biases(tensors: &mut Tensors) {
    let missing = tensors.iter().filter_map(|(name, tensor)| {
        let conv = name.strip_suffix(".conv.weight")?;
        let in_tower =
            conv.starts_with("bbox_head.cls_convs.") || conv.starts_with("bbox_head.reg_convs.");
        let bias = format!("{conv}.conv.bias");
        let absent = in_tower && !tensors.contains_key(&bias);
        absent.then(|| (bias, Tensor::filled(vec![tensor.shape[0]], 0.0)))
    });
    let missing: Vec<_> = missing.collect();
    tensors.extend(missing);
}

/// torchvision's name of a tensor of a detector.
fn torchvision(name: &str, method: Method, laterals: usize) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    Some(match parts.as_slice() {
        ["backbone", ..] => format!("backbone.body.{}", name.strip_prefix("backbone.")?),
        ["neck", convs, index, "conv", part] => neck(convs, index.parse().ok()?, laterals)
            .map(|layer| format!("backbone.fpn.{layer}.{part}"))?,
        [
            "bbox_head",
            tower @ ("cls_convs" | "reg_convs"),
            index,
            layer,
            part,
        ] => {
            let module = ["conv", "gn"].iter().position(|known| known == layer)?;
            let index: usize = index.parse().ok()?;
            let index = match method {
                Method::Fcos => format!("{}", 3 * index + module),
                _ => format!("{index}.{module}"),
            };
            let branch = if *tower == "cls_convs" {
                "classification"
            } else {
                "regression"
            };
            format!("head.{branch}_head.conv.{index}.{part}")
        }
        ["bbox_head", layer, part] => format!("head.{}.{part}", output(layer)?),
        _ => return None,
    })
}

fn neck(convs: &str, index: usize, laterals: usize) -> Option<String> {
    match convs {
        "lateral_convs" => Some(format!("inner_blocks.{index}.0")),
        "fpn_convs" if index < laterals => Some(format!("layer_blocks.{index}.0")),
        // p6 and p7, whatever the number of maps below them.
        "fpn_convs" if index < laterals + 2 => {
            Some(format!("extra_blocks.p{}", 6 + index - laterals))
        }
        _ => None,
    }
}

fn output(layer: &str) -> Option<&'static str> {
    match layer {
        "conv_cls" | "retina_cls" => Some("classification_head.cls_logits"),
        "conv_reg" | "retina_reg" => Some("regression_head.bbox_reg"),
        "conv_centerness" => Some("regression_head.bbox_ctrness"),
        _ => None,
    }
}
