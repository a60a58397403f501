//! A dataset of Pascal VOC.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::Corners;
use super::file::{VocFile, VocObject};
use crate::DataError;
use crate::finding::{Counter, Finding, counted};
use crate::formats::layout::{self, PictureIndex};
use crate::formats::pictures::{Located, set, size_of};
use crate::formats::{Labels, Object, ObjectKind, ReadOptions, categories};

/// Names of classes in their order, one a line: a file that converters leave beside `Annotations`.
const CLASSES: &str = "labels.txt";

/// Reads a dataset of Pascal VOC.
pub(in crate::formats) fn read(source: &Path, options: &ReadOptions) -> Result<Labels, DataError> {
    layout::check_there(source)?;
    let root = devkit(source);
    let mut files = Vec::new();
    for (name, paths) in sets(&root)? {
        let read = paths
            .iter()
            .map(|path| Ok((path.clone(), VocFile::read(path)?)));
        files.push((name, read.collect::<Result<Vec<_>, DataError>>()?));
    }
    let all = || files.iter().flat_map(|(_, files)| files);
    let mut reader = Reader {
        classes: class_names(&root, all().map(|(_, file)| file))?,
        edges: edges(options.corners, all().map(|(_, file)| file)),
        pictures: options.images.as_deref().map(PictureIndex::new),
        folders: HashMap::new(),
        inverted: Counter::default(),
        missing: Counter::default(),
        other_size: Counter::default(),
    };
    let mut sets = Vec::new();
    for (name, files) in files {
        let located = files
            .into_iter()
            .map(|(path, file)| reader.locate(&path, file));
        let located = located.collect::<Result<Vec<_>, _>>()?;
        sets.extend(set(name, located));
    }
    let findings = reader.findings(source, options.corners);
    Ok(Labels {
        classes: categories(reader.classes),
        sets,
        findings,
    })
}

/// The folder with `Annotations`: also `VOC2012` in a `VOCdevkit`.
fn devkit(source: &Path) -> PathBuf {
    let has = |folder: &Path| folder.join("Annotations").is_dir();
    let mut below: Vec<PathBuf> = std::fs::read_dir(source)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && has(path))
        .collect();
    match below.pop() {
        Some(only) if !has(source) && below.is_empty() => only,
        _ => source.to_path_buf(),
    }
}

/// The files of each set.
fn sets(root: &Path) -> Result<Vec<(String, Vec<PathBuf>)>, DataError> {
    let annotations = root.join("Annotations");
    if annotations.is_dir() {
        let lists = lists(root)?;
        if !lists.is_empty() {
            return Ok(lists);
        }
        return Ok(vec![("all".to_owned(), xml_files(root, &annotations)?)]);
    }
    let folders = layout::set_folders(root);
    if folders.is_empty() {
        return Ok(vec![("all".to_owned(), xml_files(root, root)?)]);
    }
    let read = |(name, folder): (String, PathBuf)| Ok((name, xml_files(root, &folder)?));
    folders.into_iter().map(read).collect()
}

fn xml_files(root: &Path, folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = layout::files(folder);
    files.retain(|file| layout::has_ending(file, "xml"));
    if files.is_empty() {
        let reason = "no XML file; expected Pascal VOC's `Annotations`, or XML files beside their \
                      pictures";
        return Err(layout::unknown(root, reason));
    }
    Ok(files)
}

/// The sets of `ImageSets/Main`: `trainval` only where it is not made of others.
fn lists(root: &Path) -> Result<Vec<(String, Vec<PathBuf>)>, DataError> {
    let folder = root.join("ImageSets/Main");
    let path = |name: &str| folder.join(name).with_extension("txt");
    let mut names = vec!["train", "val", "test"];
    if !path("train").is_file() {
        names[0] = "trainval";
    }
    let mut sets = Vec::new();
    for name in names.into_iter().filter(|name| path(name).is_file()) {
        let files = listed(root, &path(name))?;
        if !files.is_empty() {
            sets.push((name.to_owned(), files));
        }
    }
    Ok(sets)
}

/// The files of a list, which names a picture in each line.
fn listed(root: &Path, list: &Path) -> Result<Vec<PathBuf>, DataError> {
    let text = std::fs::read_to_string(list).map_err(|reason| DataError::AnnotationFile {
        path: list.to_path_buf(),
        reason,
    })?;
    let mut files = Vec::new();
    for (line, name) in text.lines().enumerate() {
        let Some(name) = name.split_whitespace().next() else {
            continue;
        };
        let plain = root.join("Annotations").join(format!("{name}.xml"));
        let stem = root.join("Annotations").join(name).with_extension("xml");
        match [plain, stem].into_iter().find(|file| file.is_file()) {
            Some(file) => files.push(file),
            None => {
                let reason = format!("`{name}` has no file Annotations/{name}.xml");
                return Err(DataError::Labels {
                    path: list.to_path_buf(),
                    line: Some(line + 1),
                    reason,
                });
            }
        }
    }
    Ok(files)
}

