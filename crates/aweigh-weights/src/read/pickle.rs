//! What a pickle holds beside tensors.

use pytorch_reader::PickleValue;
use serde_json::{Map, Number, Value};

/// Modules of Python whose functions run code or reach the system, alone or with all below them.
const HOSTILE_MODULES: [&str; 27] = [
    "os",
    "posix",
    "nt",
    "posixpath",
    "subprocess",
    "_posixsubprocess",
    "commands",
    "pty",
    "sys",
    "runpy",
    "importlib",
    "imp",
    "code",
    "codeop",
    "ctypes",
    "_ctypes",
    "socket",
    "shutil",
    "webbrowser",
    "urllib",
    "requests",
    "httplib",
    "http",
    "pickle",
    "_pickle",
    "pip",
    "marshal",
];

/// Functions that run code in modules that are harmless otherwise. `getattr` is not among them:
/// Python 3.11 pickles members of enumerations with it.
const HOSTILE_FUNCTIONS: [&str; 17] = [
    "eval",
    "exec",
    "execfile",
    "compile",
    "open",
    "setattr",
    "delattr",
    "__import__",
    "apply",
    "input",
    "breakpoint",
    "globals",
    "locals",
    "vars",
    "attrgetter",
    "methodcaller",
    "timeit",
];

/// Modules whose members are looked up in [`HOSTILE_FUNCTIONS`].
const MIXED_MODULES: [&str; 6] = [
    "builtins",
    "__builtin__",
    "__builtins__",
    "operator",
    "_operator",
    "timeit",
];

/// The first object that Python would have run code for.
pub(super) fn hostile(value: &PickleValue) -> Option<&str> {
    match value {
        PickleValue::Unsupported(kind) => is_hostile(kind).then_some(kind),
        PickleValue::List(items) => items.iter().find_map(hostile),
        PickleValue::Dict(entries) => entries.values().find_map(hostile),
        _ => None,
    }
}

/// The function that a pickle of protocol 0 calls first, if it runs code: the reader does not know
/// all of that protocol's text.
pub(super) fn hostile_start(start: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(start.strip_prefix(b"c")?).ok()?;
    let mut lines = text.lines();
    let global = format!("{}.{}", lines.next()?, lines.next()?);
    is_hostile(&global).then_some(global)
}

/// Whether a global `MODULE.NAME` runs code.
fn is_hostile(global: &str) -> bool {
    let top = global.split('.').next().unwrap_or_default();
    let name = global.rsplit('.').next().unwrap_or_default();
    let mixed = MIXED_MODULES.contains(&top) && HOSTILE_FUNCTIONS.contains(&name);
    HOSTILE_MODULES.contains(&top) || mixed
}

/// Whether there are arrays of NumPy.
pub(super) fn holds_numpy(value: &PickleValue) -> bool {
    match value {
        PickleValue::Unsupported(kind) => {
            kind.starts_with("numpy.") && kind.ends_with("_reconstruct")
        }
        PickleValue::List(items) => items.iter().any(holds_numpy),
        PickleValue::Dict(entries) => entries.values().any(holds_numpy),
        _ => false,
    }
}

/// The data without its tensors; none where nothing else is left.
pub(super) fn to_json(value: PickleValue) -> Option<Value> {
    Some(match value {
        PickleValue::None => Value::Null,
        PickleValue::Bool(value) => Value::Bool(value),
        PickleValue::Int(value) => Value::Number(value.into()),
        PickleValue::Float(value) => match Number::from_f64(value) {
            Some(number) => Value::Number(number),
            // JSON has no such number.
            None => Value::String(value.to_string()),
        },
        PickleValue::String(value) => Value::String(value),
        PickleValue::Bytes(bytes) => Value::String(format!("{} bytes", bytes.len())),
        PickleValue::List(items) => Value::Array(items.into_iter().filter_map(to_json).collect()),
        PickleValue::Dict(entries) => return dict_to_json(entries.into_iter().collect()),
        PickleValue::Unsupported(kind)
            if kind.starts_with("torch.") && kind.ends_with("Tensor") =>
        {
            return None;
        }
        PickleValue::Unsupported(kind) => {
            Value::Object(Map::from_iter([("python".to_owned(), Value::String(kind))]))
        }
    })
}

/// As [`to_json`]; a dictionary of nothing but tensors is left out. In the order of keys, which the
/// reader does not keep.
fn dict_to_json(mut entries: Vec<(String, PickleValue)>) -> Option<Value> {
    let was_empty = entries.is_empty();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    // Versions of modules, which PyTorch hangs on every state dict.
    let entries = entries.into_iter().filter(|(key, _)| key != "_metadata");
    let kept: Map<_, _> = entries
        .filter_map(|(key, value)| Some((key, to_json(value)?)))
        .collect();
    (was_empty || !kept.is_empty()).then_some(Value::Object(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_run_code_are_known() {
        let hostile = [
            "posix.system",
            "os.path.join",
            "subprocess.Popen",
            "builtins.eval",
            "__builtin__.execfile",
            "operator.attrgetter",
        ];
        let harmless = [
            "numpy.core.multiarray.scalar",
            "builtins.set",
            "builtins.getattr",
            "torch.device",
            "oslo.config",
            "mmengine.logging.HistoryBuffer",
        ];
        assert!(hostile.iter().all(|global| is_hostile(global)));
        assert!(!harmless.iter().any(|global| is_hostile(global)));
    }

    #[test]
    fn tensors_are_left_out_of_the_rest() {
        let tensor = || PickleValue::Unsupported("torch.Tensor".to_owned());
        let entry = |key: &str, value| (key.to_owned(), value);
        let weights = PickleValue::Dict([entry("w", tensor())].into());
        let device = PickleValue::Unsupported("torch.device".to_owned());
        let loss = PickleValue::Float(f64::INFINITY);
        let root = [
            entry("state_dict", weights),
            entry("device", device),
            entry("loss", loss),
        ];
        let found = to_json(PickleValue::Dict(root.into())).expect("something is left");
        let expected = serde_json::json!({"device": {"python": "torch.device"}, "loss": "inf"});
        assert_eq!(found, expected);
    }
}
