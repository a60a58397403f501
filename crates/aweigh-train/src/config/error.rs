//! What a user can get wrong in a configuration, with the place in the file.
//!
//! The excerpt of the file is like that of the `toml` crate, which draws it for its own errors only.

use std::ops::Range;
use std::path::PathBuf;

use thiserror::Error;
use toml::de::{DeTable, DeValue};

/// An error of a configuration file or of an override.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file does not exist, neither as given nor in `configs/`.
    #[error("configuration {} not found{}", .path.display(), suggestions(.available))]
    NotFound {
        /// The path as given.
        path: PathBuf,
        /// Names of the configurations in `configs/`.
        available: Vec<String>,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Wrong syntax, an unknown key, a value of the wrong type or an impossible combination.
    #[error("{file}:{line}:{column}: {message}\n{excerpt}")]
    Place {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong and what was expected.
        message: String,
        /// The offending line, with a marker below it.
        excerpt: String,
    },
    /// An error without a place in a file, such as a key that is missing altogether.
    #[error("{file}: {message}")]
    Value {
        /// The file.
        file: String,
        /// What is wrong and what was expected.
        message: String,
    },
    /// A `--set` argument is wrong.
    #[error("--set {argument}: {message}")]
    Override {
        /// The argument as given.
        argument: String,
        /// What is wrong and what was expected.
        message: String,
    },
}

fn suggestions(available: &[String]) -> String {
    match available {
        [] => String::new(),
        names => format!(" (configs/ has {})", names.join(", ")),
    }
}

/// A value that a type cannot refuse by itself: a dotted key and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) key: String,
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn new(key: &str, message: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            message: message.into(),
        }
    }
}

/// A configuration file's text under its name, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    /// Turns an error of the TOML reader into one that names the place and the full key.
    pub(crate) fn parse_error(&self, error: &toml::de::Error) -> ConfigError {
        let message = describe(error);
        let path = key_path(error);
        let span = match unknown_field(error.message()) {
            Some(field) => self.find(&join(&path, field)).or(error.span()),
            // An error of a table knows no place.
            None => error.span().or_else(|| self.find(&path)),
        };
        self.place(message, span)
    }

    /// Points at the key of `problem`, or at the closest table above it.
    pub(crate) fn problem(&self, problem: &Problem) -> ConfigError {
        let message = format!("`{}`: {}", problem.key, problem.message);
        self.place(message, self.find(&problem.key))
    }

    fn place(&self, message: String, span: Option<Range<usize>>) -> ConfigError {
        let file = self.file.to_owned();
        let Some(span) = span else {
            return ConfigError::Value { file, message };
        };
        let start = span.start.min(self.text.len());
        let line_start = self.text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line = self.text[..start].matches('\n').count() + 1;
        let column = self.text[line_start..start].chars().count() + 1;
        let content = self.text[line_start..].lines().next().unwrap_or("");
        let rest = content.chars().count() + 1 - column.min(content.chars().count() + 1);
        let width = (span.end.saturating_sub(start)).clamp(1, rest.max(1));
        let gutter = " ".repeat(line.to_string().len());
        let marker = format!("{}{}", " ".repeat(column - 1), "^".repeat(width));
        ConfigError::Place {
            file,
            line,
            column,
            message,
            excerpt: format!("  {line} | {content}\n  {gutter} | {marker}"),
        }
    }

    /// Where `key` stands in the text; for a key that is not there, the closest table above it.
    fn find(&self, key: &str) -> Option<Range<usize>> {
        let document = DeTable::parse(self.text).ok()?;
        let mut table = document.get_ref();
        let mut found = None;
        for part in key.split('.') {
            let entry = table.iter().find(|(name, _)| name.get_ref() == part);
            let Some((name, value)) = entry else { break };
            found = Some(name.span());
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        found
    }
}

/// Types of Rust, in words.
const TYPES: [(&str, &str); 8] = [
    ("usize", WHOLE_FROM_0),
    ("u64", WHOLE_FROM_0),
    ("u32", WHOLE_FROM_0),
    ("u8", WHOLE_FROM_0),
    ("i64", "a whole number"),
    ("i32", "a whole number"),
    ("f64", "a number"),
    ("f32", "a number"),
];
const WHOLE_FROM_0: &str = "a whole number from 0 on";

/// How alike names are of which one may be meant by the other, from 0 to 1: what clap has for
/// arguments.
const ALIKE: f64 = 0.7;

/// The message with the full path of the key, in the words of this project.
pub(crate) fn describe(error: &toml::de::Error) -> String {
    let path = key_path(error);
    let message = error.message().trim();
    match unknown_field(message) {
        Some(field) => {
            let known = message.split_once("`, ").map_or("", |(_, rest)| rest);
            let key = join(&path, field);
            match nearest(field, known) {
                Some(meant) => format!("unknown key `{key}`, did you mean `{meant}`? {known}"),
                None => format!("unknown key `{key}`, {known}"),
            }
        }
        None if path.is_empty() => in_words(message),
        None => format!("`{path}`: {}", in_words(message)),
    }
}

fn in_words(message: &str) -> String {
    let message = message.replace("missing field", "missing key");
    let typed = TYPES.iter().find_map(|(name, words)| {
        let rest = message.strip_suffix(name)?.strip_suffix("expected ")?;
        Some(format!("{rest}expected {words}"))
    });
    typed.unwrap_or(message)
}

/// Of the names that stand in backquotes in `known`, the most similar to `field`.
fn nearest<'a>(field: &str, known: &'a str) -> Option<&'a str> {
    let names = known.split('`').skip(1).step_by(2);
    let alike = names.map(|name| (strsim::jaro(field, name), name));
    let alike = alike.filter(|(likeness, _)| *likeness > ALIKE);
    let nearest = alike.max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map(|(_, name)| name)
}

fn unknown_field(message: &str) -> Option<&str> {
    message
        .trim()
        .strip_prefix("unknown field `")?
        .split('`')
        .next()
}

/// The dotted path of the table or value that an error is about.
fn key_path(error: &toml::de::Error) -> String {
    // The path shows only in the text of an error without its input.
    let mut error = error.clone();
    error.set_input(None);
    let text = error.to_string();
    text.trim_end()
        .rsplit_once("\nin `")
        .and_then(|(_, path)| path.strip_suffix('`'))
        .unwrap_or("")
        .to_owned()
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}
