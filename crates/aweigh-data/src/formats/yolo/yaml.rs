//! The `data.yaml` of a dataset.

use std::collections::BTreeMap;
use std::path::Path;

use granit_parser::{Event, Parser, ScanError, Span};

use crate::DataError;

/// What `data.yaml` says. Other keys are of no use here.
#[derive(Debug, Default)]
pub(super) struct DataYaml {
    /// The folder that the others are relative to.
    pub(super) path: Option<String>,
    /// Folders of pictures, or text files that list them.
    pub(super) train: Vec<String>,
    pub(super) val: Vec<String>,
    pub(super) test: Vec<String>,
    /// Names of classes by their numbers.
    pub(super) names: Vec<String>,
    /// Whether objects have key points.
    pub(super) has_key_points: bool,
}

/// A value of YAML with its line.
struct Node {
    line: usize,
    value: Value,
}

enum Value {
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// What is wrong, with its line.
type Wrong = (Option<usize>, String);

impl DataYaml {
    /// Reads the file.
    ///
    /// # Errors
    /// If it is not YAML, or has no usable `names`; the message names the line.
    pub(super) fn read(path: &Path) -> Result<Self, DataError> {
        let text = std::fs::read_to_string(path).map_err(|reason| DataError::AnnotationFile {
            path: path.to_path_buf(),
            reason,
        })?;
        Self::parse(&text).map_err(|(line, reason)| DataError::Labels {
            path: path.to_path_buf(),
            line,
            reason,
        })
    }

    fn parse(text: &str) -> Result<Self, Wrong> {
        let mut data = Self::default();
        let Value::Map(pairs) = document(text)?.value else {
            return Err((
                Some(1),
                "expected keys such as `train`, `val` and `names`".into(),
            ));
        };
        for (key, node) in pairs {
            match key.text().unwrap_or_default() {
                "path" => {
                    data.path = node
                        .text()
                        .filter(|path| !path.is_empty())
                        .map(str::to_owned)
                }
                "train" => data.train = paths("train", &node)?,
                "val" | "valid" => data.val = paths("val", &node)?,
                "test" => data.test = paths("test", &node)?,
                "names" => data.names = names(&node)?,
                "kpt_shape" => data.has_key_points = true,
                _ => {}
            }
        }
        if data.names.is_empty() {
            return Err((None, "no `names`, which lists the classes".to_owned()));
        }
        Ok(data)
    }
}

impl Node {
    fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }
}

