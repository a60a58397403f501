//! Detectors with fresh, pretrained or trained weights.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aweigh_backbone::weights::{AdoptedClasses, ClassLayer, StateDict, WeightsError};
use aweigh_data::annotations::AnnotationFile;
use aweigh_data::{CocoDataset, Purpose};
use aweigh_detectors::{Detector, DetectorConfig, DetectorConfigError};
use aweigh_weights::{Import, Part, Wanted};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};

use crate::TrainError;
use crate::checkpoint::{Checkpoint, Class, RunState, read_whole};
use crate::config::{Experiment, StartsFrom};
use crate::files::same_file;
use crate::network::Shown;
use crate::normalization;
use crate::run_folder::RunFolder;
use crate::weights::{BEHIND, checkpoint_of, leave_out, open_checked, open_weights};

/// A detector whose random weights depend on the seed alone.
///
/// # Errors
///
/// When the configuration is not valid or has no number of classes.
pub fn fresh(
    config: &DetectorConfig,
    seed: u32,
    device: &Device,
) -> Result<Detector, DetectorConfigError> {
    // A device has one random generator for the whole process, and parameters are drawn from it
    // when they are first used: nobody may come between.
    static GENERATOR: Mutex<()> = Mutex::new(());
    let _guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(seed.into());
    let detector = config.init(device)?;
    detector.visit(&mut Draw);
    Ok(detector)
}

/// Draws every parameter.
struct Draw;

impl ModuleVisitor for Draw {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let _ = param.val();
    }
}

/// Loads the weights that the configuration starts from into a fresh detector of `classes`.
pub(crate) fn load_pretrained(
    detector: Detector,
    experiment: &Experiment,
    classes: &[Class],
) -> Result<Detector, TrainError> {
    let mut detector = detector;
    match experiment.starts_from() {
        StartsFrom::Random => {}
        StartsFrom::Backbone(path) => {
            let import = open_checked(path, Wanted::Backbone, experiment)?;
            let summary = import.summary();
            let shown = Shown::of(&import, Part::Backbone);
            let weights = StateDict::of_backbone(import);
            let left_out = detector.backbone.left_out(&weights).join(", ");
            let loaded = detector.backbone.load(weights);
            detector.backbone = loaded.map_err(|e| shown.explain(e, &experiment.detector))?;
            tracing::info!("backbone weights from {}: {summary}", path.display());
            tell_of_left_out(&left_out);
        }
        StartsFrom::Detector(path) => {
            let mut import = open_checked(path, Wanted::Model, experiment)?;
            let left_out = leave_out(&mut import, &detector.backbone).join(", ");
            let shown = Shown::of(&import, Part::Detector);
            let loaded = load_for_classes(detector, path, import, classes);
            detector = loaded.map_err(|e| shown.explain(e, &experiment.detector))?;
            tell_of_left_out(&left_out);
        }
    }
    Ok(detector)
}

fn tell_of_left_out(names: &str) {
    if !names.is_empty() {
        tracing::info!("{BEHIND}, not used: {names}");
    }
}

/// Loads a detector whose class layers keep their fresh values for classes that the file does not
/// have.
fn load_for_classes(
    detector: Detector,
    path: &Path,
    import: Import,
    classes: &[Class],
) -> Result<Detector, WeightsError> {
    let known = known_classes(path, &import);
    let mut weights = StateDict::of_model(import);
    let layers = detector.class_layers();
    let rows = |found: usize| continued(known.as_deref(), found, classes);
    let adopted = weights.adopt_classes(&detector, &layers, rows);
    let detector = weights.load_into(detector)?;
    tracing::info!("weights from {}", path.display());
    if let Some(adopted) = adopted {
        tell_of_classes(&adopted, &layers, path, classes);
    }
    Ok(detector)
}

/// Names of the classes that weights are for: those of the checkpoint, or those in the file.
fn known_classes(path: &Path, import: &Import) -> Option<Vec<String>> {
    let state = checkpoint_of(path).and_then(|checkpoint| checkpoint.state().ok());
    let names = |state: RunState| state.classes.into_iter().map(|class| class.name);
    let of_checkpoint = state.map(|state| names(state).collect());
    of_checkpoint.or_else(|| import.classes.clone())
}

/// For each of `classes`, which of `found` classes of a file it goes on from: that of its name. Of
/// a file without names, the class in its place, if there are as many.
fn continued(known: Option<&[String]>, found: usize, classes: &[Class]) -> Vec<Option<usize>> {
    let known = known.filter(|known| known.len() == found);
    let place = |label: usize| (found == classes.len()).then_some(label);
    let of_class = |(label, class): (usize, &Class)| match known {
        Some(known) => known.iter().position(|name| *name == class.name),
        None => place(label),
    };
    classes.iter().enumerate().map(of_class).collect()
}

