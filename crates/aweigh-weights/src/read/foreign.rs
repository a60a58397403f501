//! What kind of file it is, by its content.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Trouble;

/// How much of a file's beginning is looked at. A tar archive has its mark at byte 257.
const LOOKED_AT: u64 = 1024;

/// Longest header of a safetensors file that is believed to be one, 256 TiB: texts are above.
const PLAUSIBLE_HEADER: u64 = 1 << 48;

/// A kind of file that has a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Torch,
    Safetensors,
}

/// Something else than weights that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreign {
    /// A file of no bytes.
    Empty,
    /// A folder.
    Folder,
    /// A page of a web server in the place of the file.
    Html,
    /// What git has in a working tree where git-lfs is missing.
    GitLfs,
    /// Some other text, with its first line.
    Text(String),
    /// A network of ONNX.
    Onnx,
    /// A network or checkpoint of TensorFlow, with what kind.
    TensorFlow(&'static str),
    /// HDF5, which Keras and MATLAB write.
    Hdf5,
    /// Arrays of NumPy, `.npy` or `.npz`.
    NumPy,
    /// A pickle with arrays of NumPy, as Detectron and Detectron2 publish weights.
    PickledNumPy,
    /// A compiled network of PyTorch.
    TorchScript,
    /// A zip archive without weights of PyTorch, with some of its files.
    Archive(String),
    /// A compressed file, with the name of the compression.
    Compressed(&'static str),
    /// A pickle whose outermost object is no dictionary, with its type.
    Object(String),
    /// A file that can be read and has no tensor.
    NoTensors,
    /// Nothing known, with its first bytes.
    Unknown(Vec<u8>),
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const EXPECTED: &str = "expected weights of PyTorch or safetensors";
        match self {
            Self::Empty => write!(f, "the file is empty; {EXPECTED}"),
            Self::Folder => write!(f, "this is a folder; {EXPECTED}, in one file"),
            Self::Html => write!(
                f,
                "this looks like HTML, a page in the place of the weights: the download failed"
            ),
            Self::GitLfs => write!(
                f,
                "this is a pointer of git-lfs, not the file; `git lfs pull` fetches it"
            ),
            Self::Text(line) => write!(f, "this looks like text (`{line}`); {EXPECTED}"),
            Self::Onnx => write!(
                f,
                "this is an ONNX network; {EXPECTED}: use the checkpoint it was exported from"
            ),
            Self::TensorFlow(kind) => write!(
                f,
                "this is TensorFlow's ({kind}); {EXPECTED}: convert its variables to the names of \
                 torchvision or mmdetection and save them with `torch.save`"
            ),
            Self::Hdf5 => write!(
                f,
                "this is an HDF5 file, as Keras writes; {EXPECTED}: convert its arrays to the names \
                 of torchvision or mmdetection and save them with `torch.save`"
            ),
            Self::NumPy => write!(
                f,
                "these are arrays of NumPy; {EXPECTED}: in Python, `torch.save({{k: \
                 torch.from_numpy(v) for k, v in numpy.load(FILE).items()}}, \"weights.pth\")`"
            ),
            Self::PickledNumPy => write!(
                f,
                "this is a pickle of NumPy arrays, as Detectron and Detectron2 publish; {EXPECTED}: \
                 in Python, and only if you trust the file, `d = pickle.load(open(FILE, \"rb\"), \
                 encoding=\"latin1\"); d = d.get(\"model\", d.get(\"blobs\", d)); torch.save({{k: \
                 torch.as_tensor(v) for k, v in d.items() if hasattr(v, \"shape\")}}, \
                 \"weights.pth\")`"
            ),
            Self::TorchScript => write!(
                f,
                "this is a TorchScript network; {EXPECTED}: in Python, \
                 `torch.save(torch.jit.load(FILE).state_dict(), \"weights.pth\")`"
            ),
            Self::Archive(files) => write!(
                f,
                "this is a zip archive without weights of PyTorch (it holds {files}); {EXPECTED}: \
                 unpack it and name the file in it"
            ),
            Self::Compressed(name) => {
                write!(
                    f,
                    "this is compressed with {name}; {EXPECTED}: unpack it first"
                )
            }
            Self::Object(kind) => write!(
                f,
                "this holds one `{kind}`, whose tensors have no names here; {EXPECTED} in a \
                 dictionary: in Python, save `model.state_dict()`"
            ),
            Self::NoTensors => write!(f, "the file holds no tensors; {EXPECTED}"),
            Self::Unknown(bytes) => {
                let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                write!(
                    f,
                    "unknown kind of file, which starts with the bytes {}; {EXPECTED}",
                    bytes.join(" ")
                )
            }
        }
    }
}

