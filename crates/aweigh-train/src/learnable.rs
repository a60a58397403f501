//! Boxes of the training set that no point or anchor of the pyramid learns.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use aweigh_data::{CocoDataset, ImageRecord, PlainTruth, evenly_spread};
use aweigh_detectors::learnable::{Cause, Scene, unlearnt};
use aweigh_detectors::{DetectorConfigError, MethodConfig};
use aweigh_geometry::boxes::xyxy_to_xywh;
use burn::tensor::Device;

use crate::TrainError;
use crate::config::Experiment;

/// Time that a survey takes at most, but for its last image.
const BUDGET: Duration = Duration::from_secs(2);

/// Classes that a warning names.
const SHOWN: usize = 10;

/// How many boxes of a class nothing learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCount {
    /// The class.
    pub name: String,
    /// All of its boxes.
    pub boxes: usize,
    /// Those that nothing learns.
    pub unlearnt: usize,
}

/// A box that nothing learns.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Index of its image in the dataset.
    pub image: usize,
    /// The `file_name` of its image.
    pub file_name: String,
    /// `[x, y, w, h]` in pixels of the image.
    pub bbox: [f32; 4],
    /// Width and height in pixels of the network input.
    pub input: [f32; 2],
}

/// The boxes of a training set, and those that nothing learns at the size of evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// Images of the training set.
    pub images: usize,
    /// Images that were looked at, spread evenly over all.
    pub looked_at: usize,
    /// Every class, in the order of labels.
    pub classes: Vec<ClassCount>,
    /// Boxes that nothing learns, by cause.
    pub causes: BTreeMap<Cause, usize>,
    /// One of them, of the first image that was looked at and has any.
    pub example: Option<Example>,
}

/// Says which boxes of a training set nothing learns.
///
/// # Errors
///
/// When the detector's configuration is not valid.
pub(crate) fn warn(experiment: &Experiment, dataset: &CocoDataset) -> Result<(), TrainError> {
    let survey = Survey::new(experiment, dataset)?;
    // A few of many boxes are no reason to change anything.
    let few = 100 * survey.unlearnt() <= survey.boxes();
    match survey.warning(experiment)? {
        Some(text) if few => tracing::info!("{text}"),
        Some(text) => tracing::warn!("{text}"),
        None => tracing::debug!("each of {} boxes can be learnt", survey.boxes()),
    }
    Ok(())
}

impl Survey {
    /// Assigns the boxes of a training set as a step does that neither flips nor rescales its
    /// images: of as many images as two seconds suffice for. It opens no image, draws no random
    /// number and computes on the CPU.
    ///
    /// What counts as learnt is told at [`unlearnt`].
    ///
    /// # Errors
    ///
    /// When the detector's configuration is not valid.
    pub fn new(experiment: &Experiment, dataset: &CocoDataset) -> Result<Self, TrainError> {
        Ok(Self::within(BUDGET, experiment, dataset)?)
    }

    fn within(
        budget: Duration,
        experiment: &Experiment,
        dataset: &CocoDataset,
    ) -> Result<Self, DetectorConfigError> {
        let started = Instant::now();
        let method = experiment.detector.method()?;
        let mut survey = Self::empty(dataset);
        for index in (0..survey.images).map(evenly_spread(survey.images)) {
            let record = &dataset.images()[index];
            let size = [record.height as usize, record.width as usize];
            let plain = experiment.data.transform.plain_truth(&record.truth, size);
            let scene = scene(experiment, &plain)?;
            let causes = unlearnt(method, &scene, &Device::flex());
            survey.add(index, record, &plain, &causes);
            if started.elapsed() > budget {
                break;
            }
        }
        Ok(survey)
    }

    fn empty(dataset: &CocoDataset) -> Self {
        let class = |name: &String| ClassCount {
            name: name.clone(),
            boxes: 0,
            unlearnt: 0,
        };
        let classes = dataset.classes().iter();
        Self {
            images: dataset.images().len(),
            looked_at: 0,
            classes: classes.map(|c| class(&c.name)).collect(),
            causes: BTreeMap::new(),
            example: None,
        }
    }

    fn add(
        &mut self,
        index: usize,
        record: &ImageRecord,
        plain: &PlainTruth,
        causes: &[Option<Cause>],
    ) {
        self.looked_at += 1;
        for (slot, (label, cause)) in record.truth.labels.iter().zip(causes).enumerate() {
            self.classes[*label].boxes += 1;
            let Some(cause) = cause else {
                continue;
            };
            self.classes[*label].unlearnt += 1;
            *self.causes.entry(*cause).or_default() += 1;
            if self
                .example
                .as_ref()
                .is_none_or(|found| index < found.image)
            {
                let [x, y, w, h] = sides(record.truth.boxes[slot]);
                let [_, _, width, height] = sides(plain.truth.boxes[slot]);
                self.example = Some(Example {
                    image: index,
                    file_name: record.file_name.clone(),
                    bbox: [x, y, w, h],
                    input: [width, height],
                });
            }
        }
    }

    /// Boxes that were looked at.
    pub fn boxes(&self) -> usize {
        self.classes.iter().map(|class| class.boxes).sum()
    }

    /// Boxes that nothing learns.
    pub fn unlearnt(&self) -> usize {
        self.causes.values().sum()
    }

