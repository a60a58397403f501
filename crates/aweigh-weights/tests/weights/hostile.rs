//! Files that are damaged, or made to harm.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use aweigh_weights::WeightsFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::shared::fixture;

/// That a file is refused with these words, at once.
fn refused(path: &Path, words: &[&str]) {
    let start = Instant::now();
    let error = WeightsFile::open(path).expect_err("refused").to_string();
    // Far above what it takes (milliseconds), far below what unpacking or allocating would.
    assert!(start.elapsed() < Duration::from_secs(1), "{error}");
    for word in words {
        assert!(error.contains(word), "{error}");
    }
}

/// That these bytes are refused with these words.
fn refused_bytes(bytes: &[u8], words: &[&str]) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("weights.pth");
    fs::write(&path, bytes).expect("written");
    refused(&path, words);
}

/// A file of safetensors with this header and as many bytes of data.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// A zip archive of these files.
fn zipped(compression: CompressionMethod, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(compression);
    for (name, content) in files {
        zip.start_file(*name, options).expect("an entry");
        zip.write_all(content).expect("its content");
    }
    zip.finish().expect("an archive").into_inner()
}

#[test]
fn code_is_refused_and_not_run() {
    refused(
        &fixture("files/hostile.pkl"),
        &["refused", "`posix.system`", "nothing of it was run"],
    );
    refused(
        &fixture("files/hostile_beside.pth"),
        &["refused", "`posix.system`"],
    );
    // The same in the first protocol, whose strings the reader does not know.
    refused_bytes(
        b"cposix\nsystem\n(S'true'\ntR.",
        &["refused", "`posix.system`"],
    );
}

#[test]
fn truncated_files_are_damaged() {
    for name in ["checkpoint.pth", "legacy.pth"] {
        let bytes = fs::read(fixture(&format!("files/{name}"))).expect("a fixture");
        for part in 1..8 {
            refused_bytes(&bytes[..bytes.len() * part / 8], &["weights.pth"]);
        }
    }
    let whole = safetensors(
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        8,
    );
    for length in 9..whole.len() {
        refused_bytes(&whole[..length], &["download complete"]);
    }
    refused_bytes(&whole[..5], &["unknown kind"]);
}

#[test]
fn headers_of_safetensors_are_checked() {
    let entry = |name: &str, shape: &str, end: usize| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}"#)
    };
    let check = |entries: &[String], data: usize, words: &[&str]| {
        refused_bytes(
            &safetensors(&format!("{{{}}}", entries.join(",")), data),
            words,
        );
    };
    check(&[entry("a", "[2]", 4)], 4, &["`a`", "[2]", "bytes 0 to 4"]);
    check(
        &[entry("a", "[1]", 4)],
        8,
        &["the tensors have 4 bytes, the file 8"],
    );
    check(
        &[entry("a", "[1]", 4), entry("a", "[1]", 4)],
        4,
        &["`a` is there twice"],
    );
    check(&[entry("a", "[1]", 4), entry("b", "[1]", 4)], 4, &["b"]);
    check(
        &[entry("a", "[4611686018427387904,4611686018427387904]", 0)],
        0,
        &["`a`"],
    );
    check(
        &[entry("a", "[2500000000]", 10_000_000_000)],
        4,
        &["`a` ends at byte 10000000000 of 4"],
    );
    let twice = r#""__metadata__":{"k":"1","k":"2"}"#.to_owned();
    check(&[twice], 0, &["`__metadata__` has `k` twice"]);
    let f8 = r#""a":{"dtype":"F8_E5M2","shape":[1],"data_offsets":[0,1]}"#.to_owned();
    check(&[f8], 1, &["`a`", "F8_E5M2"]);
    check(&[], 0, &["holds no tensors"]);
    refused_bytes(&safetensors("{\"a\":", 0), &["no JSON of safetensors"]);

    // A header of ten billion bytes in a file of twenty.
    let mut claim = 10_000_000_000u64.to_le_bytes().to_vec();
    claim.extend_from_slice(b"{\"a\":1,\"bc\"}");
    refused_bytes(&claim, &["claims 10000000000 bytes, 12 follow"]);
}

#[test]
fn what_unpacks_to_more_than_a_file_can_hold_is_refused() {
    // 4 GiB from one value, by a stride of 0.
    refused(
        &fixture("files/expanded.pth"),
        &["refused", "claims 4294967296 bytes"],
    );
    let zeros = vec![0; 64 << 20];
    let bomb = zipped(CompressionMethod::Deflated, &[("archive/data.pkl", &zeros)]);
    refused_bytes(&bomb, &["refused", "the zip archive claims 67108864 bytes"]);
}

#[test]
fn other_archives_are_named() {
    let check = |files: &[(&str, &[u8])], words: &str| {
        refused_bytes(&zipped(CompressionMethod::Stored, files), &[words]);
    };
    check(&[("arr_0.npy", b"\x93NUMPY")], "numpy.load");
    check(
        &[("m/data.pkl", b"}."), ("m/constants.pkl", b").")],
        "TorchScript",
    );
    check(&[("imgsim/model.pth", b"x")], "imgsim/model.pth");
    check(&[("m/data.pkl", b"\x80\x02}.")], "holds no tensors");
}