/// The kind of a file.
///
/// # Errors
///
/// When it cannot be read or is none that has a reader.
pub(super) fn kind(path: &Path) -> Result<Kind, Trouble> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(Trouble::Foreign(Foreign::Folder));
    }
    let mut start = Vec::new();
    file.take(LOOKED_AT).read_to_end(&mut start)?;
    kind_of(&start)
}

/// The kind of a file that starts with these bytes.
fn kind_of(start: &[u8]) -> Result<Kind, Trouble> {
    if let Some(foreign) = known_foreign(start) {
        return Err(Trouble::Foreign(foreign));
    }
    if is_safetensors(start) {
        return Ok(Kind::Safetensors);
    }
    // Zip, an archive without entries, tar, and pickles of protocol 2 and later.
    let zip = start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06");
    let tar = start.get(257..262) == Some(b"ustar");
    let pickle = matches!(start, [0x80, 2..=5, ..]);
    if zip || tar || pickle || is_text_pickle(start) {
        return Ok(Kind::Torch);
    }
    Err(Trouble::Foreign(match text(start) {
        Some(text) => Foreign::Text(first_line(text)),
        None => Foreign::Unknown(start[..start.len().min(8)].to_vec()),
    }))
}

fn is_safetensors(start: &[u8]) -> bool {
    let length = start.first_chunk::<8>().map(|b| u64::from_le_bytes(*b));
    length.is_some_and(|length| length < PLAUSIBLE_HEADER) && start.get(8) == Some(&b'{')
}

/// A pickle of protocol 0 or 1 starts with a mark, an empty container or the name of a global on two
/// lines; the file's magic number is a line of digits.
fn is_text_pickle(start: &[u8]) -> bool {
    const STARTS: [&[u8]; 8] = [
        b"(d",
        b"(l",
        b"(i",
        b"(c",
        b"}q",
        b"]q",
        b"(t",
        b"L119547037146038801333356L",
    ];
    STARTS.iter().any(|s| start.starts_with(s)) || is_global(start)
}

/// `cMODULE\nNAME\n` followed by more of a pickle.
fn is_global(start: &[u8]) -> bool {
    let Some(rest) = start.strip_prefix(b"c") else {
        return false;
    };
    let identifier = |line: &[u8]| {
        let part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.');
        !line.is_empty() && line.iter().all(part)
    };
    let mut lines = rest.split(|b| *b == b'\n');
    let names = lines.next().is_some_and(identifier) && lines.next().is_some_and(identifier);
    let next = lines.next().and_then(|line| line.first());
    names && matches!(next, Some(b'(' | b')' | b'q' | b'p' | b'.'))
}

/// A kind that is known and has no reader.
fn known_foreign(start: &[u8]) -> Option<Foreign> {
    const MARKS: [(&[u8], Foreign); 8] = [
        (b"\x89HDF\r\n\x1a\n", Foreign::Hdf5),
        (b"\x93NUMPY", Foreign::NumPy),
        (b"\x1f\x8b", Foreign::Compressed("gzip")),
        (b"BZh", Foreign::Compressed("bzip2")),
        (b"\xfd7zXZ", Foreign::Compressed("xz")),
        (b"\x28\xb5\x2f\xfd", Foreign::Compressed("zstd")),
        (b"7z\xbc\xaf", Foreign::Compressed("7-Zip")),
        (b"version https://git-lfs", Foreign::GitLfs),
    ];
    if start.is_empty() {
        return Some(Foreign::Empty);
    }
    let mut marks = MARKS.iter();
    if let Some((_, foreign)) = marks.find(|(mark, _)| start.starts_with(mark)) {
        return Some(foreign.clone());
    }
    if start.get(4..8) == Some(b"TFL3") {
        return Some(Foreign::TensorFlow("TensorFlow Lite"));
    }
    if text(start).is_some_and(is_html) {
        return Some(Foreign::Html);
    }
    protobuf(start)
}

