//! Peak memory, in a process of its own.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;

use aweigh_weights::WeightsFile;

/// The largest part of memory that the process has had, in MiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the process");
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kib = line
        .and_then(|line| line.split_whitespace().nth(1))
        .expect("a peak");
    kib.parse::<u64>().expect("a number") >> 10
}

#[test]
fn claims_take_no_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let header = dir.path().join("header.safetensors");
    let mut bytes = 10_000_000_000u64.to_le_bytes().to_vec();
    bytes.extend_from_slice(b"{\"a\":1}");
    fs::write(&header, bytes).expect("written");
    let expanded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/files/expanded.pth");
    for path in [header, expanded] {
        WeightsFile::open(&path).expect_err("refused");
    }
    // The process itself takes a few MiB, the claims are 4 and 10 GB.
    assert!(peak() < 64, "{} MiB", peak());
}
