//! Progress of long work: bars on a terminal, plain lines where standard error is a file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use aweigh_train::progress::{CheckpointKind, EvalLog, Progress, Start, StepLog};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::logging::{BARS, PROGRESS};
use crate::output::clock;

/// How often a bar is redrawn while nothing happens, to show that the program is alive.
const TICK: Duration = Duration::from_millis(500);

/// Shows the events of a run.
#[derive(Debug, Default)]
pub(crate) struct Bars {
    training: Option<ProgressBar>,
    evaluation: Option<ProgressBar>,
}

/// A bar of `length` steps; invisible where standard error is no terminal.
pub(crate) fn bar(title: &'static str, length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len}  {wide_msg}")
        .expect("the template is valid")
        .progress_chars("━╸ ");
    let bar = BARS.add(
        ProgressBar::new(length as u64)
            .with_style(style)
            .with_prefix(title),
    );
    bar.enable_steady_tick(TICK);
    bar
}

impl Progress for Bars {
    fn on_start(&mut self, start: &Start) {
        let verb = if start.iteration == 0 {
            "training"
        } else {
            "going on"
        };
        let iterations = if start.iteration == start.total {
            format!("all {} iterations are done", start.total)
        } else {
            format!("iterations {} to {}", start.iteration, start.total)
        };
        tracing::info!(
            "{verb}: {} images, {} classes, {} trained parameters, {iterations} ({} per epoch)",
            HumanCount(start.images as u64),
            start.classes,
            HumanCount(start.trainable_parameters as u64),
            start.per_epoch,
        );
        let training = bar("train", start.total);
        training.set_position(start.iteration as u64);
        self.training = Some(training);
    }

    fn on_step(&mut self, iteration: usize) {
        if let Some(bar) = &self.training {
            bar.set_position(iteration as u64);
        }
    }

    fn on_log(&mut self, log: &StepLog) {
        let (state, pace) = (state(log), pace(log));
        let (iteration, total) = (log.iteration, log.total);
        tracing::info!(target: PROGRESS, "iteration {iteration}/{total}  {state}  {pace}");
        if let Some(bar) = &self.training {
            // A narrow terminal cuts off what stands last.
            bar.set_message(format!("{pace}  {state}"));
        }
    }

    fn on_eval_start(&mut self, images: usize) {
        self.evaluation = Some(bar("eval ", images));
    }

    fn on_eval_step(&mut self, images: usize) {
        if let Some(bar) = &self.evaluation {
            bar.set_position(images as u64);
        }
    }

    fn on_eval(&mut self, eval: &EvalLog) {
        self.end_evaluation();
        let stats = &eval.evaluation.stats;
        let best = if eval.best { ", the best so far" } else { "" };
        tracing::info!(
            "epoch {:.2}: AP {:.3}  AP50 {:.3}  AP75 {:.3}{best} ({} s)",
            eval.epoch,
            stats.ap,
            stats.ap50,
            stats.ap75,
            eval.seconds.round(),
        );
    }

    fn on_checkpoint(&mut self, path: &Path, kind: CheckpointKind) {
        let what = match kind {
            CheckpointKind::Last => "checkpoint",
            CheckpointKind::Best => "best checkpoint",
        };
        tracing::debug!("{what} written to {}", path.display());
    }
}

impl Bars {
    /// Takes the bar of an evaluation off the terminal.
    pub(crate) fn end_evaluation(&mut self) {
        if let Some(bar) = self.evaluation.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.end_evaluation();
        if let Some(bar) = self.training.take() {
            bar.finish_and_clear();
        }
    }
}

/// `epoch 0.68  loss 2.103 (bbox 0.812 centerness 0.620 cls 0.671)  lr 1.23e-3  grad 3.14`, and in
/// half precision how many steps of the run were left out.
fn state(log: &StepLog) -> String {
    let mut line = format!("epoch {:.2}", log.epoch);
    if let Some(loss) = log.means.get("loss") {
        line.push_str(&format!("  loss {loss:.3} ({})", parts(&log.means)));
    }
    line.push_str(&format!("  lr {:.2e}", log.lr));
    if let Some(norm) = log.means.get("grad_norm") {
        line.push_str(&format!("  grad {norm:.2}"));
    }
    if let Some(scale) = log.loss_scale.as_ref().filter(|scale| scale.skipped > 0) {
        line.push_str(&format!("  skipped {}", scale.skipped));
    }
    line
}

/// `14.1 images/s  eta 12:34`, and the shares of the time spent waiting for images and for other
/// processes.
fn pace(log: &StepLog) -> String {
    let mut pace = format!("{:.1} images/s  eta {}", log.images_per_s, clock(log.eta_s));
    // Below that, more loader threads or a faster network would not make training faster.
    let shares = [("loading", log.loading), ("reducing", log.reducing)];
    for (name, share) in shares.into_iter().filter(|(_, share)| *share >= 0.05) {
        pace.push_str(&format!("  {name} {:.0} %", 100.0 * share));
    }
    pace
}

/// The parts of the loss, without the prefix that they share.
fn parts(means: &BTreeMap<String, f64>) -> String {
    let parts = means.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("loss_")?;
        Some(format!("{name} {value:.3}"))
    });
    parts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_train::LossScale;

    #[test]
    fn a_line_has_losses_rate_speed_and_remaining_time() {
        let means = [
            ("loss", 1.5),
            ("loss_bbox", 0.75),
            ("loss_cls", 0.5),
            ("loss_centerness", 0.25),
            ("positives", 100.0),
            ("grad_norm", 5.678),
        ];
        let mut log = StepLog {
            iteration: 50,
            total: 730,
            epoch: 0.685,
            lr: 0.00123,
            means: means.map(|(name, value)| (name.to_owned(), value)).into(),
            loss_scale: None,
            images_per_s: 14.06,
            loading: 0.25,
            reducing: 0.0,
            eta_s: 3723.0,
        };
        let expected = "epoch 0.69  loss 1.500 (bbox 0.750 centerness 0.250 cls 0.500)  lr 1.23e-3  \
                      grad 5.68";
        assert_eq!(state(&log), expected);
        assert_eq!(pace(&log), "14.1 images/s  eta 1:02:03  loading 25 %");
        log.reducing = 0.1;
        assert!(pace(&log).ends_with("loading 25 %  reducing 10 %"));
        (log.loading, log.reducing) = (0.04, 0.0);
        let mut scale = LossScale::default();
        log.loss_scale = Some(scale.clone());
        assert_eq!(state(&log), expected);
        scale.skipped = 2;
        log.loss_scale = Some(scale);
        assert_eq!(state(&log), format!("{expected}  skipped 2"));
        log.means.remove("grad_norm");
        assert!(!state(&log).contains("grad"));
        assert_eq!(pace(&log), "14.1 images/s  eta 1:02:03");
    }
}
