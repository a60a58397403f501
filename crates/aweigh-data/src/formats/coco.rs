//! COCO's JSON: found in a folder, and written.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::layout::{self, SetName};
use super::pictures::size_of;
use super::prepare::PreparedSet;
use super::write::Output;
use super::{LabelSet, Labelled, Labels, Object, ObjectKind, ReadOptions};
use crate::DataError;
use crate::annotations::{Annotation, AnnotationFile, Category};
use crate::output::write_file;

/// Names of an annotation file that are tried to find the folder of its pictures.
const TRIED: usize = 20;

/// Reads an annotation file, or those below a folder.
pub(super) fn read(source: &Path, options: &ReadOptions) -> Result<Labels, DataError> {
    layout::check_there(source)?;
    let root = root(source);
    let mut labels = Labels {
        classes: Vec::new(),
        sets: Vec::new(),
        findings: Vec::new(),
    };
    for (name, file) in annotation_files(source)? {
        let images = match &options.images {
            Some(images) => images.clone(),
            None => image_folder(root, &name, &file)?,
        };
        merge_classes(&mut labels.classes, &file)?;
        labels.findings.extend(file.findings().iter().cloned());
        let set = label_set(name, images, &file, &labels.classes)?;
        labels.sets.push(set);
    }
    Ok(labels)
}

/// The annotation files below a folder, each with its images, by the names of their sets.
pub(super) fn sets(source: &Path) -> Result<Vec<(String, PreparedSet)>, DataError> {
    let root = root(source);
    let set = |(name, file): (String, AnnotationFile)| {
        let images = image_folder(root, &name, &file)?;
        let annotations = file.path().to_path_buf();
        Ok((
            name,
            PreparedSet {
                annotations,
                images,
            },
        ))
    };
    annotation_files(source)?.into_iter().map(set).collect()
}

/// The folder of a source, which may be a file.
fn root(source: &Path) -> &Path {
    match source.is_dir() {
        true => source,
        false => source.parent().unwrap_or(source),
    }
}

/// The annotation files below a folder, each with the name of its set.
pub(super) fn annotation_files(source: &Path) -> Result<Vec<(String, AnnotationFile)>, DataError> {
    if source.is_file() {
        return Ok(vec![(set_name(source), AnnotationFile::read(source)?)]);
    }
    let mut found: BTreeMap<(SetOrder, String), AnnotationFile> = BTreeMap::new();
    for path in layout::files(source) {
        if !layout::has_ending(&path, "json") {
            continue;
        }
        let file = match AnnotationFile::read(&path) {
            Ok(file) => file,
            // Other JSON files are none of our business; broken annotations are.
            Err(DataError::AnotherKind { .. } | DataError::Empty { .. }) => continue,
            Err(error) => return Err(error),
        };
        let name = set_name(&path);
        let order = SetOrder(SetName::ALL.iter().position(|known| known.as_str() == name));
        if let Some(other) = found.insert((order, name.clone()), file) {
            let reason = format!(
                "{} and {} are both `{name}` by their names: name one file",
                other.path().display(),
                path.display()
            );
            return Err(layout::unknown(source, reason));
        }
    }
    drop_union(&mut found);
    if found.is_empty() {
        return Err(layout::unknown(
            source,
            "no annotation file of COCO (*.json) in it",
        ));
    }
    Ok(found
        .into_iter()
        .map(|((_, name), file)| (name, file))
        .collect())
}

/// Leaves out the file of what is trained and validated on together where there are both alone: an
/// image would be in two sets.
fn drop_union(found: &mut BTreeMap<(SetOrder, String), AnnotationFile>) {
    if !found
        .keys()
        .any(|(_, name)| name == SetName::Train.as_str())
    {
        return;
    }
    found.retain(|(_, name), file| {
        let kept = name != SetName::TrainVal.as_str();
        if !kept {
            let path = file.path().display();
            tracing::info!("{path}: left out, since there is a set `train` besides");
        }
        kept
    });
}

