//! The configuration as text, with a comment for each choice.

use std::path::Path;

use aweigh_data::formats::{Prepared, PreparedSet};

use super::Wishes;
use super::network::Network;
use super::size::Sizes;
use super::time::Length;
use crate::config::Backend;
use crate::statistics::Statistics;

/// What a configuration is written from.
pub(super) struct Parts<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) wishes: &'a Wishes,
    pub(super) network: &'a Network,
    pub(super) sizes: &'a Sizes,
    pub(super) length: &'a Length,
    pub(super) statistics: &'a Statistics,
}

/// Writes the configuration.
pub(super) fn write(parts: &Parts<'_>) -> String {
    let sections = [
        header(parts),
        data(parts),
        parts.network.tables(parts.wishes.method, parts.sizes),
        weights(parts),
        train(parts),
        schedule(parts),
    ];
    let sections: Vec<&str> = sections.iter().map(|text| text.trim()).collect();
    let filled: Vec<&str> = sections
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect();
    filled.join("\n\n") + "\n"
}

fn header(parts: &Parts<'_>) -> String {
    let statistics = parts.statistics;
    let mut lines = vec![comment(&format!(
        "Proposed for {} images with {} boxes of {} classes.",
        statistics.images,
        statistics.boxes,
        statistics.classes.len()
    ))];
    let notes = parts.prepared.notes.iter();
    lines.extend(notes.map(|note| comment(&format!("Its data: {note}."))));
    lines.push("\nseed = 0".to_owned());
    if parts.wishes.backend != Backend::Cpu {
        lines.push(format!(
            "\n[device]\nbackend = \"{}\"",
            parts.wishes.backend
        ));
    }
    lines.join("\n")
}

/// A text as comments of lines that fit a screen, whatever it holds.
pub(super) fn comment(text: &str) -> String {
    const WIDTH: usize = 98;
    let text = text.replace(char::is_control, " ");
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    let lines: Vec<String> = lines.iter().map(|line| format!("# {line}")).collect();
    lines.join("\n")
}

fn data(parts: &Parts<'_>) -> String {
    let split = |set: &PreparedSet| {
        format!(
            "{{ annotations = {}, images = {} }}",
            quoted(&set.annotations),
            quoted(&set.images)
        )
    };
    let sizes = parts.sizes;
    let [short, long] = sizes.edges;
    let unlearnt = 100.0 * (1.0 - sizes.learnt);
    let rest = match unlearnt < 0.05 {
        true => "every box can be learnt".to_owned(),
        false => format!("{unlearnt:.1} % of the boxes can be learnt by no point"),
    };
    let reason = comment(&format!(
        "{:.2} of the usual size: of every class that is not rare, nine of ten boxes are {:.0} px \
         and more for the network, and {rest}.",
        sizes.scale, sizes.smallest
    ));
    format!(
        "[data]\ntrain = {}\nval = {}\n\n[data.transform]\n{reason}\nshort_edge = \
         {short}\nlong_edge = {long}\n{}",
        split(&parts.prepared.train),
        split(&parts.prepared.val),
        parts.network.pixels()
    )
}

/// A path as a text of TOML.
fn quoted(path: &Path) -> String {
    toml::Value::String(path.display().to_string()).to_string()
}

fn weights(parts: &Parts<'_>) -> String {
    let key = match parts.network {
        Network::Small { .. } => return String::new(),
        Network::Backbone { .. } => "backbone",
        Network::Detector { .. } => "detector",
    };
    let weights = parts.wishes.weights.as_deref().unwrap_or(Path::new(""));
    format!("[model.weights]\n{key} = {}", quoted(weights))
}

fn train(parts: &Parts<'_>) -> String {
    let length = parts.length;
    let reason = match &length.budget {
        None => "as many steps as the small recipes in configs/ have".to_owned(),
        Some((minutes, pace)) => format!(
            "{minutes} min at {:.0} ms a step and {:.0} ms for an image of an evaluation, as \
             measured",
            pace.step_ms, pace.image_ms
        ),
    };
    let extent = match length.epochs {
        0 => format!("iterations = {}\neval_every_iterations = 0\n", length.steps),
        epochs => format!(
            "epochs = {epochs}\neval_every_epochs = {}\n",
            length.eval_every()
        ),
    };
    let lr = match parts.network.is_pretrained() {
        true => "# Lower than from scratch: the weights are good already.\nlr = 7e-4",
        false => "lr = 2e-3",
    };
    let reason = comment(&format!(
        "{} steps per epoch, {} in all: {reason}.",
        length.per_epoch, length.steps
    ));
    format!(
        "[train]\n{reason}\n{extent}batch_size = {}\n{lr}\nlog_every \
         = 10\nclip_norm = 10.0\n\n[train.optimizer]\nkind = \"adamw\"\nweight_decay = \
         0.05\nbias_decay_mult = 0.0\nnorm_decay_mult = 0.0",
        length.batch
    )
}

fn schedule(parts: &Parts<'_>) -> String {
    format!(
        "[train.schedule]\nkind = \"cosine\"\nfinal_ratio = 0.01\nwarmup = {{ kind = \"linear\", \
         iterations = {}, ratio = 0.04 }}",
        parts.length.warmup()
    )
}