fn is_html(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let lower = text.to_ascii_lowercase();
    let page = ["<!doctype", "<html", "<head", "<body", "<?xml"];
    page.iter().any(|tag| lower.starts_with(tag))
}

/// Networks that are a message of Protocol Buffers: ONNX starts with its version and the producer's
/// name, TensorFlow's SavedModel with its version and a graph, a GraphDef with a node.
fn protobuf(start: &[u8]) -> Option<Foreign> {
    let has = |word: &[u8]| start.windows(word.len()).any(|window| window == word);
    match start {
        [0x08, 1, 0x12, ..] if has(b"serve") || has(b"saver") => {
            Some(Foreign::TensorFlow("SavedModel"))
        }
        [0x08, 1..=30, 0x12, length, rest @ ..] => {
            let name = rest.get(..usize::from(*length))?;
            let printable = name.iter().all(|b| (b' '..=b'~').contains(b));
            Some(if printable {
                Foreign::Onnx
            } else {
                Foreign::TensorFlow("SavedModel")
            })
        }
        [0x08, 1..=30, 0x3a, ..] => Some(Foreign::Onnx),
        [0x0a, ..] if has(b"Placeholder") || has(b"Const") => Some(Foreign::TensorFlow("GraphDef")),
        _ => None,
    }
}

/// The bytes as text without control characters, except for a letter that the end cuts.
fn text(start: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let plain = |c: char| !c.is_control() || c.is_whitespace();
    text.chars().all(plain).then_some(text)
}

/// Enough of a text to recognise it.
fn first_line(text: &str) -> String {
    const SHOWN: usize = 60;
    let line = text.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or_default()
        .trim()
        .chars()
        .take(SHOWN)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(start: &[u8], words: &str) {
        let Err(Trouble::Foreign(foreign)) = kind_of(start) else {
            panic!("{start:?} has a reader");
        };
        let message = foreign.to_string();
        assert!(message.contains(words), "{message}");
    }

    #[test]
    fn other_files_are_named() {
        check(b"", "empty");
        check(b"\n<!DOCTYPE html><html>", "looks like HTML");
        check(b"<?xml version=\"1.0\"?><Error>", "looks like HTML");
        check(
            b"version https://git-lfs.github.com/spec/v1\noid",
            "git lfs pull",
        );
        check(b"404: Not Found", "`404: Not Found`");
        check(b"conv1 is the stem\nand so on\n", "looks like text");
        check(b"{\"message\": \"rate limit\"}", "looks like text");
        check(b"\x08\x07\x12\x07pytorch\x1a", "ONNX");
        check(b"\x08\x01\x12\x80\x02\x0a\x10serve", "SavedModel");
        check(b"\x0a\x20\x0a\x05input\x12\x0bPlaceholder", "GraphDef");
        check(b"\x1c\x00\x00\x00TFL3", "TensorFlow Lite");
        check(b"\x89HDF\r\n\x1a\n", "HDF5");
        check(b"\x93NUMPY\x01\x00", "numpy.load");
        check(b"\x1f\x8b\x08\x00", "gzip");
        check(b"\xff\xd8\xff\xe0", "ff d8 ff e0");
    }

    #[test]
    fn readers_are_chosen_by_content() {
        let kinds: [(&[u8], Kind); 6] = [
            (b"PK\x03\x04rest", Kind::Torch),
            (b"\x80\x02\x8a\x0a", Kind::Torch),
            (b"cos\nsystem\n(S'true'\ntR.", Kind::Torch),
            (b"(dp0\nS'a'\n", Kind::Torch),
            (b"\x10\0\0\0\0\0\0\0{\"a\":1}", Kind::Safetensors),
            (b"\0\0\0\x54\x02\0\0\0{\"a\":1}", Kind::Safetensors),
        ];
        for (start, expected) in kinds {
            assert_eq!(kind_of(start).expect("a reader"), expected);
        }
    }
}