/// The place of a set among others: those of unknown names come last.
#[derive(PartialEq, Eq)]
struct SetOrder(Option<usize>);

impl PartialOrd for SetOrder {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SetOrder {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let place = |order: &Self| order.0.unwrap_or(usize::MAX);
        place(self).cmp(&place(other))
    }
}

/// The set of an annotation file: by its name, or else by its folder's.
fn set_name(path: &Path) -> String {
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let known = SetName::in_name(&stem).or_else(|| SetName::in_name(&folder.to_string_lossy()));
    known.map_or("all".to_owned(), |known| known.as_str().to_owned())
}

/// The folder, at or below the root or beside the annotations, in which most of the names are: sets
/// often share their names, and then that whose path speaks of the set.
fn image_folder(root: &Path, set: &str, file: &AnnotationFile) -> Result<PathBuf, DataError> {
    let step = file.images().len().div_ceil(TRIED).max(1);
    let names: Vec<&str> = file
        .images()
        .iter()
        .step_by(step)
        .map(|image| image.file_name.as_str())
        .filter(|name| !name.is_empty())
        .collect();
    let beside = file.path().parent().unwrap_or(root);
    let above = beside.parent().unwrap_or(beside);
    let mut candidates = vec![beside.to_path_buf()];
    for base in [root, above] {
        let walk = walkdir::WalkDir::new(base)
            .max_depth(3)
            .follow_links(true)
            .sort_by_file_name();
        let folders = walk
            .into_iter()
            .flatten()
            .filter(|entry| entry.file_type().is_dir());
        candidates.extend(folders.map(walkdir::DirEntry::into_path));
    }
    let hits = |folder: &PathBuf| {
        names
            .iter()
            .filter(|name| folder.join(name).is_file())
            .count()
    };
    let ranked = candidates
        .into_iter()
        .map(|folder| (hits(&folder), suits(set, root, &folder), folder));
    // Of equals the first, which is closest to the annotations.
    let best = ranked.reduce(|best, next| match (next.0, next.1) > (best.0, best.1) {
        true => next,
        false => best,
    });
    match best {
        Some((hits, _, folder)) if hits > 0 => Ok(folder),
        _ => {
            let first = names.first().copied().unwrap_or_default();
            let reason = format!(
                "no folder below {} has its pictures, such as `{first}`: name their folder",
                root.display()
            );
            Err(layout::unknown(file.path(), reason))
        }
    }
}

/// How well the path of a folder suits a set: that of another set least.
fn suits(set: &str, root: &Path, folder: &Path) -> u8 {
    let inner = folder.strip_prefix(root).unwrap_or(folder);
    let names = inner.components().map(|c| c.as_os_str().to_string_lossy());
    let known: Vec<SetName> = names.filter_map(|name| SetName::in_name(&name)).collect();
    match &known[..] {
        [] => 1,
        known if known.iter().any(|known| known.as_str() == set) => 2,
        _ => 0,
    }
}

/// Sets must agree on their classes: by name where the ids differ.
fn merge_classes(classes: &mut Vec<Category>, file: &AnnotationFile) -> Result<(), DataError> {
    let mut found = file.categories().to_vec();
    found.sort_by_key(|class| class.id);
    for class in found {
        if classes.iter().any(|known| known.name == class.name) {
            continue;
        }
        if let Some(known) = classes.iter().find(|known| known.id == class.id) {
            let reason = format!(
                "category {} is `{}` here and `{}` in another file of the dataset",
                class.id, class.name, known.name
            );
            return Err(layout::unknown(file.path(), reason));
        }
        classes.push(class);
    }
    Ok(())
}

fn label_set(
    name: String,
    images: PathBuf,
    file: &AnnotationFile,
    classes: &[Category],
) -> Result<LabelSet, DataError> {
    let mut objects = objects_by_image(file, classes)?;
    let mut pictures = Vec::with_capacity(file.images().len());
    for image in file.images() {
        let size = match [image.height, image.width] {
            size if size.contains(&0) => size_of(&images.join(&image.file_name))?,
            size => size,
        };
        pictures.push(Labelled {
            file_name: image.file_name.clone(),
            size,
            objects: objects.remove(&image.id).unwrap_or_default(),
        });
    }
    Ok(LabelSet {
        name,
        images,
        pictures,
    })
}