/// A path, a list of paths, or nothing.
fn paths(key: &str, node: &Node) -> Result<Vec<String>, Wrong> {
    let wrong = || {
        (
            Some(node.line),
            format!("`{key}` is no path or list of paths"),
        )
    };
    match &node.value {
        Value::Text(text) if text.is_empty() || text == "null" || text == "~" => Ok(Vec::new()),
        Value::Text(text) => Ok(vec![text.clone()]),
        Value::List(list) => {
            let texts = list.iter().map(|node| node.text().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or_else(wrong)
        }
        Value::Map(_) => Err(wrong()),
    }
}

/// Names as a list, or as a map from numbers without gaps.
fn names(node: &Node) -> Result<Vec<String>, Wrong> {
    const EXPECTED: &str = "expected `names` as a list, or as a map from numbers to names";
    let wrong = |node: &Node| (Some(node.line), EXPECTED.to_owned());
    let name = |node: &Node| node.text().map(str::to_owned).ok_or_else(|| wrong(node));
    let pairs = match &node.value {
        Value::List(list) => return list.iter().map(name).collect(),
        Value::Map(pairs) => pairs,
        Value::Text(_) => return Err(wrong(node)),
    };
    let mut names = BTreeMap::new();
    for (key, value) in pairs {
        let number = key.text().and_then(|text| text.parse::<usize>().ok());
        names.insert(number.ok_or_else(|| wrong(key))?, name(value)?);
    }
    let count = names.len();
    if names.keys().copied().eq(0..count) {
        return Ok(names.into_values().collect());
    }
    let numbers: Vec<String> = names.keys().take(10).map(usize::to_string).collect();
    let reason = format!(
        "`names` has the numbers {}; expected 0 to {} without gaps",
        numbers.join(", "),
        count.saturating_sub(1)
    );
    Err((Some(node.line), reason))
}

/// Reads the first document of a text.
fn document(text: &str) -> Result<Node, Wrong> {
    let mut events = Parser::new_from_str(text.trim_start_matches('\u{feff}'));
    loop {
        let (event, span) = next(&mut events)?;
        if matches!(event, Event::StreamStart | Event::DocumentStart(..)) {
            continue;
        }
        return node(event, span, &mut events);
    }
}

fn next<'a>(
    events: &mut impl Iterator<Item = Result<(Event<'a>, Span), ScanError>>,
) -> Result<(Event<'a>, Span), Wrong> {
    match events.next() {
        Some(Ok(next)) => Ok(next),
        Some(Err(error)) => Err((Some(error.marker().line()), error.info())),
        None => Err((None, "the file ends early".to_owned())),
    }
}

/// The value that begins with an event. The parser limits how deep values lie.
fn node<'a>(
    event: Event<'a>,
    span: Span,
    events: &mut impl Iterator<Item = Result<(Event<'a>, Span), ScanError>>,
) -> Result<Node, Wrong> {
    let line = span.start.line();
    let value = match event {
        Event::Scalar(text, ..) => Value::Text(text.into_owned()),
        Event::SequenceStart(..) => {
            let mut list = Vec::new();
            loop {
                match next(events)? {
                    (Event::SequenceEnd, _) => break Value::List(list),
                    (event, span) => list.push(node(event, span, events)?),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut pairs = Vec::new();
            loop {
                match next(events)? {
                    (Event::MappingEnd, _) => break Value::Map(pairs),
                    (event, span) => {
                        let key = node(event, span, events)?;
                        let (event, span) = next(events)?;
                        pairs.push((key, node(event, span, events)?));
                    }
                }
            }
        }
        // Nothing, or a reference to a value elsewhere, neither of which is a name or a path.
        _ => Value::Text(String::new()),
    };
    Ok(Node { line, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DataYaml, String> {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("data.yaml");
        std::fs::write(&path, text).expect("writes");
        let folder = folder.path().display().to_string();
        DataYaml::read(&path).map_err(|error| error.to_string().replace(&folder, "DIR"))
    }

    #[test]
    fn names_are_a_list_or_a_map() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(
                read(text).map(|yaml| yaml.names).expect("reads"),
                expected,
                "{text}"
            );
        };
        check(
            "names: [cat, 'a, b']\ntrain: images/train\n",
            &["cat", "a, b"],
        );
        check("nc: 2\nnames:\n- cat\n- dog # a comment\n", &["cat", "dog"]);
        check("names:\n  1: dog\n  0: cat\n", &["cat", "dog"]);
        check(
            "names: ['0', \"1\"]\nroboflow:\n  version: 3\n",
            &["0", "1"],
        );
        check("names: [7, no, 1.5]\n", &["7", "no", "1.5"]);
    }

    #[test]
    fn mistakes_name_the_line() {
        let check = |text: &str, parts: &[&str]| {
            let error = read(text).expect_err("is wrong");
            for part in parts {
                assert!(error.contains(part), "`{part}` is not in: {error}");
            }
        };
        check(
            "train: x\nnames:\n  0: a\n  2: b\n",
            &["DIR/data.yaml:", "0, 2; expected 0 to 1"],
        );
        check("names: [a\ntrain: x\n", &["DIR/data.yaml:"]);
        check("train: images\n", &["DIR/data.yaml", "names"]);
    }

    #[test]
    fn paths_are_one_or_several() {
        let yaml = read("names: [a]\ntrain: [x, y]\nval: z\ntest:\n").expect("reads");
        assert_eq!(yaml.train, ["x", "y"]);
        assert_eq!(yaml.val, ["z"]);
        assert!(yaml.test.is_empty());
    }
}
