//! CVAT, DOTA and Open Images, which hotcoco reads.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use hotcoco::convert::{
    ConvertError, cvat_to_coco, dota_to_coco, oid_to_coco, read_class_descriptions,
};
use hotcoco::{Annotation, Dataset};

use super::layout::{self, PictureIndex};
use super::pictures::{Located, set, size_of};
use super::{Labels, Object, ObjectKind, ReadOptions, categories};
use crate::DataError;
use crate::finding::{Counter, Finding, counted};

/// Reads `CVAT for images 1.1`: one XML file, or the one in a folder.
pub(super) fn cvat(source: &Path, options: &ReadOptions) -> Result<Labels, DataError> {
    let file = single(source, "xml", "XML file of CVAT")?;
    let (dataset, stats) = cvat_to_coco(&file).map_err(|error| wrong(&file, &error))?;
    let mut labels = labels(&file, dataset, &pictures(&file, options))?;
    let skipped = stats.skipped_unsupported + stats.skipped_degenerate;
    if skipped > 0 {
        let text = counted(skipped, "shape is", "shapes are");
        let text = format!("{text} neither box nor polygon and left out");
        labels.findings.push(Finding::warning(&file, text));
    }
    Ok(labels)
}

/// Reads DOTA: the boxes around the corners of a folder of text files.
pub(super) fn dota(source: &Path, options: &ReadOptions) -> Result<Labels, DataError> {
    layout::check_there(source)?;
    let index = pictures(source, options);
    let below = ["labelTxt", "labels"].map(|name| source.join(name));
    let folder = below.into_iter().find(|folder| folder.is_dir());
    let folder = folder.unwrap_or_else(|| source.to_path_buf());
    let dataset = dota_to_coco(&folder, None, &HashMap::new());
    labels(
        &folder,
        dataset.map_err(|error| wrong(&folder, &error))?,
        &index,
    )
}

/// Reads the CSV of Open Images, with `class-descriptions*.csv` beside it, if it is there.
pub(super) fn open_images(source: &Path, options: &ReadOptions) -> Result<Labels, DataError> {
    layout::check_there(source)?;
    let is_description = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("class-descriptions")
    };
    let root = if source.is_dir() {
        source
    } else {
        source.parent().unwrap_or(source)
    };
    let mut tables = layout::files(root);
    tables.retain(|path| layout::has_ending(path, "csv"));
    let (descriptions, mut tables): (Vec<_>, Vec<_>) =
        tables.into_iter().partition(|path| is_description(path));
    if source.is_file() {
        tables = vec![source.to_path_buf()];
    }
    let [table] = &tables[..] else {
        let reason = format!("{} CSV files of boxes; name one file", tables.len());
        return Err(layout::unknown(source, reason));
    };
    let descriptions = descriptions.first().map(PathBuf::as_path);
    if let Some(descriptions) = descriptions {
        read_class_descriptions(descriptions).map_err(|error| wrong(descriptions, &error))?;
    }
    let index = pictures(table, options);
    let sizes = index.sizes()?;
    let dataset = oid_to_coco(table, descriptions, &sizes);
    labels(
        table,
        dataset.map_err(|error| wrong(table, &error))?,
        &index,
    )
}

/// The pictures of the folder that is named, or below that of the labels.
fn pictures(source: &Path, options: &ReadOptions) -> PictureIndex {
    let beside = if source.is_dir() {
        source
    } else {
        source.parent().unwrap_or(source)
    };
    PictureIndex::new(options.images.as_deref().unwrap_or(beside))
}

/// The file itself, or the only one of an ending in a folder.
fn single(source: &Path, ending: &str, what: &str) -> Result<PathBuf, DataError> {
    layout::check_there(source)?;
    if source.is_file() {
        return Ok(source.to_path_buf());
    }
    let mut files = layout::files(source);
    files.retain(|file| layout::has_ending(file, ending));
    match files.pop() {
        Some(only) if files.is_empty() => Ok(only),
        Some(_) => Err(layout::unknown(
            source,
            format!("more than one {what}: name one file"),
        )),
        None => Err(layout::unknown(source, format!("no {what} in it"))),
    }
}

fn wrong(path: &Path, error: &ConvertError) -> DataError {
    // hotcoco names the file in some of its messages.
    let text = error.to_string();
    let text = text.replace(&format!("{}: ", path.display()), "");
    layout::unknown(path, text)
}

fn labels(source: &Path, dataset: Dataset, index: &PictureIndex) -> Result<Labels, DataError> {
    let names = dataset
        .categories
        .iter()
        .map(|category| category.name.clone());
    let positions: HashMap<u64, usize> = dataset.categories.iter().map(|c| c.id).zip(0..).collect();
    let mut objects: HashMap<u64, Vec<Object>> = HashMap::new();
    for annotation in &dataset.annotations {
        let class = positions.get(&annotation.category_id);
        if let (Some(class), Some(bbox)) = (class, bbox(annotation)) {
            let object = object(*class, bbox, annotation);
            objects.entry(annotation.image_id).or_default().push(object);
        }
    }
    let mut missing = Counter::default();
    let mut located = Vec::new();
    for image in &dataset.images {
        let Some(file) = index.find(&image.file_name) else {
            missing.add(|| format!("`{}`", image.file_name));
            continue;
        };
        let declared = [image.height, image.width];
        located.push(Located {
            size: if declared.iter().all(|side| *side > 1) {
                declared
            } else {
                size_of(file)?
            },
            file: file.clone(),
            objects: objects.remove(&image.id).unwrap_or_default(),
        });
    }
    let found = set("all".to_owned(), located);
    let missing = missing.first().map(|first| {
        let count = counted(missing.count(), "picture is", "pictures are");
        Finding::warning(
            source,
            format!("{count} not found and left out (first: {first})"),
        )
    });
    let Some(found) = found else {
        return Err(layout::unknown(
            source,
            "no picture is found: name their folder",
        ));
    };
    Ok(Labels {
        classes: categories(names),
        sets: vec![found],
        findings: missing.into_iter().collect(),
    })
}

/// The box, or that around an oriented box `[cx, cy, w, h, angle]`.
fn bbox(annotation: &Annotation) -> Option<[f64; 4]> {
    annotation.bbox.or_else(|| {
        let [cx, cy, w, h, angle] = **annotation.obb.as_ref()?;
        let (sin, cos) = angle.sin_cos();
        let width = (w * cos).abs() + (h * sin).abs();
        let height = (w * sin).abs() + (h * cos).abs();
        Some([cx - width / 2.0, cy - height / 2.0, width, height])
    })
}

fn object(class: usize, bbox: [f64; 4], annotation: &Annotation) -> Object {
    let crowd = annotation.iscrowd || annotation.is_group_of == Some(true);
    Object {
        area: annotation.area.unwrap_or(bbox[2] * bbox[3]),
        kind: if crowd {
            ObjectKind::Crowd
        } else {
            ObjectKind::Plain
        },
        ..Object::plain(class, bbox)
    }
}
