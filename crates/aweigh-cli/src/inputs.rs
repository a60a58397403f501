//! Turns the inputs of `aweigh predict` (files, folders, patterns) into a list of pictures.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use glob::MatchOptions;

use crate::draw::is_jpeg;

/// Extensions that a folder is searched for.
const EXTENSIONS: [&str; 7] = ["jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff"];

/// Files that systems put into folders, beside those whose names begin with a dot.
const SYSTEM_FILES: [&str; 2] = ["thumbs.db", "desktop.ini"];

/// What the inputs of a command are.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    /// Without repetition, each folder and pattern sorted.
    pub(crate) pictures: Vec<PathBuf>,
    /// Files of folders and patterns that are no pictures by their names.
    skipped: BTreeSet<PathBuf>,
}

impl Inputs {
    /// Lists the files that `inputs` name. Hidden files of folders and patterns do not count.
    ///
    /// # Errors
    /// When an input is no file, folder or pattern, or holds no picture.
    pub(crate) fn find(inputs: &[String]) -> Result<Self> {
        let mut seen = HashSet::new();
        let mut all = Self::default();
        for input in inputs {
            let found = expand(input)?;
            let new = found.pictures.into_iter();
            all.pictures
                .extend(new.filter(|path| seen.insert(path.clone())));
            all.skipped.extend(found.skipped);
        }
        all.skipped.retain(|path| !seen.contains(path));
        Ok(all)
    }

    /// What was left out, where something was.
    pub(crate) fn left_out(&self) -> Option<String> {
        let files = match self.skipped.len() {
            0 => return None,
            1 => "1 file that is no picture".to_owned(),
            n => format!("{n} files that are no pictures"),
        };
        Some(format!("skipped {files} aweigh reads: {}", self.kinds()))
    }

    /// The skipped files by their extensions, `12 .heic, 2 .gif`, the most frequent first.
    fn kinds(&self) -> String {
        let mut counts = BTreeMap::new();
        for path in &self.skipped {
            let kind = match path.extension() {
                Some(extension) => format!(".{}", extension.to_string_lossy().to_lowercase()),
                None => "without extension".to_owned(),
            };
            *counts.entry(kind).or_insert(0_usize) += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let kinds = counts.iter().map(|(kind, count)| format!("{count} {kind}"));
        kinds.collect::<Vec<_>>().join(", ")
    }

    /// What there is in place of pictures, for a message that there are none.
    fn others(&self) -> String {
        if self.skipped.is_empty() {
            String::new()
        } else {
            format!(", only {}", self.kinds())
        }
    }

    /// Adds a file of a folder or pattern.
    fn add(&mut self, path: PathBuf) {
        if !path.is_file() || is_hidden(&path) {
            return;
        }
        if is_picture(&path) {
            self.pictures.push(path)
        } else {
            _ = self.skipped.insert(path)
        }
    }
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

fn expand(input: &str) -> Result<Inputs> {
    let path = Path::new(input);
    if path.is_dir() {
        in_folder(path)
    } else if path.exists() {
        Ok(Inputs {
            pictures: vec![path.to_owned()],
            ..Inputs::default()
        })
    } else if input.contains(['*', '?', '[']) {
        matching(input)
    } else {
        bail!("{input}: no such file or folder")
    }
}

fn in_folder(folder: &Path) -> Result<Inputs> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("{}: the folder cannot be read", folder.display()))?;
    let mut found = Inputs::default();
    for entry in entries {
        let entry = entry.with_context(|| format!("{}: reading stopped", folder.display()))?;
        found.add(entry.path());
    }
    if found.pictures.is_empty() {
        bail!(
            "{0}: no picture ({1}) in this folder{2}; for its subfolders write '{0}/**/*.jpg'",
            folder.display(),
            EXTENSIONS.join(", "),
            found.others(),
        );
    }
    found.pictures.sort();
    Ok(found)
}

/// Files that match a pattern; hidden folders are not searched unless the pattern names them.
fn matching(pattern: &str) -> Result<Inputs> {
    let options = MatchOptions {
        require_literal_leading_dot: true,
        ..MatchOptions::default()
    };
    let paths = glob::glob_with(pattern, options)
        .with_context(|| format!("{pattern}: not a valid pattern"))?;
    let mut found = Inputs::default();
    for path in paths {
        found.add(path.with_context(|| format!("{pattern}: a folder cannot be read"))?);
    }
    if found.pictures.is_empty() {
        let (known, others) = (EXTENSIONS.join(", "), found.others());
        bail!("{pattern}: no picture ({known}) matches{others}");
    }
    Ok(found)
}

