//! What another configuration does to the schedule of a run.

use std::fmt::Display;

use super::setup::length;
use crate::config::{Experiment, Span, TrainConfig};
use crate::schedule::{RunLength, Schedule};

/// The schedule of a configuration.
pub(super) struct Plan<'a> {
    train: &'a TrainConfig,
    /// Images of a step, in all processes.
    images: usize,
    length: RunLength,
    schedule: Schedule,
}

impl<'a> Plan<'a> {
    /// The plan for epochs of so many batches, in so many processes.
    pub(super) fn new(experiment: &'a Experiment, per_epoch: usize, processes: usize) -> Self {
        let train = &experiment.train;
        let length = length(experiment, per_epoch);
        Self {
            schedule: Schedule::new(&train.schedule, train.scaled_lr(processes), length),
            images: train.batch_size * processes,
            train,
            length,
        }
    }
}

/// What has changed since `then` for a run that goes on after `iteration`, with the learning rates,
/// if anything has.
pub(super) fn schedule_change(now: &Plan, then: &Plan, iteration: usize) -> Option<String> {
    let mut changes = Vec::new();
    if now.train.length() != then.train.length() {
        changes.push(lengths(now.train.length(), then.train.length()));
    }
    let mut compare = |now: &dyn Display, then: &dyn Display, what: &str| {
        let (now, then) = (now.to_string(), then.to_string());
        if now != then {
            changes.push(format!("{then} to {now} {what}"));
        }
    };
    compare(&now.images, &then.images, "images per step");
    let steps = [now, then].map(|plan| plan.length.per_epoch);
    compare(&steps[0], &steps[1], "steps per epoch");
    compare(&now.train.lr, &then.train.lr, "as `train.lr`");
    let bases = [now, then].map(|plan| plan.train.base_batch_size);
    let base = |base: Option<usize>| base.map_or("none".to_owned(), |base| base.to_string());
    compare(
        &base(bases[0]),
        &base(bases[1]),
        "as `train.base_batch_size`",
    );
    if now.train.schedule != then.train.schedule {
        changes.push("another `train.schedule`".to_owned());
    }
    if changes.is_empty() {
        return None;
    }
    let next = [now, then].map(|plan| plan.schedule.lr(iteration));
    let last = [now, then].map(|plan| plan.schedule.lr(plan.length.total.saturating_sub(1)));
    Some(format!(
        "{}; the rate of the next step is {:.2e} (was {:.2e}), that of the last one {:.2e} (was \
         {:.2e})",
        changes.join(", "),
        next[0],
        next[1],
        last[0],
        last[1],
    ))
}

/// `12 to 24 epochs`.
fn lengths(now: Span, then: Span) -> String {
    let parts = |span| match span {
        Span::Epochs(n) => (n, "epochs"),
        Span::Iterations(n) => (n, "iterations"),
    };
    let ((now, unit), (then, other)) = (parts(now), parts(then));
    if unit == other {
        format!("{then} to {now} {unit}")
    } else {
        format!("{then} {other} to {now} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experiment(train: &str) -> Experiment {
        let text = format!(
            "[data]\ntrain = {{ annotations = \"a\", images = \"b\" }}\n[detector.fcos]\n\
             [train]\nlr = 0.01\n{train}"
        );
        Experiment::parse("x.toml", &text, &[]).unwrap()
    }

    #[test]
    fn a_changed_schedule_is_told_with_its_rates() {
        let check = |[now, then]: [&str; 2], per_epoch: [usize; 2], expected: Option<&str>| {
            let [now, then] = [now, then].map(experiment);
            let now = Plan::new(&now, per_epoch[0], 1);
            let then = Plan::new(&then, per_epoch[1], 1);
            assert_eq!(schedule_change(&now, &then, 100).as_deref(), expected);
        };
        let same = "schedule.kind = \"constant\"\nepochs = 10";
        check([same, same], [20, 20], None);
        check([same, "epochs = 10\nlog_every = 7"], [20, 20], {
            Some(
                "another `train.schedule`; the rate of the next step is 1.00e-2 (was 5.00e-3), that \
                 of the last one 1.00e-2 (was 6.17e-7)",
            )
        });
        check(
            ["epochs = 20", "epochs = 10"],
            [20, 20],
            Some(
                "10 to 20 epochs; the rate of the next step is 8.54e-3 (was 5.00e-3), that of the \
                 last one 1.54e-7 (was 6.17e-7)",
            ),
        );
        check(
            ["iterations = 200\nbatch_size = 8", "epochs = 10"],
            [40, 20],
            Some(
                "10 epochs to 200 iterations, 16 to 8 images per step, 20 to 40 steps per epoch; \
                 the rate of the next step is 5.00e-3 (was 5.00e-3), that of the last one 6.17e-7 \
                 (was 6.17e-7)",
            ),
        );
    }
}
