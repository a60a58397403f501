//! `--set a.b.c=value`: changes on top of a configuration file.
//!
//! Not read as TOML as a whole: text needs no quotes, and of alternative keys the last one counts.

use toml::{Table, Value};

use super::ConfigError;
use super::model::{CHECKSUM, WEIGHTS};

/// Keys of which at most one may be given: setting one removes the other.
const ALTERNATIVES: [(&str, &str); 4] = [
    ("train.epochs", "train.iterations"),
    ("train.eval_every_epochs", "train.eval_every_iterations"),
    (
        "train.checkpoint_every_epochs",
        "train.checkpoint_every_iterations",
    ),
    (
        "train.schedule.milestones",
        "train.schedule.milestones_iterations",
    ),
];

/// Applies one argument to `table`.
///
/// The value is TOML (`0.005`, `[8, 11]`, `"text"`, `{ a = 1 }`); what is not TOML is text, so that
/// `device.backend=wgpu` needs no quotes.
///
/// # Errors
///
/// When the argument has no `=`, an empty key, or a key below something that is not a table.
pub(crate) fn apply(table: &mut Table, argument: &str) -> Result<(), ConfigError> {
    let error = |message: String| ConfigError::Override {
        argument: argument.to_owned(),
        message,
    };
    let (key, text) = argument
        .split_once('=')
        .ok_or_else(|| error("expected key=value, such as train.lr=0.005".to_owned()))?;
    let key = key.trim();
    if key.is_empty() || key.split('.').any(|part| part.trim().is_empty()) {
        return Err(error(format!("`{key}` is not a dotted key")));
    }
    for (a, b) in ALTERNATIVES {
        match key {
            _ if key == a => remove(table, b),
            _ if key == b => remove(table, a),
            _ => false,
        };
    }
    insert(table, key, value(text.trim())).map_err(error)
}

/// Takes out of `table`, which is that of a file, the weights that `arguments` name others in place
/// of, with their checksum. Gives the keys.
pub(crate) fn replace_weights(table: &mut Table, arguments: &[String]) -> Vec<&'static str> {
    let keys = arguments
        .iter()
        .filter_map(|argument| argument.split_once('='));
    let set: Vec<&str> = keys.map(|(key, _)| key.trim()).collect();
    if !set.iter().any(|key| WEIGHTS.contains(key)) {
        return Vec::new();
    }
    let others = WEIGHTS.into_iter().filter(|key| !set.contains(key));
    let mut replaced: Vec<&str> = others.filter(|key| remove(table, key)).collect();
    if !replaced.is_empty() && !set.contains(&CHECKSUM) && remove(table, CHECKSUM) {
        replaced.push(CHECKSUM);
    }
    replaced
}

fn value(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}"));
    match parsed.map(|mut table| (table.remove("value"), table.is_empty())) {
        Ok((Some(value), true)) => value,
        _ => Value::String(text.to_owned()),
    }
}

fn insert(table: &mut Table, key: &str, value: Value) -> Result<(), String> {
    let (parents, leaf) = match key.rsplit_once('.') {
        Some((parents, leaf)) => (parents.split('.').map(str::trim).collect(), leaf.trim()),
        None => (Vec::new(), key),
    };
    let mut table = table;
    for (depth, part) in parents.iter().enumerate() {
        let entry = table
            .entry(*part)
            .or_insert_with(|| Value::Table(Table::new()));
        table = match entry {
            Value::Table(inner) => inner,
            other => {
                let path = parents[..=depth].join(".");
                return Err(format!("`{path}` is {}, not a table", other.type_str()));
            }
        };
    }
    table.insert(leaf.to_owned(), value);
    Ok(())
}

/// Whether the key was there.
fn remove(table: &mut Table, key: &str) -> bool {
    match key.split_once('.') {
        Some((part, rest)) => match table.get_mut(part) {
            Some(Value::Table(inner)) => remove(inner, rest),
            _ => false,
        },
        None => table.remove(key).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, argument: &str, expected: Result<&str, &str>) {
        let mut table: Table = toml::from_str(file).unwrap();
        let got = apply(&mut table, argument).map(|()| table);
        match (got, expected) {
            (Ok(table), Ok(text)) => assert_eq!(table, toml::from_str(text).unwrap(), "{argument}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, expected) => panic!("{argument}: got {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn values_are_toml_or_text() {
        check("", "a.b=0.5", Ok("a.b = 0.5"));
        check("", "a=[8, 11]", Ok("a = [8, 11]"));
        check("", "a=wgpu", Ok("a = 'wgpu'"));
        check("", "a=\"x y\"", Ok("a = 'x y'"));
        check("", "a={ b = 1 }", Ok("a = { b = 1 }"));
        check("a = 1", "a=true", Ok("a = true"));
        check("a = 1", "a=", Ok("a = ''"));
        check("", "a=runs/x=y", Ok("a = 'runs/x=y'"));
        check("", "a=1\nb=2", Ok("a = \"1\\nb=2\""));
    }

    #[test]
    fn an_alternative_replaces_the_other() {
        let file = "train = { epochs = 12, lr = 1 }";
        check(
            file,
            "train.iterations=5",
            Ok("train = { iterations = 5, lr = 1 }"),
        );
        check(file, "train.epochs=1", Ok("train = { epochs = 1, lr = 1 }"));
    }

    #[test]
    fn weights_replace_those_of_the_file() {
        let file = "[model.weights]\nbackbone = 'b'\nsha256 = '01234567'\n[train]\nlr = 1\n";
        let check = |arguments: &[&str], replaced: &[&str]| {
            let mut table: Table = toml::from_str(file).unwrap();
            let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
            assert_eq!(replace_weights(&mut table, &arguments), replaced);
        };
        let (backbone, sha256) = ("model.weights.backbone", "model.weights.sha256");
        check(&["model.weights.detector=d"], &[backbone, sha256]);
        check(&["train.weights=d"], &[backbone, sha256]);
        check(
            &["model.weights.detector=d", "model.weights.sha256=89abcdef"],
            &[backbone],
        );
        check(&["model.weights.backbone=c"], &[]);
        check(&["train.lr=2"], &[]);
    }

    #[test]
    fn mistakes_name_the_argument() {
        check("", "a.b", Err("--set a.b: expected key=value"));
        check(
            "",
            "a..b=1",
            Err("--set a..b=1: `a..b` is not a dotted key"),
        );
        check(
            "a = 1",
            "a.b=2",
            Err("--set a.b=2: `a` is integer, not a table"),
        );
    }
}
