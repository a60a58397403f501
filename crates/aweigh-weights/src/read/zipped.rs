//! What the directory of a zip archive says, before anything is unpacked.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use zip::ZipArchive;

use super::{Foreign, Trouble, check_claim};

/// Checks that a zip archive is one of `torch.save` and unpacks to no more than it can hold.
///
/// # Errors
///
/// When it cannot be read, is another archive or claims too much.
pub(super) fn check(path: &Path) -> Result<(), Trouble> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let damaged = |error: zip::result::ZipError| {
        Trouble::Damaged(format!(
            "the zip archive cannot be read ({error}); is the download complete?"
        ))
    };
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    let mut claimed = 0u64;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(damaged)?;
        claimed = claimed.saturating_add(entry.size());
    }
    let names = archive.file_names().collect::<Result<Vec<_>, _>>();
    let names = names.map_err(damaged)?;
    match other_archive(&names.iter().map(AsRef::as_ref).collect::<Vec<_>>()) {
        Some(foreign) => Err(Trouble::Foreign(foreign)),
        None => check_claim("the zip archive", claimed, length),
    }
}

/// What an archive of these files is, if not one of `torch.save`.
fn other_archive(names: &[&str]) -> Option<Foreign> {
    let has = |end: &str| {
        names
            .iter()
            .any(|name| *name == end || name.ends_with(&format!("/{end}")))
    };
    // A compiled network has its constants and code beside the pickle.
    if has("data.pkl") && has("constants.pkl") {
        return Some(Foreign::TorchScript);
    }
    if has("data.pkl") {
        return None;
    }
    if !names.is_empty() && names.iter().all(|name| name.ends_with(".npy")) {
        return Some(Foreign::NumPy);
    }
    Some(Foreign::Archive(some_of(names)))
}

/// Some of an archive's files, those that look like weights first.
fn some_of(names: &[&str]) -> String {
    const SHOWN: usize = 3;
    const ENDS: [&str; 6] = [".pth", ".pt", ".safetensors", ".bin", ".ckpt", ".pkl"];
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let mut ordered = names.to_vec();
    ordered.sort_by_key(|name| !ENDS.iter().any(|end| name.ends_with(end)));
    ordered[..names.len().min(SHOWN)].join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], expected: Option<&str>) {
        let found = other_archive(names).map(|foreign| foreign.to_string());
        match (found, expected) {
            (None, None) => {}
            (Some(found), Some(words)) => assert!(found.contains(words), "{found}"),
            (found, expected) => panic!("{names:?}: {found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn archives_are_told_apart() {
        check(&["archive/data.pkl", "archive/data/0"], None);
        check(&["data.pkl"], None);
        check(
            &["m/data.pkl", "m/code/x.py", "m/constants.pkl"],
            Some("TorchScript"),
        );
        check(&["a.npy", "b.npy"], Some("NumPy"));
        check(
            &["README", "imgsim/model.pth"],
            Some("imgsim/model.pth, README"),
        );
        check(&[], Some("nothing"));
    }
}