    /// What to tell the user, and what to change; nothing where all boxes are learnt.
    ///
    /// # Errors
    ///
    /// When the detector's configuration is not valid.
    pub fn warning(&self, experiment: &Experiment) -> Result<Option<String>, DetectorConfigError> {
        let Some(example) = &self.example else {
            return Ok(None);
        };
        let method = experiment.detector.method()?;
        let (boxes, unlearnt) = (self.boxes(), self.unlearnt());
        let [width, height] = example.input;
        let causes = self.causes.iter();
        let causes = causes.map(|(cause, count)| describe(*cause, *count, method, experiment));
        Ok(Some(format!(
            "{}{unlearnt} of {boxes} boxes{} {} learnt by no {} of the pyramid at this input size \
             (first: box {:?} of {}, {width} x {height} px as the network sees it): {}; {}",
            if 2 * unlearnt > boxes {
                "most boxes train nothing: "
            } else {
                ""
            },
            self.scope(),
            if unlearnt == 1 { "is" } else { "are" },
            method.learner(),
            example.bbox,
            example.file_name,
            self.by_class(),
            causes.collect::<Vec<_>>().join("; "),
        )))
    }

    /// Where the boxes are, if not in all images.
    fn scope(&self) -> String {
        if self.looked_at == self.images {
            return String::new();
        }
        format!(" in {} of {} images", self.looked_at, self.images)
    }

    /// The classes with most of the boxes that nothing learns.
    fn by_class(&self) -> String {
        let touched = self.classes.iter().filter(|class| class.unlearnt > 0);
        let mut touched: Vec<&ClassCount> = touched.collect();
        touched.sort_by_key(|class| std::cmp::Reverse(class.unlearnt));
        let shown = touched.iter().take(SHOWN);
        let mut text = shown
            .map(|class| format!("{} {} of {}", class.name, class.unlearnt, class.boxes))
            .collect::<Vec<_>>()
            .join(", ");
        if touched.len() > SHOWN {
            // Writing to a string cannot fail.
            let _ = write!(text, ", ... ({} classes)", touched.len());
        }
        text
    }
}

/// How many boxes have a cause, and what to change.
fn describe(
    cause: Cause,
    count: usize,
    method: &dyn MethodConfig,
    experiment: &Experiment,
) -> String {
    let learner = method.learner();
    let what = match cause {
        Cause::BetweenPoints => format!("too small or too thin for any {learner}"),
        Cause::OutOfRange => "of a size that no level is for".to_owned(),
        Cause::Ignored => format!("in ignore regions, where no {learner} learns"),
        Cause::Hidden => format!("where other boxes take every {learner}"),
    };
    let mut remedies = match cause {
        Cause::BetweenPoints | Cause::Hidden => finer(experiment),
        Cause::OutOfRange | Cause::Ignored => Vec::new(),
    };
    remedies.extend(method.remedy(cause));
    if remedies.is_empty() {
        format!("{count} {what}")
    } else {
        format!("{count} {what}: {}", remedies.join(", or "))
    }
}

/// How boxes get more points.
fn finer(experiment: &Experiment) -> Vec<String> {
    let transform = &experiment.data.transform;
    let start = experiment.detector.neck.start_level;
    let scales = match transform.multi_scale {
        Some(_) => " and multi_scale",
        None => "",
    };
    let larger = format!(
        "raise data.transform.short_edge (now {}) and long_edge (now {}){scales}",
        transform.short_edge, transform.long_edge
    );
    let lower = format!("lower detector.neck.start_level (now {start})");
    std::iter::once(larger)
        .chain((start > 0).then_some(lower))
        .collect()
}

/// The network input of one image.
pub(crate) fn scene(
    experiment: &Experiment,
    plain: &PlainTruth,
) -> Result<Scene, DetectorConfigError> {
    let input = experiment.data.transform.padded(plain.resized);
    Ok(Scene {
        levels: experiment.detector.level_shapes(input)?,
        size: plain.padded,
        truth: plain.truth.clone(),
    })
}

/// `[x, y, w, h]` of corners, rounded to hundredths.
fn sides(corners: [f32; 4]) -> [f32; 4] {
    xyxy_to_xywh(corners).map(|value| (value * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(unlearnt: &[usize]) -> Survey {
        let class = |(label, unlearnt): (usize, &usize)| ClassCount {
            name: format!("c{label}"),
            boxes: 100,
            unlearnt: *unlearnt,
        };
        Survey {
            images: 50,
            looked_at: 50,
            classes: unlearnt.iter().enumerate().map(class).collect(),
            causes: BTreeMap::from([(Cause::OutOfRange, unlearnt.iter().sum())]),
            example: None,
        }
    }

    #[test]
    fn classes_are_named_by_their_number_of_boxes() {
        let check = |unlearnt: &[usize], expected: &str| {
            assert_eq!(survey(unlearnt).by_class(), expected);
        };
        check(&[1, 0, 7], "c2 7 of 100, c0 1 of 100");
        check(&[3, 3], "c0 3 of 100, c1 3 of 100");
        let many = survey(&[1; 12]).by_class();
        assert!(many.ends_with("c9 1 of 100, ... (12 classes)"), "{many}");
    }
}