/// Says which classes start anew.
fn tell_of_classes(
    adopted: &AdoptedClasses,
    layers: &[ClassLayer],
    path: &Path,
    classes: &[Class],
) {
    let AdoptedClasses { found, rows } = adopted;
    let (file, own) = (path.display(), classes.len());
    let anew = classes.iter().zip(rows).filter(|(_, row)| row.is_none());
    let anew: Vec<String> = anew.map(|(class, _)| class.name.clone()).collect();
    let (start, go_on) = match layers {
        [_] => ("starts", "goes on"),
        _ => ("start", "go on"),
    };
    let layers = subject(layers);
    if anew.len() == own {
        tracing::info!("{layers} {start} anew: {file} has {found} classes, this data set {own}");
    } else if !anew.is_empty() {
        let kept = own - anew.len();
        let anew = shorten(anew);
        tracing::info!("{layers} {go_on} for {kept} of {own} classes; not in {file}: {anew}");
    } else if *found != own {
        tracing::info!("{layers} {go_on} for {own} of the {found} classes of {file}");
    }
}

/// Class layers as the subject of a sentence.
fn subject(layers: &[ClassLayer]) -> String {
    let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    match names.as_slice() {
        [name] => format!("the class layer {name}"),
        names => format!("the class layers {}", names.join(" and ")),
    }
}

/// Loads every weight of a detector from a file, or from the folder of a checkpoint or of a run.
///
/// # Errors
///
/// When the file cannot be read or belongs to another model.
pub fn load(detector: Detector, path: &Path) -> Result<Detector, TrainError> {
    let mut import = open_weights(path, Wanted::Model)?;
    leave_out(&mut import, &detector.backbone);
    Ok(StateDict::of_model(import).load_into(detector)?)
}

/// Which checkpoint of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Which {
    /// The one with the best AP; the latest one in a run without evaluations.
    #[default]
    Best,
    /// The latest one.
    Last,
}

/// A trained detector, ready for inference.
#[derive(Debug)]
pub struct Trained {
    /// The model, without autodiff.
    pub detector: Detector,
    /// Its classes in the order of labels.
    pub classes: Vec<Class>,
    /// The file or folder that it was read from.
    pub source: PathBuf,
    /// The annotation file that the classes come from, where they do not come with the weights: it
    /// need not be read again for the validation set.
    annotations: Option<AnnotationFile>,
}

impl Trained {
    /// The model of a run.
    ///
    /// # Errors
    ///
    /// When the run has no such checkpoint or it is damaged.
    pub fn from_run(
        run: &RunFolder,
        which: Which,
        experiment: &Experiment,
        device: &Device,
    ) -> Result<Self, TrainError> {
        read_whole(
            || run.checkpoint(which),
            |checkpoint| Self::of_checkpoint(checkpoint, experiment, device),
        )
    }

    /// The model of a checkpoint.
    ///
    /// # Errors
    ///
    /// When the checkpoint is damaged or belongs to another configuration.
    pub fn from_checkpoint(
        checkpoint: &Checkpoint,
        experiment: &Experiment,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let open = || Checkpoint::open(checkpoint.dir());
        read_whole(open, |checkpoint| {
            Self::of_checkpoint(checkpoint, experiment, device)
        })
    }

    fn of_checkpoint(
        checkpoint: &Checkpoint,
        experiment: &Experiment,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let classes = checkpoint.state()?.classes;
        let import = open_weights(checkpoint.dir(), Wanted::Model)?;
        Self::of_import(experiment, classes, import, checkpoint.dir(), device)
    }

    /// The model of a configuration with weights from a file, or from the folder of a checkpoint.
    ///
    /// Classes are those of the checkpoint or the model file, otherwise those of the
    /// configuration's annotations: validation or else training.
    ///
    /// # Errors
    ///
    /// When there are no annotations to take the classes from, the configuration has another number
    /// of classes, or the weights do not fit.
    pub fn from_weights(
        experiment: &Experiment,
        weights: &Path,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let import = match Known::open(weights)? {
            Known::Checkpoint(checkpoint) => {
                return Self::from_checkpoint(&checkpoint, experiment, device);
            }
            Known::Model(import, classes) => {
                return Self::of_import(experiment, classes, import, weights, device);
            }
            Known::Weights(import) => import,
        };
        let data = &experiment.data;
        let (configs, key) = match &data.val {
            Some(val) => (vec![data.dataset(val)], "data.val"),
            None => (data.train_sets(), "data.train"),
        };
        let named = |error| TrainError::of_split(error, key);
        let (mut datasets, mut annotations) = (Vec::new(), None);
        for config in &configs {
            let file = AnnotationFile::read(&config.annotations).map_err(named)?;
            let dataset = CocoDataset::from_file(&file, config, Purpose::Evaluate);
            datasets.push(dataset.map_err(named)?);
            annotations = Some(file);
        }
        let dataset = CocoDataset::concat(datasets)?;
        num_classes(&experiment.detector, &dataset)?;
        Ok(Self {
            annotations,
            ..Self::of_import(experiment, classes(&dataset), import, weights, device)?
        })
    }

