//! The one JSON value that a file is.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::kind;
use super::stream::Stream;
use crate::DataError;

/// Reads the one JSON value of a file; gives the digest of the file too.
pub(super) fn parse<T>(
    path: &Path,
    read: impl FnOnce(&Path, &mut Json<'_>) -> Result<Parsed<T>, DataError>,
) -> Result<(T, String), DataError> {
    let unreadable = |reason| DataError::AnnotationFile {
        path: path.to_path_buf(),
        reason,
    };
    // A folder can be opened on some systems, and its content be asked for.
    if path.is_dir() {
        return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
    }
    let mut stream = Stream::new(File::open(path).map_err(unreadable)?);
    if let Some(what) = kind::by_start(stream.start().map_err(unreadable)?) {
        return Err(another(path, what.to_string()));
    }
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(&mut stream));
    let parsed = read(path, &mut json)?;
    if let Err(error) = json.end() {
        // Several values, one after the other, are no JSON but a common way to write records.
        return Err(if parsed.is_record {
            another(path, kind::LINES.to_string())
        } else {
            json_error(path, &error)
        });
    }
    drop(json);
    Ok((parsed.value, stream.digest()))
}

/// What reads a file.
pub(super) type Json<'a> =
    serde_json::Deserializer<serde_json::de::IoRead<BufReader<&'a mut Stream<File>>>>;

/// The value of a file.
pub(super) struct Parsed<T> {
    pub(super) value: T,
    /// Whether it is an object, another of which may follow.
    pub(super) is_record: bool,
}

pub(super) fn another(path: &Path, what: String) -> DataError {
    let path = path.to_path_buf();
    DataError::AnotherKind { path, what }
}

pub(super) fn json_error(path: &Path, error: &serde_json::Error) -> DataError {
    let path = path.to_path_buf();
    if error.is_io() {
        let reason = std::io::Error::other(error.to_string());
        return DataError::AnnotationFile { path, reason };
    }
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    // serde_json puts the place at the end; the path carries it already.
    let place = format!(" at line {line} column {column}");
    DataError::Json {
        path,
        line,
        column,
        reason: message.strip_suffix(&place).unwrap_or(&message).to_string(),
    }
}
