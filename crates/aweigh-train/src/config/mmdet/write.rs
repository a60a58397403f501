//! An imported experiment as a file that people read.

use toml::{Table, Value};

use super::Imported;
use crate::config::Experiment;

impl Imported {
    /// The experiment as TOML, without what the defaults say; the notes come first, as comments.
    ///
    /// Reading it gives the same experiment.
    ///
    /// # Panics
    ///
    /// Never: an experiment is a TOML table.
    pub fn to_toml(&self) -> String {
        let mut given = table(&self.experiment);
        let least = least(&given);
        let defaults = least.clone().try_into();
        let mut defaults: Experiment = defaults.expect("a method and data make an experiment");
        defaults.train.fill();
        remove(&mut given, &table(&defaults), &least);
        let comments = self.notes.iter().map(|note| format!("# {note}\n"));
        let text = toml::to_string(&given).expect("a part of an experiment is a TOML table");
        format!("{}\n{text}", comments.collect::<String>())
    }
}

fn table(experiment: &Experiment) -> Table {
    // By way of the text, which has the shortest digits of each float: 0.2, and not the nearest f32.
    toml::from_str(&experiment.to_toml()).expect("an experiment is a TOML table")
}

/// What an experiment has in any case: data, a method, and what a recipe is known by.
fn least(given: &Table) -> Table {
    let mut least = Table::new();
    let mut keep = |table: &str, keys: &[&str]| {
        let Some(Value::Table(from)) = given.get(table) else {
            return;
        };
        let kept = from.iter().filter(|(key, _)| keys.contains(&key.as_str()));
        let kept: Table = kept
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        least.insert(table.to_owned(), kept.into());
    };
    keep("data", &["train"]);
    keep("train", &["epochs", "iterations", "batch_size", "lr"]);
    if let Some(Value::Table(detector)) = given.get("detector") {
        let others = ["backbone", "neck"];
        let method =
            |(key, value): &(&String, &Value)| value.is_table() && !others.contains(&key.as_str());
        let methods = detector.iter().filter(method);
        let methods: Table = methods
            .map(|(key, _)| (key.clone(), Table::new().into()))
            .collect();
        least.insert("detector".to_owned(), methods.into());
    }
    least
}

/// Takes away what the defaults say, all the way down, but for what is needed at `least`.
fn remove(given: &mut Table, defaults: &Table, least: &Table) {
    given.retain(
        |key, value| match (value, defaults.get(key), least.get(key)) {
            (Value::Table(inner), Some(Value::Table(defaults)), least) => {
                let needed = least.and_then(Value::as_table);
                remove(inner, defaults, needed.unwrap_or(&Table::new()));
                !inner.is_empty() || needed.is_some()
            }
            (_, _, Some(_)) => true,
            (value, default, None) => default != Some(&*value),
        },
    );
}
