//! From a checkpoint to a trainer.

use std::rc::Rc;

use aweigh_data::CocoDataset;
use aweigh_detectors::Detector;
use aweigh_distributed::{Alone, Group};
use burn::tensor::Device;

use super::Trainer;
use super::changes::{Plan, schedule_change};
use super::setup::{Setup, TrainSet, make_data};
use crate::TrainError;
use crate::checkpoint::{Checkpoint, RunState};
use crate::config::Experiment;
use crate::data_record::class_changes;
use crate::distributed::{in_first, together};
use crate::model::{classes, load, match_classes};
use crate::optimizer::Optimizer;
use crate::run_folder::{MetricsLine, RunFolder};

/// What a run was when it stopped.
struct Before {
    checkpoint: Checkpoint,
    state: RunState,
    /// The configuration that it had, unless somebody broke the file: then nobody can tell what has
    /// changed.
    experiment: Option<Experiment>,
}

impl Trainer {
    /// Continues the run in `folder` from its latest checkpoint.
    ///
    /// `experiment` is the folder's own, [`RunFolder::experiment`], with changes if the user asked
    /// for them; with another device or number of workers the run still continues exactly, but for
    /// the rounding of another device. What has changed in the schedule and in the annotations is
    /// logged. Nothing in the folder is written before everything has been opened and checked.
    ///
    /// # Errors
    ///
    /// When another process writes to the folder, there is no checkpoint, it is damaged or does not
    /// fit the configuration, or the data has changed its classes.
    pub fn resume(
        experiment: Experiment,
        folder: RunFolder,
        device: &Device,
    ) -> Result<Self, TrainError> {
        Self::resume_among(experiment, folder, device, Rc::new(Alone))
    }

    /// As [`resume`](Self::resume), in one of several processes that train together. Their number
    /// need not be what it was; where that changes the number of images of a step, it is logged.
    ///
    /// # Errors
    ///
    /// As of [`resume`](Self::resume), and when another process has an error or trains something
    /// else: on all processes.
    pub fn resume_among(
        experiment: Experiment,
        folder: RunFolder,
        device: &Device,
        group: Group,
    ) -> Result<Self, TrainError> {
        let lock = in_first(&*group, || folder.lock())?;
        make_data(&experiment, &*group)?;
        let opened = Setup::continued(experiment, &folder, device, &group);
        let (setup, before) = together(&*group, opened)?;
        setup.check_others()?;
        let mut trainer = setup.into_trainer(folder, lock);
        trainer.say_what_changed(&before);
        trainer.alone(|trainer| trainer.take_over())?;
        Ok(trainer)
    }

    fn say_what_changed(&self, before: &Before) {
        let then = before.state.data.as_ref();
        if let (Some(now), Some(then)) = (&self.state.data, then) {
            for change in now.changes(then) {
                tracing::warn!("{change}");
            }
        }
        let Some(experiment) = &before.experiment else {
            return;
        };
        let per_epoch = then.map_or(self.length.per_epoch, |data| data.batches_per_epoch);
        let then = Plan::new(experiment, per_epoch, before.state.processes);
        let now = Plan::new(&self.experiment, self.length.per_epoch, self.group.size());
        if let Some(change) = schedule_change(&now, &then, self.state.iteration) {
            tracing::warn!("the schedule changed: {change}");
        }
        if before.state.processes != self.group.size() {
            self.say_what_keeps_the_batch(experiment.train.batch_size * before.state.processes);
        }
    }

    /// Where another number of processes changed the images of a step from what they were, says what
    /// would keep them.
    fn say_what_keeps_the_batch(&self, before: usize) {
        let processes = self.group.size();
        let now = self.experiment.train.batch_size * processes;
        if now != before && before.is_multiple_of(processes) {
            let size = before / processes;
            let processes = match processes {
                1 => "one process".to_owned(),
                several => format!("each of {several} processes"),
            };
            tracing::warn!(
                "train.batch_size={size} in {processes} would keep the {before} images per step"
            );
        }
    }

    /// Makes the folder that of this trainer: reads the last that it needs, then writes. Whatever
    /// ends the program meanwhile, the run can be resumed: its configuration is one that could be
    /// opened.
    fn take_over(&self) -> Result<(), TrainError> {
        let Some(lock) = &self.lock else {
            return Ok(());
        };
        let metrics = self.rewound_metrics()?;
        let stored = self.folder.experiment();
        let same = stored.is_ok_and(|stored| same_but_device(&stored, &self.experiment));
        self.folder.repair(lock);
        if !same {
            self.folder.write_config(&self.experiment)?;
        }
        if let Some(metrics) = metrics {
            self.folder.write_metrics(&metrics)?;
        }
        Ok(())
    }

