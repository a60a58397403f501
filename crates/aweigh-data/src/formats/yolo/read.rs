//! A dataset of YOLO.

use std::path::{Component, Path, PathBuf};

use super::lines::LineReader;
use super::yaml::DataYaml;
use crate::DataError;
use crate::finding::{Counter, Finding};
use crate::formats::layout;
use crate::formats::pictures::{Located, set, size_of};
use crate::formats::{Labels, ReadOptions, categories};

/// Names of the file with the names of classes, where there is no `data.yaml`.
const CLASSES: [&str; 3] = ["classes.txt", "obj.names", "labels/classes.txt"];

/// Whether a folder, or a file, is a dataset of YOLO.
pub(in crate::formats) fn is_yolo(source: &Path) -> bool {
    yaml_of(source).is_some() || CLASSES.iter().any(|name| source.join(name).is_file())
}

/// The `data.yaml` of a folder: any file of that kind that has `names`.
fn yaml_of(source: &Path) -> Option<PathBuf> {
    let is_yaml = |path: &Path| ["yaml", "yml"].iter().any(|e| layout::has_ending(path, e));
    if source.is_file() {
        return is_yaml(source).then(|| source.to_path_buf());
    }
    let entries = std::fs::read_dir(source).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file() && is_yaml(path));
    files.sort();
    let names = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .any(|line| line.trim_start().starts_with("names"))
    };
    let named = files.iter().find(|path| path.ends_with("data.yaml"));
    named
        .or_else(|| files.iter().find(|path| names(path)))
        .cloned()
}

/// Reads a dataset of YOLO.
pub(in crate::formats) fn read(source: &Path, options: &ReadOptions) -> Result<Labels, DataError> {
    layout::check_there(source)?;
    let (names, with_key_points, sets) = match yaml_of(source) {
        Some(yaml) => {
            let data = DataYaml::read(&yaml)?;
            let sets = sets_of(&yaml, &data)?;
            (data.names, data.has_key_points, sets)
        }
        None => (class_names(source)?, false, plain_sets(source, options)?),
    };
    let reader = LineReader {
        classes: names.len(),
        with_key_points,
    };
    let mut unlabelled = Counter::default();
    let mut labels = Labels {
        classes: categories(names),
        sets: Vec::new(),
        findings: Vec::new(),
    };
    for (name, pictures) in sets {
        let located = pictures
            .into_iter()
            .map(|file| locate(&reader, file, &mut unlabelled));
        labels
            .sets
            .extend(set(name, located.collect::<Result<_, _>>()?));
    }
    if labels.sets.is_empty() {
        return Err(layout::unknown(source, "no picture in it"));
    }
    if let Some(first) = unlabelled.first() {
        let text = format!(
            "{} of {} pictures have no file of labels: they have no objects (first: {first})",
            unlabelled.count(),
            labels.pictures()
        );
        labels.findings.push(Finding::note(source, text));
    }
    Ok(labels)
}

fn locate(
    reader: &LineReader,
    file: PathBuf,
    unlabelled: &mut Counter,
) -> Result<Located, DataError> {
    let size = size_of(&file)?;
    let objects = match labels_of(&file) {
        Some(labels) => reader.read(&labels, size)?,
        None => {
            unlabelled.add(|| file.display().to_string());
            Vec::new()
        }
    };
    Ok(Located {
        file,
        size,
        objects,
    })
}

/// The labels of a picture: `labels` in place of the last `images` of its path, or beside it.
fn labels_of(picture: &Path) -> Option<PathBuf> {
    let components: Vec<Component<'_>> = picture.components().collect();
    let last = components.iter().rposition(|c| c.as_os_str() == "images");
    let moved = last.map(|at| {
        let replaced = components.iter().enumerate().map(|(index, component)| {
            if index == at {
                "labels".as_ref()
            } else {
                component.as_os_str()
            }
        });
        replaced.collect::<PathBuf>().with_extension("txt")
    });
    let candidates = moved.into_iter().chain([picture.with_extension("txt")]);
    candidates.into_iter().find(|file| file.is_file())
}

