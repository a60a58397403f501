//! Recognising: whose names the tensors have, and ours for them.

mod adelaidet;
mod caffe2;
mod describe;
mod detectron2;
mod find;
pub(crate) mod mmdet;
mod outside;
mod resnet;
mod torchvision;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use thiserror::Error;

use crate::architecture::Architecture;
use crate::normalization::Normalization;
use crate::{MetadataError, ModelMetadata, Tensor, Values, WeightsFile};
use find::Found;

/// Whose names the tensors of a file have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// A classifier of torchvision: ResNet, ResNeXt or MobileNetV2.
    Torchvision,
    /// `fcos_resnet50_fpn` of torchvision.
    TorchvisionFcos,
    /// `retinanet_resnet50_fpn` (and `_v2`) of torchvision.
    TorchvisionRetina,
    /// mmdetection 1.x to 3.x.
    Mmdet,
    /// FCOS of AdelaiDet.
    AdelaiDet,
    /// A backbone of Detectron2.
    Detectron2,
    /// A backbone of Caffe2's Detectron.
    Caffe2,
    /// Ours.
    Aweigh,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torchvision => "torchvision's layout of a classifier",
            Self::TorchvisionFcos => "torchvision's layout of FCOS",
            Self::TorchvisionRetina => "torchvision's layout of RetinaNet",
            Self::Mmdet => "mmdetection's layout",
            Self::AdelaiDet => "AdelaiDet's layout of FCOS",
            Self::Detectron2 => "Detectron2's layout of a backbone",
            Self::Caffe2 => "Caffe2's layout of a backbone",
            Self::Aweigh => "Aweigh's layout",
        })
    }
}

/// How much of a detector tensors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The feature extractor alone; names have no `backbone.` in front.
    Backbone,
    /// Backbone, neck and head.
    Detector,
}

/// What is wanted from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Whatever it holds; a detector that is none of ours is an error.
    Model,
    /// Its backbone, whatever lies around it.
    Backbone,
}

/// A tensor that is not used, on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its name in the file.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Weights under our names, with everything that the file says about them.
#[derive(Debug, Clone)]
pub struct Import {
    /// Where they are from.
    pub path: PathBuf,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
    /// Whose names the file has.
    pub layout: Layout,
    /// How much of a detector it is.
    pub part: Part,
    /// What stood in front of the names of the layout (`module.pre.`).
    pub prefix: String,
    /// What the tensors say about the network.
    pub architecture: Option<Architecture>,
    /// The tensors, under our names.
    pub tensors: BTreeMap<String, Tensor>,
    /// How many of them have another name than in the file.
    pub renamed: usize,
    /// Tensors that are not used, on purpose.
    pub skipped: Vec<Skipped>,
    /// Tensors that have no place in the layout.
    pub left_over: Vec<String>,
    /// Tensors that the file does not have, with the reason for their values.
    pub filled: Vec<Skipped>,
    /// Tensors with infinite values or ones that are no number, with how many.
    pub non_finite: Vec<(String, usize)>,
    /// How pixels are normalised, where the file says so.
    pub normalization: Option<Normalization>,
    /// How they are usually normalised for such files, where it does not.
    pub usual_normalization: Option<Normalization>,
    /// Names of the classes, in the order of the outputs.
    pub classes: Option<Vec<String>>,
    /// The configuration of mmdetection that the file holds, as text.
    pub mmdet_config: Option<String>,
    /// What is known about a file of ours.
    pub metadata: Option<ModelMetadata>,
    /// What the user should know and no tensor shows.
    pub notes: Vec<String>,
}

/// Why a file could not be recognised.
#[derive(Debug, Error)]
pub enum ImportError {
    /// No layout fits.
    #[error("{path}: unknown layout of weights: {problem}; the first of {count} tensors are {names}; known are ResNet, ResNeXt and MobileNetV2 of torchvision, FCOS and RetinaNet of torchvision, the detectors FCOS, FoveaBox, RepPoints, FSAF and RetinaNet of mmdetection, FCOS of AdelaiDet, ResNets of Detectron2 and Caffe2, and files of Aweigh", path = .path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        problem: String,
        /// Number of tensors.
        count: usize,
        /// Some of their names.
        names: String,
    },
    /// A detector of another method.
    #[error("{path}: these seem to be weights of {detector} (`{name}`), which is not one of the detectors here (FCOS, FoveaBox, RepPoints, FSAF, RetinaNet); its backbone alone can be used", path = .path.display())]
    OtherDetector {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        detector: String,
        /// The tensor that shows it.
        name: String,
    },
    /// Several networks that fit.
    #[error("{path}: several networks fit, below {prefixes}; save the one that is meant alone", path = .path.display())]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// What stands in front of each.
        prefixes: String,
    },
    /// Two tensors that would have one name.
    #[error("{path}: `{first}` and `{second}` are both `{name}` here", path = .path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// One of them.
        first: String,
        /// The other.
        second: String,
        /// Our name.
        name: String,
    },
    /// Metadata of ours that cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: MetadataError,
    },
}

/// What becomes of a tensor of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// It has this name here.
    Own(String),
    /// It is not used, for this reason.
    Skip(&'static str),
    /// It has no place.
    LeftOver,
}

