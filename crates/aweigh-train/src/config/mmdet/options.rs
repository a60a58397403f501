//! Dictionaries of options, read strictly: what nobody asks for is refused.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// An option that this program cannot follow.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    /// Its path, such as `model.bbox_head.loss_bbox.type`.
    pub(super) option: String,
    /// Its value as the configuration has it.
    pub(super) found: String,
    /// What is known instead.
    pub(super) expected: String,
}

/// Longest text of a value in a message, in characters.
const SHOWN: usize = 100;

/// A dictionary of the configuration.
#[derive(Debug)]
pub(super) struct Options<'a> {
    path: String,
    map: &'a Map<String, Value>,
    /// Keys that were asked for.
    taken: RefCell<BTreeSet<String>>,
}

impl<'a> Options<'a> {
    /// A dictionary at this path, empty for the whole configuration.
    pub(super) fn new(path: &str, map: &'a Map<String, Value>) -> Self {
        Self {
            path: path.to_owned(),
            map,
            taken: RefCell::default(),
        }
    }

    /// A value that must be a dictionary.
    pub(super) fn of(path: &str, value: &'a Value) -> Result<Self, Refusal> {
        match value {
            Value::Object(map) => Ok(Self::new(path, map)),
            other => Err(refusal(path, other, "expected a dictionary")),
        }
    }

