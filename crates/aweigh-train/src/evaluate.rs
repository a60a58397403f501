//! From a model and a validation set to COCO's figures.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aweigh_data::annotations::AnnotationFile;
use aweigh_data::{CocoDataset, DataError, HostBatch, Loader, LoaderConfig, Purpose};
use aweigh_detectors::Detector;
use aweigh_distributed::{Alone, ProcessGroup, exchange};
use aweigh_geometry::Detection;
use burn::tensor::Device;

use crate::TrainError;
use crate::batch::{image_frames, upload_images};
use crate::checkpoint::Class;
use crate::config::Experiment;
use crate::distributed::{own_or_other, share_of};
use crate::evaluation::{CocoResult, EvalOptions, EvalTruth, Evaluation};
use crate::look;
use crate::model::{Trained, match_classes, shorten};
use crate::progress::Progress;

/// A validation set, opened once for any number of evaluations.
#[derive(Debug)]
pub struct Validation {
    loader: Loader,
    /// The category of each class of the model; none for one that the annotations do not have.
    categories: Vec<Option<i64>>,
    truth: EvalTruth,
    options: EvalOptions,
}

/// Detections of a whole validation set and their figures.
#[derive(Debug)]
pub struct Scored {
    /// In COCO's result format.
    pub results: Vec<CocoResult>,
    /// The figures.
    pub evaluation: Evaluation,
}

impl Validation {
    /// Opens the validation set of an experiment for a model with `classes`.
    ///
    /// # Errors
    ///
    /// When the configuration names none, it cannot be read, or its categories are others.
    pub fn open(experiment: &Experiment, classes: &[Class]) -> Result<Self, TrainError> {
        let split = experiment.data.val.as_ref();
        let annotations = &split.ok_or(TrainError::NoValidationSet)?.annotations;
        let file = AnnotationFile::read(annotations).map_err(named)?;
        Self::from_file(&file, experiment, classes)
    }

    /// Opens the validation set of an experiment for a trained model. Classes of the model that
    /// the annotations do not have are left out of its detections.
    ///
    /// # Errors
    ///
    /// As of [`open`](Self::open), but for these classes.
    pub fn for_model(experiment: &Experiment, trained: &mut Trained) -> Result<Self, TrainError> {
        let split = experiment.data.val.as_ref();
        let annotations = &split.ok_or(TrainError::NoValidationSet)?.annotations;
        let file = match trained.take_annotations(annotations) {
            Some(file) => file,
            None => AnnotationFile::read(annotations).map_err(named)?,
        };
        Self::new(&file, experiment, |dataset| {
            categories(dataset, &trained.classes)
        })
    }

    /// As [`open`](Self::open), with the annotation file read already. Where several annotation files
    /// are trained on together, it may lack some of their classes.
    ///
    /// # Errors
    ///
    /// When the configuration names no validation set, files of images are missing, or its
    /// categories are not `classes`.
    pub(crate) fn from_file(
        file: &AnnotationFile,
        experiment: &Experiment,
        classes: &[Class],
    ) -> Result<Self, TrainError> {
        let several = experiment.data.train.all().len() > 1;
        Self::new(file, experiment, |dataset| {
            if several {
                return categories(dataset, classes);
            }
            match_classes(dataset, classes, "the model")?;
            Ok(dataset.classes().iter().map(|c| Some(c.id)).collect())
        })
    }

    fn new(
        file: &AnnotationFile,
        experiment: &Experiment,
        categories: impl FnOnce(&mut CocoDataset) -> Result<Vec<Option<i64>>, TrainError>,
    ) -> Result<Self, TrainError> {
        let data = &experiment.data;
        let split = data.val.as_ref().ok_or(TrainError::NoValidationSet)?;
        let config = data.dataset(split);
        let mut dataset =
            CocoDataset::from_file(file, &config, Purpose::Evaluate).map_err(named)?;
        let categories = categories(&mut dataset)?;
        look::files(&dataset, data.on_bad_image)?;
        look::limits(experiment)?;
        let options = EvalOptions::up_to(experiment.eval.max_dets);
        let truth = EvalTruth::from_file(file);
        truth.warn_of_crowded(&options);
        let config: LoaderConfig = data.loader(experiment.eval.batch_size, 0);
        let loader = Loader::eval(Arc::new(dataset), data.transform.clone(), config)?;
        Ok(Self {
            loader,
            categories,
            truth,
            options,
        })
    }