/// Says whose layout the tensors of a file have, and gives them our names.
///
/// A layout is recognised by a few tensors that every network in it has, below any prefix
/// (`module.`, `backbone.`, `student.backbone.`). Of several copies of a network the one is taken that
/// training keeps: a teacher before its student, an encoder before its momentum copy.
///
/// # Errors
///
/// When no layout fits, several networks do, or the file is a detector that is none of ours
/// ([`Wanted::Backbone`] takes its backbone all the same).
pub fn recognise(file: WeightsFile, wanted: Wanted) -> Result<Import, ImportError> {
    let metadata = ModelMetadata::from_map(&file.metadata).map_err(|source| {
        let path = file.path.clone();
        ImportError::Metadata { path, source }
    })?;
    let found = find::find(&file, metadata.as_ref(), wanted)?;
    let mut import = Import::empty(&file, &found);
    import.place(file.tensors, &found, wanted)?;
    let skipped = file.beside.into_iter();
    import.skipped.extend(skipped.map(|b| Skipped {
        name: b.name,
        reason: b.reason,
    }));
    import.fill(&found);
    import.architecture = Architecture::of(&import.tensors);
    import.describe(metadata, file.python.as_ref());
    Ok(import)
}

impl Import {
    fn empty(file: &WeightsFile, found: &Found) -> Self {
        Self {
            path: file.path.clone(),
            sha256: file.sha256.clone(),
            layout: found.layout,
            part: found.part,
            prefix: found.prefix.clone(),
            architecture: None,
            tensors: BTreeMap::new(),
            renamed: 0,
            skipped: Vec::new(),
            left_over: Vec::new(),
            filled: Vec::new(),
            non_finite: Vec::new(),
            normalization: None,
            usual_normalization: None,
            classes: None,
            mmdet_config: None,
            metadata: None,
            notes: Vec::new(),
        }
    }

    /// Gives every tensor its place.
    fn place(
        &mut self,
        tensors: BTreeMap<String, Tensor>,
        found: &Found,
        wanted: Wanted,
    ) -> Result<(), ImportError> {
        let mut sources: BTreeMap<String, String> = BTreeMap::new();
        let mut pixels = BTreeMap::new();
        for (name, tensor) in tensors {
            if let Some(kind) = outside::pixels(&name) {
                pixels.insert(kind, tensor);
                continue;
            }
            match verdict(&name, &tensor, found, wanted) {
                Verdict::Own(own) => {
                    self.renamed += usize::from(own != name);
                    let before = sources.insert(own.clone(), name.clone());
                    self.check_first(before, &name, &own)?;
                    self.keep(own, tensor);
                }
                Verdict::Skip(reason) => {
                    let reason = reason.to_owned();
                    self.skipped.push(Skipped { name, reason });
                }
                Verdict::LeftOver => self.left_over.push(name),
            }
        }
        if let (Some(mean), Some(std)) = (pixels.get("mean"), pixels.get("std")) {
            self.normalization = Normalization::from_tensors(mean, std, "buffers in the file");
        }
        Ok(())
    }

    fn check_first(
        &self,
        before: Option<String>,
        second: &str,
        own: &str,
    ) -> Result<(), ImportError> {
        let Some(first) = before else {
            return Ok(());
        };
        Err(ImportError::Twice {
            path: self.path.clone(),
            first,
            second: second.to_owned(),
            name: own.to_owned(),
        })
    }

    fn keep(&mut self, own: String, tensor: Tensor) {
        let mut tensor = tensor;
        // A scalar elsewhere, a vector of one here.
        if own.ends_with(".scale") && tensor.shape.is_empty() {
            tensor.shape = vec![1];
        }
        match tensor.non_finite() {
            0 => {}
            count => self.non_finite.push((own.clone(), count)),
        }
        self.tensors.insert(own, tensor);
    }

    /// Adds what the layout leaves out.
    fn fill(&mut self, found: &Found) {
        let (tensors, reason) = match found.layout {
            Layout::Caffe2 => (
                caffe2::statistics(&self.tensors),
                "the norms of Caffe2 are a scale and a shift alone",
            ),
            Layout::TorchvisionFcos => (
                torchvision::scales(&self.tensors),
                "torchvision's FCOS has no scale of each level",
            ),
            _ => return,
        };
        for (name, tensor) in tensors {
            let reason = reason.to_owned();
            self.filled.push(Skipped {
                name: name.clone(),
                reason,
            });
            self.tensors.insert(name, tensor);
        }
    }

    /// The tensors of the backbone, without `backbone.` in front.
    pub fn into_backbone(self) -> BTreeMap<String, Tensor> {
        if self.part == Part::Backbone {
            return self.tensors;
        }
        let tensors = self.tensors.into_iter();
        let own = tensors.filter_map(|(name, tensor)| {
            Some((name.strip_prefix("backbone.")?.to_owned(), tensor))
        });
        own.collect()
    }

    /// One line: what it is, in whose layout, below which prefix.
    pub fn summary(&self) -> String {
        let network = match &self.architecture {
            Some(architecture) => architecture.to_string(),
            None => "an unknown network".to_owned(),
        };
        match self.prefix.as_str() {
            "" => format!("{network}, in {}", self.layout),
            prefix => format!("{network}, in {} below `{prefix}`", self.layout),
        }
    }
}

/// What becomes of a tensor.
fn verdict(name: &str, tensor: &Tensor, found: &Found, wanted: Wanted) -> Verdict {
    if name.ends_with("num_batches_tracked") {
        return Verdict::Skip("a counter of batches");
    }
    let Some(rest) = name.strip_prefix(&found.prefix) else {
        return outside::verdict(name, found, wanted);
    };
    if tensor.values == Values::Integer {
        return Verdict::Skip("integers, which no weight is");
    }
    match found.rename(rest) {
        Verdict::LeftOver => outside::inner(rest, found, wanted),
        verdict => verdict,
    }
}
