//! `--set a.b.c=value`: changes on top of a configuration file.
//!
//! Not read as TOML as a whole: text needs no quotes, and of alternative keys the last one counts.

use toml::{Table, Value};

use super::ConfigError;

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
            _ => {}
        }
    }
    insert(table, key, value(text.trim())).map_err(error)
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

fn remove(table: &mut Table, key: &str) {
    match key.split_once('.') {
        Some((part, rest)) => {
            if let Some(Value::Table(inner)) = table.get_mut(part) {
                remove(inner, rest);
            }
        }
        None => {
            table.remove(key);
        }
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