/// The classes, in the order of `labels.txt`, or else of the alphabet.
fn class_names<'a>(
    root: &Path,
    files: impl Iterator<Item = &'a VocFile>,
) -> Result<Vec<String>, DataError> {
    let found: BTreeSet<&str> = files
        .flat_map(|file| file.objects.iter().map(|object| object.name.as_str()))
        .collect();
    let path = root.join(CLASSES);
    let text = if path.is_file() {
        std::fs::read_to_string(&path)
            .map_err(|reason| DataError::AnnotationFile { path, reason })?
    } else {
        String::new()
    };
    let mut names: Vec<String> = Vec::new();
    for name in text.lines().map(str::trim).chain(found) {
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// What is added to the upper left corners to make edges of them, negated.
fn edges<'a>(corners: Corners, mut files: impl Iterator<Item = &'a VocFile>) -> Origin {
    let below_one = |file: &VocFile| {
        file.objects
            .iter()
            .any(|o| o.corners.iter().any(|c| *c < 1.0))
    };
    match corners {
        Corners::Pixels => Origin::Pixels,
        Corners::Edges => Origin::Edges,
        Corners::Auto if files.any(below_one) => Origin::Edges,
        Corners::Auto => Origin::Pixels,
    }
}

/// What corners turned out to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Pixels,
    Edges,
}

struct Reader {
    classes: Vec<String>,
    edges: Origin,
    /// The pictures of the folder that the user names.
    pictures: Option<PictureIndex>,
    /// The pictures beside XML files, by the folder of the files.
    folders: HashMap<PathBuf, PictureIndex>,
    inverted: Counter,
    missing: Counter,
    other_size: Counter,
}

impl Reader {
    fn locate(&mut self, path: &Path, file: VocFile) -> Result<Located, DataError> {
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let found = self.find(path, &file.file_name, &stem);
        let size = match (&found, file.size) {
            (Some(picture), Some(declared)) => {
                // A picture that cannot be read is for the check of the dataset to tell.
                if size_of(picture).is_ok_and(|size| size != declared) {
                    self.other_size.add(|| path.display().to_string());
                }
                declared
            }
            (None, Some(declared)) => declared,
            (Some(picture), None) => size_of(picture)?,
            (None, None) => {
                let reason = "no <size>, and its picture, which would tell, is not found";
                return Err(layout::unknown(path, reason));
            }
        };
        let file_name = [&file.file_name, &stem]
            .into_iter()
            .find(|name| !name.is_empty());
        let picture = found.unwrap_or_else(|| {
            let name = file_name.cloned().unwrap_or_default();
            self.missing
                .add(|| format!("`{name}` of {}", path.display()));
            self.folder(path).join(name)
        });
        let objects = file
            .objects
            .iter()
            .filter_map(|object| self.object(path, object));
        Ok(Located {
            objects: objects.collect(),
            file: picture,
            size,
        })
    }

    /// The folder in which pictures of an XML file are looked for.
    fn folder(&self, path: &Path) -> PathBuf {
        let folder = path.parent().unwrap_or(path);
        let annotations = folder.ancestors().find(|f| f.ends_with("Annotations"));
        match annotations.and_then(Path::parent) {
            // Names are searched below the root, so that any name of the folder will do.
            Some(root) if root.join("JPEGImages").is_dir() => root.join("JPEGImages"),
            Some(root) => root.to_path_buf(),
            None => folder.to_path_buf(),
        }
    }

    fn find(&mut self, path: &Path, file_name: &str, stem: &str) -> Option<PathBuf> {
        let folder = self.folder(path);
        let index = match &self.pictures {
            Some(pictures) => pictures,
            None => self
                .folders
                .entry(folder)
                .or_insert_with_key(|folder| PictureIndex::new(folder)),
        };
        // The name that tools write may be that of a file before somebody renamed it.
        index.find(file_name).or_else(|| index.find(stem)).cloned()
    }

    fn object(&mut self, path: &Path, object: &VocObject) -> Option<Object> {
        let [xmin, ymin, xmax, ymax] = object.corners;
        if xmax < xmin || ymax < ymin {
            let place = format!("{}:{}", path.display(), object.line);
            self.inverted.add(|| place);
            return None;
        }
        let bbox = match self.edges {
            Origin::Pixels => [xmin - 1.0, ymin - 1.0, xmax - xmin + 1.0, ymax - ymin + 1.0],
            Origin::Edges => [xmin, ymin, xmax - xmin, ymax - ymin],
        };
        let class = self.classes.iter().position(|name| *name == object.name)?;
        let kind = match object.difficult {
            true => ObjectKind::Ignored,
            false => ObjectKind::Plain,
        };
        Some(Object {
            kind,
            ..Object::plain(class, bbox)
        })
    }

    fn findings(&self, source: &Path, corners: Corners) -> Vec<Finding> {
        let mut findings = Vec::new();
        if corners == Corners::Auto && self.edges == Origin::Edges {
            let text = "some corners are 0: all are taken as edges from 0, not as pixels from 1";
            findings.push(Finding::note(source, text.to_owned()));
        }
        let counters = [
            (
                &self.inverted,
                "object has a corner beyond the other and is left out",
                "objects have a corner beyond the other and are left out",
            ),
            (
                &self.missing,
                "picture is not found",
                "pictures are not found",
            ),
            (
                &self.other_size,
                "picture has another size than its XML declares, which is kept",
                "pictures have another size than their XML declares, which is kept",
            ),
        ];
        for (counter, one, many) in counters {
            if let Some(first) = counter.first() {
                let text = format!("{} (first: {first})", counted(counter.count(), one, many));
                findings.push(Finding::warning(source, text));
            }
        }
        findings
    }
}