    /// As [`from_weights`](Self::from_weights), except that classes which the weights do not have
    /// are those of `dataset`.
    ///
    /// # Errors
    ///
    /// When the configuration has another number of classes, or the weights do not fit.
    pub(crate) fn from_weights_for(
        dataset: &CocoDataset,
        experiment: &Experiment,
        weights: &Path,
        device: &Device,
    ) -> Result<Self, TrainError> {
        match Known::open(weights)? {
            Known::Checkpoint(checkpoint) => Self::from_checkpoint(&checkpoint, experiment, device),
            Known::Model(import, classes) => {
                Self::of_import(experiment, classes, import, weights, device)
            }
            Known::Weights(import) => {
                num_classes(&experiment.detector, dataset)?;
                Self::of_import(experiment, classes(dataset), import, weights, device)
            }
        }
    }

    /// The model of a configuration with weights that have been read from `source`.
    pub(crate) fn of_import(
        experiment: &Experiment,
        classes: Vec<Class>,
        import: Import,
        source: &Path,
        device: &Device,
    ) -> Result<Self, TrainError> {
        if let Some(expected) = &import.normalization {
            normalization::check(source, expected, experiment)?;
        }
        let mut import = import;
        let mut config = experiment.detector.clone();
        config.num_classes.get_or_insert(classes.len());
        // Every weight is read, so that none has to be drawn.
        let detector = config.init(&device.clone().inner())?;
        leave_out(&mut import, &detector.backbone);
        let shown = Shown::of(&import, Part::Detector);
        let loaded = StateDict::of_model(import).load_into(detector);
        Ok(Self {
            detector: loaded.map_err(|error| shown.explain(error, &config))?,
            classes,
            source: source.into(),
            annotations: None,
        })
    }

    /// The model for those who need no annotations, which may be large.
    pub(crate) fn without_annotations(self) -> Self {
        Self {
            annotations: None,
            ..self
        }
    }

    /// The annotation file at `path`, if it has been read for the classes; gone afterwards.
    pub(crate) fn take_annotations(&mut self, path: &Path) -> Option<AnnotationFile> {
        let file = self.annotations.take();
        file.filter(|file| same_file(file.path(), path))
    }
}

/// Weights, by what is known of their classes.
enum Known {
    /// Those of a checkpoint.
    Checkpoint(Checkpoint),
    /// Those of a model file, with its classes.
    Model(Import, Vec<Class>),
    /// Others.
    Weights(Import),
}

impl Known {
    fn open(weights: &Path) -> Result<Self, TrainError> {
        if let Some(checkpoint) = checkpoint_of(weights) {
            return Ok(Self::Checkpoint(checkpoint));
        }
        let import = open_weights(weights, Wanted::Model)?;
        let metadata = import.metadata.iter();
        let classes: Vec<Class> = metadata.flat_map(|m| &m.classes).map(Class::from).collect();
        Ok(if classes.is_empty() {
            Self::Weights(import)
        } else {
            Self::Model(import, classes)
        })
    }
}

/// The number of classes of a detector for a dataset.
///
/// # Errors
///
/// When the configuration has another number.
pub(crate) fn num_classes(
    config: &DetectorConfig,
    dataset: &CocoDataset,
) -> Result<usize, TrainError> {
    let found = dataset.classes().len();
    match config.num_classes {
        Some(configured) if configured != found => Err(TrainError::NumClasses {
            configured,
            annotations: dataset.name(),
            found,
        }),
        _ => Ok(found),
    }
}

/// The classes of a dataset in the order of labels.
pub fn classes(dataset: &CocoDataset) -> Vec<Class> {
    let classes = dataset.classes().iter();
    classes
        .map(|class| Class {
            id: class.id,
            name: class.name.clone(),
        })
        .collect()
}

/// Gives a dataset the classes of a model, in its order: by name, where ids differ.
///
/// # Errors
///
/// When the names are others, or one of them is there twice and the ids differ.
pub(crate) fn match_classes(
    dataset: &mut CocoDataset,
    expected: &[Class],
    trained_on: &str,
) -> Result<(), TrainError> {
    let found = classes(dataset);
    if found == expected {
        return Ok(());
    }
    // Older runs have no name for categories without one.
    let name = |class: &Class| match class.name.as_str() {
        "" => format!("cat_{}", class.id),
        name => name.to_owned(),
    };
    let names: Vec<String> = expected.iter().map(name).collect();
    if dataset.reorder_classes(&names) {
        tracing::warn!(
            "{} numbers its categories otherwise than {trained_on}: they are matched by name ({} \
             against {})",
            dataset.name(),
            describe(&found),
            describe(expected)
        );
        return Ok(());
    }
    Err(TrainError::Categories {
        annotations: dataset.name(),
        found: describe(&found),
        trained_on: trained_on.to_owned(),
        expected: describe(expected),
    })
}

fn describe(classes: &[Class]) -> String {
    let classes = classes.iter().map(|c| format!("{} {}", c.id, c.name));
    shorten(classes.collect())
}

/// The first of a list, and how many there are.
pub(crate) fn shorten(list: Vec<String>) -> String {
    const SHOWN: usize = 10;
    let all = list.len();
    let mut list = list;
    list.truncate(SHOWN);
    if all > SHOWN {
        list.push(format!("... ({all} in all)"));
    }
    list.join(", ")
}