    /// The path of a key.
    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() {
            return key.to_owned();
        }
        format!("{}.{key}", self.path)
    }

    /// The value of a key, `None` of Python included.
    pub(super) fn raw(&self, key: &str) -> Option<&'a Value> {
        let value = self.map.get(key)?;
        self.taken.borrow_mut().insert(key.to_owned());
        Some(value)
    }

    /// The value of a key that is there and not `None`.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.raw(key).filter(|value| !value.is_null())
    }

    /// Keys that change no number here.
    pub(super) fn ignore(&self, keys: &[&str]) {
        for key in keys {
            self.raw(key);
        }
    }

    /// Refuses the keys that nobody asked for.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        let taken = self.taken.borrow();
        match self
            .map
            .iter()
            .find(|(key, _)| !taken.contains(key.as_str()))
        {
            None => Ok(()),
            Some((key, value)) => Err(refusal(&self.path(key), value, "this option is not known")),
        }
    }

    /// Says what was expected in place of a value.
    pub(super) fn refuse(&self, key: &str, expected: impl Into<String>) -> Refusal {
        let found = self.map.get(key).unwrap_or(&Value::Null);
        refusal(&self.path(key), found, expected)
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let wrong = || self.refuse(key, expected);
        let read = |value| read(value).ok_or_else(wrong);
        self.get(key).map(read).transpose()
    }

    /// A value without which there is nothing.
    fn need<T>(&self, key: &str, found: Option<T>) -> Result<T, Refusal> {
        found.ok_or_else(|| Refusal {
            option: self.path(key),
            found: "absent".to_owned(),
            expected: "a value is needed".to_owned(),
        })
    }

    pub(super) fn number_or(&self, key: &str, absent: f64) -> Result<f64, Refusal> {
        let number = self.read(key, "expected a number", Value::as_f64)?;
        Ok(number.unwrap_or(absent))
    }

    pub(super) fn number(&self, key: &str) -> Result<f64, Refusal> {
        let number = self.read(key, "expected a number", Value::as_f64)?;
        self.need(key, number)
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<usize>, Refusal> {
        self.read(key, "expected a whole number from 0 on", count)
    }

    pub(super) fn size_or(&self, key: &str, absent: usize) -> Result<usize, Refusal> {
        Ok(self.size(key)?.unwrap_or(absent))
    }

    pub(super) fn needed_size(&self, key: &str) -> Result<usize, Refusal> {
        let size = self.size(key)?;
        self.need(key, size)
    }

    pub(super) fn flag_or(&self, key: &str, absent: bool) -> Result<bool, Refusal> {
        let flag = self.read(key, "expected True or False", Value::as_bool)?;
        Ok(flag.unwrap_or(absent))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, Refusal> {
        self.read(key, "expected a string", Value::as_str)
    }

    pub(super) fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, Refusal> {
        self.read(key, "expected a list of numbers", numbers)
    }

    pub(super) fn sizes(&self, key: &str) -> Result<Option<Vec<usize>>, Refusal> {
        let list = |value: &Value| value.as_array()?.iter().map(count).collect();
        self.read(key, "expected a list of whole numbers from 0 on", list)
    }

    pub(super) fn pairs(&self, key: &str) -> Result<Option<Vec<[f64; 2]>>, Refusal> {
        let pair = |value: &Value| numbers(value)?.try_into().ok();
        let list = |value: &Value| value.as_array()?.iter().map(pair).collect();
        self.read(key, "expected a list of pairs of numbers", list)
    }

    pub(super) fn list(&self, key: &str) -> Result<Option<&'a [Value]>, Refusal> {
        let list = |value: &'a Value| value.as_array().map(Vec::as_slice);
        self.read(key, "expected a list", list)
    }

    /// The dictionary of a key.
    pub(super) fn table(&self, key: &str) -> Result<Option<Self>, Refusal> {
        let table = |value| Options::of(&self.path(key), value);
        self.get(key).map(table).transpose()
    }

    pub(super) fn needed_table(&self, key: &str) -> Result<Self, Refusal> {
        let table = self.table(key)?;
        self.need(key, table)
    }

    /// The name of the class, without the packages before it.
    pub(super) fn class(&self) -> Result<&'a str, Refusal> {
        let class = self.text("type")?;
        let class = self.need("type", class)?;
        Ok(class.rsplit('.').next().unwrap_or(class))
    }

    /// Refuses another class.
    pub(super) fn expect_class(&self, known: &[&str]) -> Result<(), Refusal> {
        if known.contains(&self.class()?) {
            return Ok(());
        }
        Err(self.refuse("type", format!("known: {}", known.join(", "))))
    }

    /// Refuses a value that differs from the only one that is known; absent and `None` do not.
    pub(super) fn expect(&self, key: &str, only: impl Into<Value>) -> Result<(), Refusal> {
        let only = only.into();
        match self.get(key) {
            Some(found) if !same(found, &only) => {
                Err(self.refuse(key, format!("only {} is known", shown(&only))))
            }
            _ => Ok(()),
        }
    }

    /// Refuses any value but `None`.
    pub(super) fn expect_none(&self, key: &str) -> Result<(), Refusal> {
        match self.get(key) {
            Some(_) => Err(self.refuse(key, "only None is known")),
            None => Ok(()),
        }
    }
}

/// A whole number that every other program can write, too.
fn count(value: &Value) -> Option<usize> {
    u32::try_from(value.as_u64()?)
        .ok()
        .map(|count| count as usize)
}

fn numbers(value: &Value) -> Option<Vec<f64>> {
    value.as_array()?.iter().map(Value::as_f64).collect()
}

/// Whether two values are equal, as Python compares: 1 and 1.0 are.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        _ => a == b,
    }
}

/// An option that is refused.
pub(super) fn refusal(option: &str, found: &Value, expected: impl Into<String>) -> Refusal {
    Refusal {
        option: option.to_owned(),
        found: shown(found),
        expected: expected.into(),
    }
}

/// A value as Python writes it, cut if it is long.
fn shown(value: &Value) -> String {
    let text = python(value);
    if text.chars().count() <= SHOWN {
        return text;
    }
    let start: String = text.chars().take(SHOWN).collect();
    format!("{start}...")
}

fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("'{text}'"),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(python).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| format!("{key}={}", python(value));
            let entries: Vec<String> = map.iter().map(entry).collect();
            format!("dict({})", entries.join(", "))
        }
    }
}