    /// The metrics without the lines that the run writes again, if there are such lines.
    fn rewound_metrics(&self) -> Result<Option<String>, TrainError> {
        let mut again = Vec::new();
        if self.log_due() {
            again.push(MetricsLine::Losses);
        }
        if self.state.evaluation_due {
            again.push(MetricsLine::Evaluation);
        }
        let iteration = self.state.iteration;
        Ok(self.folder.rewound_metrics(iteration, &again)?)
    }
}

impl Before {
    fn read(folder: &RunFolder) -> Result<Self, TrainError> {
        let checkpoint = folder.last_checkpoint()?;
        let experiment = Experiment::load(&checkpoint.config_file(), &[]);
        if let Err(error) = &experiment {
            tracing::warn!("the schedule is not compared with that of the checkpoint: {error}");
        }
        Ok(Self {
            state: checkpoint.state()?,
            experiment: experiment.ok(),
            checkpoint,
        })
    }

    /// The batch to go on with in steps of another number of images: the first one that has an image
    /// the run has not trained on in its epoch.
    fn batch_of(&self, now: &Experiment, processes: usize) -> usize {
        let Some(then) = &self.experiment else {
            return self.state.batch;
        };
        let trained = self.state.batch * then.train.batch_size * self.state.processes;
        trained / (now.train.batch_size * processes)
    }

    /// Blames the tables of the configuration that have changed, if there are any, for a checkpoint
    /// that does not fit.
    fn unfit(&self, now: &Experiment, folder: &RunFolder, reason: TrainError) -> TrainError {
        let changed: Vec<&str> = self.experiment.as_ref().map_or(Vec::new(), |then| {
            let detector = (then.detector != now.detector).then_some("`detector`");
            let kinds = [then, now].map(|experiment| experiment.train.optimizer.kind);
            let optimizer = (kinds[0] != kinds[1]).then_some("`train.optimizer`");
            [detector, optimizer].into_iter().flatten().collect()
        });
        if changed.is_empty() {
            return reason;
        }
        TrainError::CannotResume {
            dir: folder.dir().into(),
            changed: changed.join(" and "),
            reason: Box::new(reason),
        }
    }
}

impl Setup {
    /// A run as it was at the latest checkpoint in `folder`, and what it was then.
    fn continued(
        experiment: Experiment,
        folder: &RunFolder,
        device: &Device,
        group: &Group,
    ) -> Result<(Self, Before), TrainError> {
        experiment.train.precision.check(device)?;
        let before = Before::read(folder)?;
        let mut experiment = experiment;
        let mut train = TrainSet::open(&mut experiment)?;
        check_same_classes(&mut train.dataset, &before.state)?;
        let mut state = before.state.clone();
        state.batch = before.batch_of(&experiment, group.size());
        let mut setup = Self::open(experiment, train, state, device, group)?;
        let loaded = load_checkpoint(setup.model, &mut setup.optimizer, &before.checkpoint);
        setup.model = loaded.map_err(|reason| before.unfit(&setup.experiment, folder, reason))?;
        setup.resume_ema(&before.checkpoint)?;
        Ok((setup, before))
    }

    /// Goes on with the moving average of a checkpoint. One that is new starts at the weights of the
    /// checkpoint.
    fn resume_ema(&mut self, checkpoint: &Checkpoint) -> Result<(), TrainError> {
        let steps = self.state.ema.map(|ema| ema.steps);
        let saved = checkpoint.ema_file().zip(steps);
        self.start_ema(steps.unwrap_or(0));
        match (self.ema.take(), saved) {
            (Some(ema), Some((file, _))) => self.ema = Some(ema.load(&file)?),
            (Some(ema), None) => {
                tracing::warn!(
                    "train.ema is new: the moving average starts at the weights of the checkpoint"
                );
                self.ema = Some(ema);
            }
            (None, Some(_)) => {
                tracing::warn!("the run had a moving average of its weights, which is dropped");
            }
            (None, None) => {}
        }
        Ok(())
    }
}

/// The weights of a checkpoint in the place of those of `model`, and its optimiser's state.
fn load_checkpoint(
    model: Detector,
    optimizer: &mut Optimizer,
    checkpoint: &Checkpoint,
) -> Result<Detector, TrainError> {
    let model = load(model, &checkpoint.model_file())?;
    let loaded = optimizer.load(&model, checkpoint.optimizer()?);
    loaded.map_err(|reason| checkpoint.foreign_optimizer(reason))?;
    Ok(model)
}

fn check_same_classes(dataset: &mut CocoDataset, state: &RunState) -> Result<(), TrainError> {
    let now = classes(dataset);
    match_classes(dataset, &state.classes, "the checkpoint").map_err(|_| {
        TrainError::ChangedClasses {
            annotations: dataset.name(),
            changes: class_changes(&now, &state.classes),
        }
    })
}

/// A run that is resumed elsewhere keeps its configuration.
fn same_but_device(stored: &Experiment, resumed: &Experiment) -> bool {
    let device = stored.device.clone();
    *stored
        == Experiment {
            device,
            ..resumed.clone()
        }
}
