//! Whether all processes are in the same training.

use std::hash::{DefaultHasher, Hasher};

use aweigh_distributed::{ProcessGroup, describe};
use burn::module::Module;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::TrainError;
use crate::config::{DeviceConfig, Experiment};
use crate::data_record::DataRecord;
use crate::parameters::named_tensors;

/// What has to be the same in all processes.
#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    host: String,
    version: String,
    build: Option<u64>,
    /// The configuration, but for the device.
    experiment: Value,
    /// The annotations.
    data: Value,
    /// Completed iterations.
    iteration: usize,
}

/// Checks that all processes run the same program with the same configuration on the same
/// annotations, from the same position.
///
/// # Errors
///
/// On all processes; names one that differs from the first, and what differs.
pub(crate) fn check_same_run(
    group: &dyn ProcessGroup,
    experiment: &Experiment,
    data: Option<&DataRecord>,
    iteration: usize,
) -> Result<(), TrainError> {
    if group.size() == 1 {
        return Ok(());
    }
    // Each process has a device of its own.
    let experiment = Experiment {
        device: DeviceConfig::default(),
        ..experiment.clone()
    };
    let json = |value: serde_json::Result<Value>| value.unwrap_or_default();
    let own = Identity {
        host: group.place().host,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        build: build(),
        experiment: json(serde_json::to_value(experiment)),
        data: json(serde_json::to_value(data)),
        iteration,
    };
    let own = serde_json::to_vec(&own).expect("an identity is JSON");
    let all = group.gather(&own);
    let read = |bytes: &Vec<u8>| serde_json::from_slice::<Identity>(bytes).ok();
    let first = read(&all[0]);
    for (rank, bytes) in all.iter().enumerate() {
        let difference = match (&first, read(bytes)) {
            (Some(first), Some(other)) => first.difference(&other),
            _ => Some("another version of this program".to_owned()),
        };
        if let Some(difference) = difference {
            let host = read(bytes).map_or_else(|| "unknown".to_owned(), |other| other.host);
            return Err(TrainError::OtherRun {
                process: describe(rank, group.size(), &host),
                difference,
            });
        }
    }
    Ok(())
}

impl Identity {
    /// What `other` has that this has not.
    fn difference(&self, other: &Self) -> Option<String> {
        if self.version != other.version {
            return Some(format!(
                "version {} of this program, not {}",
                other.version, self.version
            ));
        }
        if self.build != other.build {
            return Some("another build of this program".to_owned());
        }
        let in_config = first_difference("", &self.experiment, &other.experiment);
        let in_config = in_config.map(|difference| format!("another configuration: {difference}"));
        let in_data = || {
            let difference = first_difference("", &self.data, &other.data)?;
            Some(format!("other annotations: {difference}"))
        };
        let position = || {
            let there = other.iteration;
            let here = self.iteration;
            (there != here).then(|| format!("a checkpoint of iteration {there}, not {here}"))
        };
        in_config.or_else(in_data).or_else(position)
    }
}

/// The first place where two values differ: `train.lr is 0.02, not 0.01`.
fn first_difference(path: &str, first: &Value, other: &Value) -> Option<String> {
    if first == other {
        return None;
    }
    let below = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    if let (Value::Object(first), Value::Object(other)) = (first, other) {
        let keys = first.keys().chain(other.keys());
        let differs = |key: &String| first.get(key) != other.get(key);
        let key = keys.into_iter().find(|key| differs(key))?;
        let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
        return first_difference(&below(key), &of(first), &of(other));
    }
    let shown = |value: &Value| match value {
        Value::Null => "absent".to_owned(),
        value => value.to_string(),
    };
    Some(format!(
        "`{path}` is {}, not {}",
        shown(other),
        shown(first)
    ))
}

/// What tells the builds of this program apart; nothing where its file cannot be read.
fn build() -> Option<u64> {
    let program = std::env::current_exe().and_then(std::fs::read).ok()?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&program);
    Some(hasher.finish())
}

/// Checks that all processes have the same weights, bit for bit.
///
/// # Errors
///
/// On all processes; names those that differ from the first.
pub(crate) fn check_same_weights<M: Module>(
    group: &dyn ProcessGroup,
    model: &M,
    iteration: usize,
) -> Result<(), TrainError> {
    if group.size() == 1 {
        return Ok(());
    }
    let mut hasher = DefaultHasher::new();
    for (name, data) in named_tensors(model) {
        hasher.write(name.as_bytes());
        hasher.write(data.as_bytes());
    }
    let all = group.gather(&hasher.finish().to_le_bytes());
    let others = all.iter().enumerate().filter(|(_, hash)| **hash != all[0]);
    let others: Vec<String> = others.map(|(rank, _)| rank.to_string()).collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(TrainError::OtherWeights {
        processes: others.join(", "),
        size: group.size(),
        iteration,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::{ThreadGroup, processes};
    use burn::nn::{Initializer, LinearConfig};
    use burn::tensor::Device;
    use serde_json::json;

    #[test]
    fn a_process_with_other_weights_is_named_in_all() {
        let check = |weights: [f32; 3]| {
            let groups = processes(3).into_iter().zip(weights);
            let messages: Vec<Option<String>> = std::thread::scope(|scope| {
                let start = |(group, weight): (ThreadGroup, f32)| {
                    scope.spawn(move || {
                        let layer = LinearConfig::new(1, 1)
                            .with_initializer(Initializer::Constant {
                                value: weight.into(),
                            })
                            .init(&Device::flex());
                        let checked = check_same_weights(&group, &layer, 7);
                        checked.err().map(|error| error.to_string())
                    })
                };
                let threads: Vec<_> = groups.map(start).collect();
                let ends = threads.into_iter().map(|thread| thread.join());
                ends.map(|end| end.expect("no panic")).collect()
            });
            messages
        };
        assert_eq!(check([0.5; 3]), [None, None, None]);
        for message in check([0.5, 0.25, 0.5]) {
            let message = message.expect("an error");
            let start = "process 1 of 3 has other weights than process 0 at iteration 7";
            assert!(message.starts_with(start), "{message}");
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        let check = |first: Value, other: Value, expected: Option<&str>| {
            assert_eq!(first_difference("", &first, &other).as_deref(), expected);
        };
        check(json!({"a": 1}), json!({"a": 1}), None);
        check(
            json!({"train": {"lr": 0.01, "epochs": 2}}),
            json!({"train": {"lr": 0.02, "epochs": 3}}),
            Some("`train.lr` is 0.02, not 0.01"),
        );
        check(
            json!({"train": {}}),
            json!({"train": {"clip_norm": 35.0}}),
            Some("`train.clip_norm` is 35.0, not absent"),
        );
        check(json!([1, 2]), json!([1]), Some("`` is [1], not [1,2]"));
    }
}