fn objects_by_image(
    file: &AnnotationFile,
    classes: &[Category],
) -> Result<HashMap<i64, Vec<Object>>, DataError> {
    let class_of = |category: &Category| {
        let class = classes.iter().position(|known| known.name == category.name);
        (category.id, class.unwrap_or(0))
    };
    let by_id: HashMap<i64, usize> = file.categories().iter().map(class_of).collect();
    let mut objects: HashMap<i64, Vec<Object>> = HashMap::new();
    for annotation in file.annotations() {
        let category = annotation.category_id;
        let Some(class) = by_id.get(&category) else {
            return Err(DataError::UnknownReference {
                path: file.path().to_path_buf(),
                annotation: annotation.name(),
                key: "category_id",
                id: category,
                list: "categories",
            });
        };
        let object = object(*class, annotation);
        objects.entry(annotation.image_id).or_default().push(object);
    }
    Ok(objects)
}

fn object(class: usize, annotation: &Annotation) -> Object {
    Object {
        class,
        bbox: annotation.bbox,
        area: annotation.area,
        kind: match (annotation.crowd, annotation.ignore) {
            (true, _) => ObjectKind::Crowd,
            (false, true) => ObjectKind::Ignored,
            (false, false) => ObjectKind::Plain,
        },
    }
}

#[derive(Serialize)]
struct ImageRecord<'a> {
    id: usize,
    file_name: &'a str,
    width: u32,
    height: u32,
}

#[derive(Serialize)]
struct AnnotationRecord {
    id: usize,
    image_id: usize,
    category_id: i64,
    bbox: [f64; 4],
    area: f64,
    iscrowd: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore: Option<u8>,
}

#[derive(Serialize)]
struct CategoryRecord<'a> {
    id: i64,
    name: &'a str,
}

#[derive(Default, Serialize)]
struct File<'a> {
    images: Vec<ImageRecord<'a>>,
    annotations: Vec<AnnotationRecord>,
    categories: Vec<CategoryRecord<'a>>,
}

/// The annotation file of a set.
pub(super) fn annotations(folder: &Path, set: &str) -> PathBuf {
    folder
        .join("annotations")
        .join(format!("instances_{set}.json"))
}

/// Writes an annotation file for each set, and `images/SET` where pictures are copied.
pub(super) fn write(labels: &Labels, out: &Output<'_>) -> Result<(), DataError> {
    for set in &labels.sets {
        let json = serde_json::to_vec(&file(labels, set)).expect("plain records serialise");
        write_file(&annotations(out.folder, &set.name), json)?;
        for picture in &set.pictures {
            out.copy(
                set,
                picture,
                &format!("images/{}/{}", set.name, picture.file_name),
            )?;
        }
    }
    Ok(())
}

fn file<'a>(labels: &'a Labels, set: &'a LabelSet) -> File<'a> {
    let category = |class: &'a Category| CategoryRecord {
        id: class.id,
        name: &class.name,
    };
    let mut file = File {
        categories: labels.classes.iter().map(category).collect(),
        ..File::default()
    };
    for (picture, image_id) in set.pictures.iter().zip(1..) {
        let [height, width] = picture.size;
        file.images.push(ImageRecord {
            id: image_id,
            file_name: &picture.file_name,
            width,
            height,
        });
        for object in &picture.objects {
            file.annotations.push(AnnotationRecord {
                id: file.annotations.len() + 1,
                image_id,
                category_id: labels.classes[object.class].id,
                bbox: object.bbox,
                area: object.area,
                iscrowd: u8::from(object.kind == ObjectKind::Crowd),
                ignore: (object.kind == ObjectKind::Ignored).then_some(1),
            });
        }
    }
    file
}
