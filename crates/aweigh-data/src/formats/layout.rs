//! How datasets lie in folders: sets, and pictures beside their labels.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::pictures::size_of;
use crate::DataError;
use crate::plain::plain;

/// Endings of the files that are taken for pictures.
const PICTURES: [&str; 7] = ["jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff"];

/// Folders below a dataset that are looked through.
const DEPTH: usize = 8;

/// What a set is for, by the name of its file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetName {
    /// To train on.
    Train,
    /// To choose by.
    Val,
    /// To score on once.
    Test,
    /// To train on, where nothing is chosen.
    TrainVal,
}

impl SetName {
    /// Every name, in the order of sets.
    pub const ALL: [Self; 4] = [Self::Train, Self::Val, Self::Test, Self::TrainVal];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
            Self::TrainVal => "trainval",
        }
    }

    /// The set that a name speaks of, such as `instances_train2017`, `valid` or `Test-set`.
    pub fn in_name(name: &str) -> Option<Self> {
        let lower = name.to_lowercase();
        let mut words = lower.split(|c: char| !c.is_alphabetic());
        words.find_map(|word| match word {
            "train" | "training" => Some(Self::Train),
            "val" | "valid" | "validation" | "dev" => Some(Self::Val),
            "test" | "testing" => Some(Self::Test),
            "trainval" => Some(Self::TrainVal),
            _ => None,
        })
    }
}

/// Folders below `folder` that are sets, in the order of [`SetName`].
pub(super) fn set_folders(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    let mut sets: Vec<(SetName, PathBuf)> = folders
        .filter_map(|path| Some((SetName::in_name(path.file_name()?.to_str()?)?, path)))
        .collect();
    sets.sort();
    sets.into_iter()
        .map(|(name, path)| (name.as_str().to_owned(), path))
        .collect()
}

/// All files below a folder, sorted.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let walk = WalkDir::new(folder)
        .max_depth(DEPTH)
        .follow_links(true)
        .sort_by_file_name();
    let entries = walk.into_iter().flatten();
    let files = entries.filter(|entry| entry.file_type().is_file());
    files.map(walkdir::DirEntry::into_path).collect()
}

/// Whether the name of a file has this ending, in upper or lower case.
pub(super) fn has_ending(path: &Path, ending: &str) -> bool {
    let found = path.extension().and_then(|ending| ending.to_str());
    found.is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// Whether a file is a picture by its name.
pub(super) fn is_picture(path: &Path) -> bool {
    // macOS leaves `._a.jpg` beside `a.jpg` on foreign disks.
    let hidden = path.file_name().and_then(|name| name.to_str());
    let hidden = hidden.is_some_and(|name| name.starts_with("._"));
    !hidden && PICTURES.iter().any(|ending| has_ending(path, ending))
}

/// The pictures of a folder by their names, and by their names without ending.
#[derive(Debug, Default)]
pub(super) struct PictureIndex {
    by_name: HashMap<String, PathBuf>,
}

impl PictureIndex {
    /// The pictures below a folder.
    pub(super) fn new(folder: &Path) -> Self {
        let mut index = Self::default();
        for path in files(folder).into_iter().filter(|path| is_picture(path)) {
            let relative = relative(&path, folder);
            let stem = Path::new(&relative).with_extension("");
            let names = [
                path.file_name()
                    .map(|name| name.to_string_lossy().into_owned()),
                path.file_stem()
                    .map(|name| name.to_string_lossy().into_owned()),
                Some(stem.to_string_lossy().into_owned()),
            ];
            // The first of a name wins; a whole path always finds its own.
            for name in names.into_iter().flatten() {
                index.by_name.entry(name).or_insert_with(|| path.clone());
            }
            index.by_name.insert(relative, path);
        }
        index
    }

    /// Width and height of each picture, by all of its names.
    pub(super) fn sizes(&self) -> Result<HashMap<String, (u32, u32)>, DataError> {
        let sizes = self.by_name.iter().map(|(name, path)| {
            let [height, width] = size_of(path)?;
            Ok((name.clone(), (width, height)))
        });
        sizes.collect()
    }

    /// The picture of a name, or else of the last part of it, with or without its ending.
    pub(super) fn find(&self, name: &str) -> Option<&PathBuf> {
        let name = name.replace('\\', "/");
        let path = Path::new(&name);
        let last = path.file_name().and_then(|name| name.to_str());
        let stem = path.file_stem().and_then(|name| name.to_str());
        let candidates = [Some(name.as_str()), last, stem];
        candidates
            .into_iter()
            .flatten()
            .find_map(|name| self.by_name.get(name))
    }
}

/// A path below a folder as a name with slashes; the path itself where it is elsewhere.
pub(super) fn relative(path: &Path, folder: &Path) -> String {
    let path = path.strip_prefix(folder).unwrap_or(path);
    let parts = path.components().map(|c| c.as_os_str().to_string_lossy());
    match path.is_absolute() {
        true => path.to_string_lossy().into_owned(),
        false => parts.collect::<Vec<_>>().join("/"),
    }
}

/// The deepest folder that holds all of some files.
pub(super) fn common_folder<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Option<PathBuf> {
    let folders = files
        .into_iter()
        .filter_map(|file| file.parent())
        .map(plain);
    folders.reduce(|mut common, folder| {
        while !folder.starts_with(&common) && common.pop() {}
        common
    })
}

/// The error of a folder or file that is not what it should be.
pub(super) fn unknown(path: &Path, reason: impl Into<String>) -> DataError {
    DataError::Layout {
        path: path.to_path_buf(),
        reason: reason.into(),
    }
}

/// # Errors
/// If there is nothing at the path.
pub(super) fn check_there(path: &Path) -> Result<(), DataError> {
    match path.metadata() {
        Ok(_) => Ok(()),
        Err(reason) => Err(unknown(path, format!("cannot be read: {reason}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_known_by_a_word_of_the_name() {
        use SetName::*;
        let check = |name: &str, expected| assert_eq!(SetName::in_name(name), expected, "{name}");
        check("instances_train2017", Some(Train));
        check("valid", Some(Val));
        check("my-Validation_set", Some(Val));
        check("Test", Some(Test));
        check("instances_trainval", Some(TrainVal));
        check("trains", None);
        check("instances_default", None);
    }

    #[test]
    fn the_common_folder_holds_all_files() {
        let check = |files: &[&str], expected: Option<&str>| {
            let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            assert_eq!(
                common_folder(&files),
                expected.map(PathBuf::from),
                "{files:?}"
            );
        };
        check(&["/a/b/1.jpg", "/a/b/2.jpg"], Some("/a/b"));
        check(&["/a/b/1.jpg", "/a/c/2.jpg"], Some("/a"));
        check(&["/a/b/1.jpg", "/a/bc/d/2.jpg"], Some("/a"));
        check(&["/a/./x/../b/1.jpg", "/a/b/c/2.jpg"], Some("/a/b"));
        check(&[], None);
    }
}