/// The pictures of each set of a `data.yaml`.
fn sets_of(yaml: &Path, data: &DataYaml) -> Result<Vec<(String, Vec<PathBuf>)>, DataError> {
    let beside = yaml.parent().unwrap_or(yaml);
    let bases = bases(beside, data.path.as_deref());
    let mut sets = Vec::new();
    for (name, paths) in [
        ("train", &data.train),
        ("val", &data.val),
        ("test", &data.test),
    ] {
        let pictures = pictures_of(yaml, &bases, name, paths)?;
        if !pictures.is_empty() {
            sets.push((name.to_owned(), pictures));
        }
    }
    Ok(sets)
}

/// Folders that paths of a `data.yaml` may be relative to: `path`, which is often that of another
/// machine, and the folder of the file.
fn bases(beside: &Path, path: Option<&str>) -> Vec<PathBuf> {
    let mut bases = Vec::new();
    if let Some(path) = path.map(Path::new) {
        bases.extend([beside.join(path), path.to_path_buf()]);
    }
    bases.push(beside.to_path_buf());
    bases
}

fn pictures_of(
    yaml: &Path,
    bases: &[PathBuf],
    set: &str,
    paths: &[String],
) -> Result<Vec<PathBuf>, DataError> {
    let mut pictures = Vec::new();
    for path in paths {
        // Roboflow writes `../train/images` for what lies beside the file.
        let inner = Path::new(path.trim_start_matches("../"));
        let spellings = [Path::new(path), inner];
        let mut all = bases
            .iter()
            .flat_map(|base| spellings.map(|path| base.join(path)));
        match all.find(|path| path.exists()) {
            Some(list) if list.is_file() => pictures.extend(listed(&list)?),
            Some(folder) => {
                let files = layout::files(&folder);
                pictures.extend(files.into_iter().filter(|file| layout::is_picture(file)));
            }
            // Sets for scoring are often left out of what people hand on.
            None if set == "test" => {}
            None => {
                return Err(DataError::Labels {
                    path: yaml.to_path_buf(),
                    line: None,
                    reason: format!("`{set}: {path}` is no folder or list of pictures"),
                });
            }
        }
    }
    Ok(pictures)
}

/// The pictures that a text file lists, one a line, relative to its folder.
fn listed(list: &Path) -> Result<Vec<PathBuf>, DataError> {
    let text = std::fs::read_to_string(list).map_err(|reason| DataError::AnnotationFile {
        path: list.to_path_buf(),
        reason,
    })?;
    let folder = list.parent().unwrap_or(list);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(|line| folder.join(line)).collect())
}

fn class_names(source: &Path) -> Result<Vec<String>, DataError> {
    let path = CLASSES
        .iter()
        .map(|name| source.join(name))
        .find(|path| path.is_file());
    let Some(path) = path else {
        let reason = "no data.yaml and no classes.txt, one of which names the classes of YOLO";
        return Err(layout::unknown(source, reason));
    };
    let text = std::fs::read_to_string(&path)
        .map_err(|reason| DataError::AnnotationFile { path, reason })?;
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
    Ok(names.map(str::to_owned).collect())
}

/// The pictures of a folder without `data.yaml`.
fn plain_sets(
    source: &Path,
    options: &ReadOptions,
) -> Result<Vec<(String, Vec<PathBuf>)>, DataError> {
    let root = options.images.as_deref().unwrap_or(source);
    let base = if root.join("images").is_dir() {
        root.join("images")
    } else {
        root.to_path_buf()
    };
    let pictures = |folder: &Path| {
        let mut files = layout::files(folder);
        files.retain(|file| layout::is_picture(file));
        files
    };
    let mut sets: Vec<(String, Vec<PathBuf>)> = layout::set_folders(&base)
        .into_iter()
        .map(|(name, folder)| (name, pictures(&folder)))
        .collect();
    if sets.is_empty() {
        sets.push(("all".to_owned(), pictures(&base)));
    }
    sets.retain(|(_, pictures)| !pictures.is_empty());
    Ok(sets)
}
