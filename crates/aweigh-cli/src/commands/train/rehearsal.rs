//! What a rehearsal of a run says.

use std::fmt::Write as _;

use aweigh_train::trainer::Rehearsal;

use crate::output::shell;

/// What the run would be, a line each.
pub(super) fn describe(rehearsal: &Rehearsal) -> String {
    let start = &rehearsal.start;
    let train = &rehearsal.experiment.train;
    let mut text = String::from("nothing is written: this is what the run would be\n");
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<12}{value}");
    };
    line(
        "data",
        format!("{} images, {} classes", start.images, start.classes),
    );
    line(
        "steps",
        format!(
            "{} of {} images, {} per epoch",
            start.total, train.batch_size, start.per_epoch
        ),
    );
    line(
        "model",
        format!("{} parameters that are trained", start.trainable_parameters),
    );
    let losses = rehearsal.losses.iter();
    let losses: Vec<String> = losses
        .map(|(name, loss)| format!("{name} {loss:.4}"))
        .collect();
    line("losses", losses.join("  "));
    line("step", format!("{:.2} s", rehearsal.step_s));
    line("epoch", duration(rehearsal.epoch_s()));
    match &rehearsal.evaluation {
        Some(evaluation) => line(
            "evaluation",
            format!(
                "{} for {} images, by that of {}",
                duration(evaluation.seconds),
                evaluation.all,
                evaluation.images
            ),
        ),
        None => line("evaluation", "none, there is no data.val".to_owned()),
    }
    line("run", format!("{} in all", duration(rehearsal.total_s())));
    if let Some(peak) = rehearsal.peak_rss_mib {
        line("memory", format!("{peak:.0} MiB of the host at most"));
    }
    line(
        "folder",
        format!(
            "{}: config.toml, log.txt, metrics.jsonl, eval/, checkpoints/ of {:.0} MiB each",
            shell(&rehearsal.folder),
            rehearsal.checkpoint_mib
        ),
    );
    text.trim_end().to_owned()
}

/// A time as people say it: `45 s`, `12 min`, `5.3 h`.
fn duration(seconds: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 3600.0;
    if seconds < 2.0 * MINUTE {
        format!("{seconds:.0} s")
    } else if seconds < 2.0 * HOUR {
        format!("{:.0} min", seconds / MINUTE)
    } else {
        format!("{:.1} h", seconds / HOUR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let check = |seconds, expected: &str| assert_eq!(duration(seconds), expected);
        check(45.4, "45 s");
        check(600.0, "10 min");
        check(19_080.0, "5.3 h");
    }
}