    /// The images.
    pub fn dataset(&self) -> &CocoDataset {
        self.loader.dataset()
    }

    /// What the images come from.
    pub(crate) fn loader(&self) -> &Loader {
        &self.loader
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.loader.dataset().images().len()
    }

    /// Runs `detector`, which is without autodiff, on every image and scores its detections.
    ///
    /// # Errors
    ///
    /// When an image cannot be read.
    pub fn run(
        &self,
        detector: &Detector,
        device: &Device,
        progress: &mut dyn Progress,
    ) -> Result<Scored, TrainError> {
        let scan = Scan {
            progress,
            interrupt: &AtomicBool::new(false),
        };
        let results = self.detect_among(&Alone, detector, device, scan)?;
        self.score(results.expect("nobody interrupts"))
    }

    /// Runs `detector`, which is without autodiff, on the first images, at least `count` of them if
    /// there are as many, and scores what it finds there. Gives their number.
    ///
    /// # Errors
    ///
    /// When an image cannot be read.
    pub(crate) fn run_some(
        &self,
        detector: &Detector,
        device: &Device,
        progress: &mut dyn Progress,
        count: usize,
    ) -> Result<usize, TrainError> {
        progress.on_eval_start(self.images());
        let mut scoring = Scoring::start(self, detector, device, progress);
        for batch in self.loader.epoch(0, 0) {
            scoring.add(batch?);
            if scoring.images >= count {
                break;
            }
        }
        let images = scoring.images;
        scoring.finish()?;
        Ok(images)
    }

    /// The detections of all processes of `group`, each of which runs `detector`, which is without
    /// autodiff, on its share of the images. They are those of one process, in its order. Stops
    /// between two batches once a process is interrupted; then there are none.
    ///
    /// # Errors
    ///
    /// When an image cannot be read, in whichever process.
    pub(crate) fn detect_among(
        &self,
        group: &dyn ProcessGroup,
        detector: &Detector,
        device: &Device,
        scan: Scan<'_>,
    ) -> Result<Option<Vec<CocoResult>>, TrainError> {
        let Scan {
            progress,
            interrupt,
        } = scan;
        progress.on_eval_start(self.images().div_ceil(group.size()));
        let mut scoring = Scoring::start(self, detector, device, progress);
        let mut stopped = false;
        let mut own = Ok(());
        for batch in self.loader.epoch_share(0, 0, share_of(group)) {
            stopped = interrupt.load(Ordering::Relaxed);
            match batch {
                Ok(batch) if !stopped => scoring.add(batch),
                Ok(_) => break,
                Err(error) => {
                    own = Err(error.into());
                    break;
                }
            }
        }
        let own = own.map(|()| [u64::from(stopped), scoring.images as u64]);
        let all = exchange(group, own).map_err(own_or_other)?;
        if all.iter().any(|[stopped, _]| *stopped > 0) {
            return Ok(None);
        }
        let images: u64 = all.iter().map(|[_, images]| images).sum();
        self.check_seen(images as usize)?;
        Ok(Some(gather_results(group, scoring.results)))
    }

    /// The figures of detections of the whole validation set.
    ///
    /// # Errors
    ///
    /// When they cannot be scored.
    pub(crate) fn score(&self, results: Vec<CocoResult>) -> Result<Scored, TrainError> {
        Ok(Scored {
            evaluation: self.truth.evaluate(&results, &self.options)?,
            results,
        })
    }

    fn check_seen(&self, images: usize) -> Result<(), TrainError> {
        if images > 0 {
            return Ok(());
        }
        // With `on_bad_image = "skip"`; an AP of 0 would look like a figure.
        let annotations = self.dataset().name();
        Err(TrainError::NothingEvaluated { annotations })
    }

    /// A detection in COCO's result format; none if the annotations do not have its class.
    fn result(&self, image: i64, detection: &Detection) -> Option<CocoResult> {
        let category = self.categories[detection.label]?;
        let Detection { bbox, score, .. } = *detection;
        Some(CocoResult::from_corners(image, category, bbox, score))
    }
}