/// Whether a file is none of the user's: `.DS_Store`, `._a.jpg` of macOS, `Thumbs.db`.
fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || SYSTEM_FILES.contains(&name.to_lowercase().as_str())
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
        for file in [
            "b.png",
            "a.JPG",
            "notes.txt",
            "sub/c.webp",
            "sub/d.tif",
            "phone/1.HEIC",
            "phone/2.heic",
            "phone/3.gif",
            "phone/README",
            "hidden/._a.jpg",
            "hidden/.DS_Store",
            "hidden/Thumbs.db",
            "hidden/desktop.ini",
            ".cache/e.png",
        ] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, []).unwrap();
        }
        std::fs::create_dir(folder.path().join("empty")).unwrap();
        folder
    }

    fn find(inputs: &[&str]) -> Result<(Vec<String>, Option<String>), String> {
        let folder = folder();
        let root = folder.path().to_str().unwrap();
        let inputs: Vec<_> = inputs
            .iter()
            .map(|input| format!("{root}/{input}"))
            .collect();
        let found = Inputs::find(&inputs).map_err(|e| e.to_string().replace(root, ""))?;
        let name = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
        Ok((found.pictures.iter().map(name).collect(), found.left_out()))
    }

    fn check(inputs: &[&str], expected: &[&str]) {
        let (pictures, _) = find(inputs).unwrap();
        assert_eq!(pictures, expected);
    }

    fn check_left_out(inputs: &[&str], expected: Option<&str>) {
        let (_, left_out) = find(inputs).unwrap();
        assert_eq!(left_out.as_deref(), expected, "{inputs:?}");
    }

    fn check_error(input: &str, expected: &str) {
        let error = find(&[input]).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn files_folders_and_patterns() {
        check(&[""], &["a.JPG", "b.png"]);
        check(&["b.png", ""], &["b.png", "a.JPG"]);
        check(&["**/*"], &["a.JPG", "b.png", "sub/c.webp", "sub/d.tif"]);
        check(&["*.png", "sub"], &["b.png", "sub/c.webp", "sub/d.tif"]);
        // A file that is named outright is taken whatever its name: its content decides.
        check(&["notes.txt"], &["notes.txt"]);
        check(&["hidden/._a.jpg"], &["hidden/._a.jpg"]);
        check(&[".cache/*"], &[".cache/e.png"]);
    }

    #[test]
    fn what_is_skipped_is_counted_and_named() {
        check_left_out(&["b.png"], None);
        check_left_out(&["*.png"], None);
        check_left_out(&["sub"], None);
        let one = "skipped 1 file that is no picture aweigh reads: 1 .txt";
        check_left_out(&[""], Some(one));
        check_left_out(&["", "*"], Some(one));
        check_left_out(&["", "notes.txt"], None);
        let five = "skipped 5 files that are no pictures aweigh reads: \
                    2 .heic, 1 .gif, 1 .txt, 1 without extension";
        check_left_out(&["**/*"], Some(five));
    }

    #[test]
    fn inputs_without_pictures_are_errors_that_name_what_is_there() {
        check_error("missing.png", "/missing.png: no such file or folder");
        let none = "no picture (jpg, jpeg, png, bmp, webp, tif, tiff)";
        check_error("*.gif", &format!("/*.gif: {none} matches"));
        check_error(
            "empty",
            &format!("/empty: {none} in this folder; for its subfolders"),
        );
        check_error(
            "hidden",
            &format!("/hidden: {none} in this folder; for its subfolders"),
        );
        check_error("hidden/*", &format!("/hidden/*: {none} matches"));
        let others = "only 2 .heic, 1 .gif, 1 without extension";
        check_error(
            "phone",
            &format!("/phone: {none} in this folder, {others}; for its"),
        );
        check_error("phone/*", &format!("/phone/*: {none} matches, {others}"));
        check_error("a[.png", "not a valid pattern");
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
