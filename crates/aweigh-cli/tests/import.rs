//! Weights that are not what `aweigh import` needs.

use std::path::Path;

use crate::support::{aweigh, contains};

fn refuse(folder: &Path, name: &str, bytes: &[u8], parts: &[&str]) {
    std::fs::write(folder.join(name), bytes).expect("writes");
    let failed = aweigh(folder, &["import", name, "--out", "m.safetensors"]).failed(1);
    contains(&failed, &[&format!("error: {name}: ")]);
    contains(&failed, parts);
    assert!(!folder.join("m.safetensors").exists(), "{name}");
}

#[test]
fn what_is_no_file_of_weights_is_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    refuse(folder, "a.pth", b"", &["empty"]);
    refuse(folder, "b.pth", b"<!DOCTYPE html><html>", &["HTML"]);
    refuse(folder, "c.pth", b"PK\x03\x04rest", &[]);
    let claim = [&u64::to_le_bytes(10 << 30)[..], b"{}"].concat();
    refuse(folder, "d.safetensors", &claim, &[]);
    // `cos\nsystem\n(S'true'\ntR.`: a pickle that would run a command.
    refuse(folder, "e.pth", b"cos\nsystem\n(S'true'\ntR.", &[]);
    let missing = aweigh(folder, &["import", "none.pth", "--out", "m.safetensors"]);
    contains(&missing.failed(1), &["none.pth: cannot read the weights"]);
    let no_folder = aweigh(folder, &["import", "a.pth", "--out", "none/m.safetensors"]);
    contains(&no_folder.failed(1), &["there is no folder none"]);
}
