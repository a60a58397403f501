//! Which of a file's dictionaries is the model's.

use std::collections::HashMap;

use pytorch_reader::PickleValue;

use super::Beside;

/// Keys under which training code keeps a model, the model itself before averages of it: an average
/// that belongs to the model is what mmdetection already stores as the model.
const CONTAINERS: [&str; 16] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "teacher",
    "student",
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "ema",
    "params_ema",
];

/// How often one container lies in another: `model`, in it `state_dict`.
const DEPTH: usize = 3;

/// What pickled objects that are no plain data are called here.
const TENSOR: &str = "torch.Tensor";

/// The keys that lead to the model's dictionary; none if the outermost is it.
pub(super) fn container(root: &HashMap<String, PickleValue>) -> Vec<&'static str> {
    let mut keys = Vec::new();
    let mut dict = root;
    while keys.len() < DEPTH {
        let mut inner = CONTAINERS.iter().filter_map(|key| match dict.get(*key) {
            Some(PickleValue::Dict(inner)) if holds_tensors(inner) => Some((*key, inner)),
            _ => None,
        });
        let Some((key, inner)) = inner.next() else {
            break;
        };
        keys.push(key);
        dict = inner;
    }
    keys
}

fn holds_tensors(dict: &HashMap<String, PickleValue>) -> bool {
    dict.values().any(|value| match value {
        PickleValue::Unsupported(kind) => kind == TENSOR,
        PickleValue::Dict(inner) => holds_tensors(inner),
        _ => false,
    })
}

/// A tensor outside the model's dictionary `container`, with the reason.
pub(super) fn beside(name: &str, container: &str) -> Beside {
    let first = name.split('.').next().unwrap_or_default();
    let reason = if first.starts_with("optim") {
        "state of the optimiser".to_owned()
    } else if CONTAINERS.contains(&first) && !container.starts_with(first) {
        format!("another copy of the model, `{container}` is used")
    } else {
        format!("not in `{container}`")
    };
    let name = name.to_owned();
    Beside { name, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dict(entries: &[(&str, PickleValue)]) -> PickleValue {
        let entries = entries.iter();
        PickleValue::Dict(entries.map(|(k, v)| ((*k).to_owned(), v.clone())).collect())
    }

    fn check(entries: &[(&str, PickleValue)], expected: &[&str]) {
        let PickleValue::Dict(root) = dict(entries) else {
            unreachable!("a dictionary was made");
        };
        assert_eq!(container(&root), expected);
    }

    #[test]
    fn the_model_is_found() {
        let weights = dict(&[("w", PickleValue::Unsupported(TENSOR.to_owned()))]);
        let nested = dict(&[("state_dict", weights.clone())]);
        let plain = dict(&[("lr", PickleValue::Float(0.1))]);
        let w = || weights.clone();
        check(&[("layer", w())], &[]);
        check(
            &[("ema_state_dict", w()), ("state_dict", w())],
            &["state_dict"],
        );
        check(&[("ema", w()), ("optimizer", w())], &["ema"]);
        check(&[("model", nested)], &["model", "state_dict"]);
        check(&[("model", plain), ("params", w())], &["params"]);
    }
}
