//! Turns the inputs of `aweigh predict` (files, folders, patterns) into a list of pictures.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::draw::is_jpeg;

/// Extensions that a folder is searched for.
const EXTENSIONS: [&str; 7] = ["jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff"];

/// Lists the pictures that `inputs` name, without repetition, each folder and pattern sorted.
///
/// # Errors
/// When an input is no file, folder or pattern, or holds no picture.
pub(crate) fn pictures(inputs: &[String]) -> Result<Vec<PathBuf>> {
    let mut seen = HashSet::new();
    let mut list = Vec::new();
    for input in inputs {
        list.extend(
            expand(input)?
                .into_iter()
                .filter(|path| seen.insert(path.clone())),
        );
    }
    Ok(list)
}

/// Gives each picture a file name of its own, its extension one that can be written.
///
/// A second `a.jpg` from another folder becomes `a_2.jpg`; formats other than JPEG become PNG.
pub(crate) fn output_names(pictures: &[PathBuf]) -> Vec<String> {
    let mut taken = HashSet::new();
    pictures
        .iter()
        .map(|picture| free_name(picture, &mut taken))
        .collect()
}

fn free_name(picture: &Path, taken: &mut HashSet<String>) -> String {
    let stem = picture.file_stem().unwrap_or_default().to_string_lossy();
    let extension = match picture.extension() {
        Some(extension) if is_jpeg(picture) => extension.to_string_lossy().into_owned(),
        _ => "png".to_owned(),
    };
    (1..)
        .map(|n| {
            if n == 1 {
                format!("{stem}.{extension}")
            } else {
                format!("{stem}_{n}.{extension}")
            }
        })
        // Lower case: some file systems take `A.png` and `a.png` for the same file.
        .find(|name| taken.insert(name.to_lowercase()))
        .expect("one of infinitely many names is free")
}

fn expand(input: &str) -> Result<Vec<PathBuf>> {
    let path = Path::new(input);
    if path.is_dir() {
        in_folder(path)
    } else if path.exists() {
        Ok(vec![path.to_owned()])
    } else if input.contains(['*', '?', '[']) {
        matching(input)
    } else {
        bail!("{input}: no such file or folder")
    }
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("{}: the folder cannot be read", folder.display()))?;
    let mut list = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("{}: reading stopped", folder.display()))?
            .path();
        if path.is_file() && is_picture(&path) {
            list.push(path);
        }
    }
    if list.is_empty() {
        bail!(
            "{0}: no picture ({1}) in this folder; for its subfolders write '{0}/**/*.jpg'",
            folder.display(),
            EXTENSIONS.join(", "),
        );
    }
    list.sort();
    Ok(list)
}

/// Files that match a pattern; what is no picture by its name is left out.
fn matching(pattern: &str) -> Result<Vec<PathBuf>> {
    let paths = glob::glob(pattern).with_context(|| format!("{pattern}: not a valid pattern"))?;
    let mut list = Vec::new();
    for path in paths {
        let path = path.with_context(|| format!("{pattern}: a folder cannot be read"))?;
        if path.is_file() && is_picture(&path) {
            list.push(path);
        }
    }
    if list.is_empty() {
        bail!("{pattern}: no picture ({}) matches", EXTENSIONS.join(", "));
    }
    Ok(list)
}

fn is_picture(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in ["b.png", "a.JPG", "notes.txt", "sub/c.webp"] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, []).unwrap();
        }
        std::fs::create_dir(folder.path().join("empty")).unwrap();
        folder
    }

    fn check(inputs: &[&str], want: Result<&[&str], &str>) {
        let folder = folder();
        let root = folder.path().to_str().unwrap();
        let inputs: Vec<_> = inputs
            .iter()
            .map(|input| format!("{root}/{input}"))
            .collect();
        let got = pictures(&inputs).map_err(|e| e.to_string().replace(root, ""));
        let got = got.map(|list| {
            list.iter()
                .map(|p| p.strip_prefix(root).unwrap().to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        });
        match (got, want) {
            (Ok(got), Ok(want)) => assert_eq!(got, want),
            (Err(got), Err(want)) => assert!(got.contains(want), "{got}"),
            (got, want) => panic!("got {got:?}, want {want:?}"),
        }
    }

    #[test]
    fn files_folders_and_patterns() {
        check(&[""], Ok(&["a.JPG", "b.png"]));
        check(&["b.png", ""], Ok(&["b.png", "a.JPG"]));
        check(&["**/*"], Ok(&["a.JPG", "b.png", "sub/c.webp"]));
        check(&["*.png", "sub"], Ok(&["b.png", "sub/c.webp"]));
        // A file that is named outright is taken whatever its extension: its content decides.
        check(&["notes.txt"], Ok(&["notes.txt"]));
        check(
            &["missing.png"],
            Err("/missing.png: no such file or folder"),
        );
        check(
            &["*.gif"],
            Err("/*.gif: no picture (jpg, jpeg, png, bmp, webp, tif, tiff) matches"),
        );
        check(
            &["empty"],
            Err("/empty: no picture (jpg, jpeg, png, bmp, webp, tif, tiff) in this folder"),
        );
        check(&["a[.png"], Err("not a valid pattern"));
    }

    #[test]
    fn every_output_has_a_name_of_its_own() {
        let inputs = [
            "x/a.jpg", "y/a.jpg", "y/A.JPG", "z/a.bmp", "z/a.png", "noext",
        ];
        let names = output_names(&inputs.map(PathBuf::from));
        assert_eq!(
            names,
            [
                "a.jpg",
                "a_2.jpg",
                "A_3.JPG",
                "a.png",
                "a_2.png",
                "noext.png"
            ]
        );
    }
}