/// Names the key of a path of the validation set that leads nowhere.
fn named(error: DataError) -> TrainError {
    TrainError::of_split(error, "data.val")
}

/// The category of each class of a model that may know more classes than a dataset, by name where
/// ids differ. Says which are left out.
fn categories(
    dataset: &mut CocoDataset,
    classes: &[Class],
) -> Result<Vec<Option<i64>>, TrainError> {
    let names: HashSet<&str> = dataset.classes().iter().map(|c| c.name.as_str()).collect();
    let (known, more): (Vec<&Class>, Vec<&Class>) = classes
        .iter()
        .partition(|class| names.contains(class.name.as_str()));
    if more.is_empty() || known.len() != names.len() {
        match_classes(dataset, classes, "the model")?;
        return Ok(dataset.classes().iter().map(|c| Some(c.id)).collect());
    }
    let common: Vec<Class> = known.into_iter().cloned().collect();
    let left_out = more.iter().map(|class| class.name.clone()).collect();
    tracing::warn!(
        "{} has {} of the model's {} classes; detections of the others are left out: {}",
        dataset.name(),
        common.len(),
        classes.len(),
        shorten(left_out)
    );
    match_classes(dataset, &common, "the model")?;
    let mut ids = dataset.classes().iter().map(|class| class.id);
    let category = |class: &Class| common.contains(class).then(|| ids.next()).flatten();
    Ok(classes.iter().map(category).collect())
}

/// An evaluation under way.
struct Scoring<'a> {
    validation: &'a Validation,
    detector: &'a Detector,
    device: &'a Device,
    progress: &'a mut dyn Progress,
    /// Images up to now.
    images: usize,
    /// Those of each batch, with its number.
    results: Vec<(usize, Vec<CocoResult>)>,
}

/// How an evaluation is followed and stopped.
pub(crate) struct Scan<'a> {
    pub(crate) progress: &'a mut dyn Progress,
    pub(crate) interrupt: &'a AtomicBool,
}

/// The detections of all processes in the order of their batches.
fn gather_results(group: &dyn ProcessGroup, own: Vec<(usize, Vec<CocoResult>)>) -> Vec<CocoResult> {
    let mut all = own;
    if group.size() > 1 {
        let bytes = serde_json::to_vec(&all).expect("detections are JSON");
        let of_process = |bytes: &Vec<u8>| {
            serde_json::from_slice::<Vec<(usize, Vec<CocoResult>)>>(bytes)
                .expect("processes run the same program")
        };
        all = group.gather(&bytes).iter().flat_map(of_process).collect();
        all.sort_by_key(|(batch, _)| *batch);
    }
    all.into_iter().flat_map(|(_, results)| results).collect()
}

impl<'a> Scoring<'a> {
    fn start(
        validation: &'a Validation,
        detector: &'a Detector,
        device: &'a Device,
        progress: &'a mut dyn Progress,
    ) -> Self {
        Self {
            validation,
            detector,
            device,
            progress,
            images: 0,
            results: Vec::new(),
        }
    }

    fn add(&mut self, batch: HostBatch) {
        self.images += batch.meta.len();
        let index = batch.index;
        let ids: Vec<i64> = batch.meta.iter().map(|meta| meta.image_id).collect();
        let detections = detect(self.detector, batch, self.device);
        let pairs = ids.into_iter().zip(detections);
        let of_image = |(id, detections): (i64, Vec<Detection>)| {
            let results = detections
                .iter()
                .filter_map(|d| self.validation.result(id, d));
            results.collect::<Vec<_>>()
        };
        self.results
            .push((index, pairs.flat_map(of_image).collect()));
        self.progress.on_eval_step(self.images);
    }

    fn finish(self) -> Result<Scored, TrainError> {
        self.validation.check_seen(self.images)?;
        let results = self.results.into_iter().flat_map(|(_, results)| results);
        self.validation.score(results.collect())
    }
}

/// Detections of a batch in original pixels, image by image, best first.
pub(crate) fn detect(
    detector: &Detector,
    batch: HostBatch,
    device: &Device,
) -> Vec<Vec<Detection>> {
    let frames = image_frames(&batch);
    let images = upload_images(batch.images, batch.shape, &device.clone().inner());
    detector.forward(images).decode(&frames)
}
