//! One set by itself.

use std::path::PathBuf;

use serde::Serialize;

use super::content::{Contents, Fingerprint};
use crate::files::check_files;
use crate::finding::{Finding, counted};
use crate::pictures::look_at_all;
use crate::{CocoDataset, DataError, Exif, Pictures};

/// Classes with fewer boxes are named.
const FEW: usize = 10;
/// From this ratio on, classes are far from balanced.
const UNBALANCED: usize = 50;

/// A set in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetHealth {
    /// `train` or `val`.
    pub name: String,
    /// The annotation file.
    pub annotations: PathBuf,
    /// Images.
    pub images: usize,
    /// Images without any box or ignore region.
    pub images_without_boxes: usize,
    /// Pictures that were decoded.
    pub pictures: usize,
    /// Boxes.
    pub boxes: usize,
    /// Ignore regions.
    pub ignore_regions: usize,
    /// Every class, by its id.
    pub classes: Vec<ClassBoxes>,
}

/// The boxes of a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassBoxes {
    /// The name.
    pub name: String,
    /// Boxes.
    pub boxes: usize,
    /// Images with at least one.
    pub images: usize,
}

/// Looks at all of a set.
pub(super) fn look(
    name: &str,
    dataset: &CocoDataset,
    workers: usize,
) -> (SetHealth, Vec<Finding>, Contents) {
    let mut findings = dataset.findings().to_vec();
    findings.extend(missing(dataset));
    let note = |index, image: &_| Fingerprint::of(&dataset.image_path(index), image);
    let (pictures, fingerprints) = look_at_all(dataset, workers, note);
    findings.extend(of_pictures(dataset, &pictures));
    let set = numbers(name, dataset, pictures.looked);
    findings.extend(balance(&set, dataset));
    (set, findings, Contents(fingerprints))
}

fn numbers(name: &str, dataset: &CocoDataset, pictures: usize) -> SetHealth {
    let class = |name: &String| ClassBoxes {
        name: name.clone(),
        boxes: 0,
        images: 0,
    };
    let mut classes: Vec<ClassBoxes> = dataset.classes().iter().map(|c| class(&c.name)).collect();
    let mut empty = 0;
    for image in dataset.images() {
        let mut labels = image.truth.labels.clone();
        labels.iter().for_each(|label| classes[*label].boxes += 1);
        labels.sort_unstable();
        labels.dedup();
        labels.iter().for_each(|label| classes[*label].images += 1);
        empty += usize::from(labels.is_empty() && image.truth.ignore.is_empty());
    }
    SetHealth {
        name: name.to_owned(),
        annotations: dataset.annotations().to_path_buf(),
        images: dataset.images().len(),
        images_without_boxes: empty,
        pictures,
        boxes: dataset.stats().boxes,
        ignore_regions: dataset.stats().ignore_regions,
        classes,
    }
}

fn missing(dataset: &CocoDataset) -> Option<Finding> {
    match check_files(dataset) {
        Err(DataError::MissingImages {
            images,
            missing,
            all,
            first,
            reasons,
            ..
        }) => {
            let folder = images.display();
            let text = format!(
                "{missing} of {all} images are missing in {folder}, first `{first}`: {reasons}"
            );
            Some(Finding::error(dataset.annotations(), text))
        }
        _ => None,
    }
}

fn of_pictures(dataset: &CocoDataset, pictures: &Pictures) -> Vec<Finding> {
    let file = dataset.annotations();
    let mut findings = Vec::new();
    let of = |count: usize, verb: &str| format!("{count} of {} pictures {verb}", pictures.looked);
    if let Some(first) = &pictures.unreadable.first {
        let text = of(pictures.unreadable.count, "cannot be used");
        findings.push(Finding::error(
            file,
            format!("{text}, the first because: {first}"),
        ));
    }
    if let Some(first) = &pictures.other_size.first {
        let text = of(pictures.other_size.count, "have another size than declared");
        findings.push(Finding::error(file, format!("{text}, the first: {first}")));
    }
    findings.extend(turned(dataset, pictures));
    if let Some((path, [low, high])) = &pictures.narrow.first {
        let text = of(
            pictures.narrow.count,
            "hold 16-bit samples that become next to one grey level",
        );
        let first = format!("first: {}, {low} to {high}", path.display());
        let text = format!("{text} ({first}): set `data.sixteen_bit`");
        findings.push(Finding::warning(file, text));
    }
    findings
}

/// What to say of pictures with an EXIF orientation.
fn turned(dataset: &CocoDataset, pictures: &Pictures) -> Option<Finding> {
    let file = dataset.annotations();
    let of = |count: usize| format!("{count} of {} pictures", pictures.looked);
    let applied = dataset.config().decoding.exif == Exif::Apply;
    match (&pictures.doubtful.first, &pictures.oriented.first) {
        (Some((path, orientation)), _) => {
            let what = match applied {
                true => "are turned upright, and their size does not tell whether their boxes are",
                false => "have an EXIF orientation that is not applied",
            };
            let text = format!(
                "{} {what}: look whether boxes lie on their objects (first: {}, EXIF orientation \
                 {orientation})",
                of(pictures.doubtful.count),
                path.display()
            );
            Some(Finding::warning(file, text))
        }
        (None, Some((path, _))) => {
            let count = of(pictures.oriented.count);
            let text = format!("{count} are turned upright (first: {})", path.display());
            Some(Finding::note(file, text))
        }
        (None, None) => None,
    }
}

fn balance(set: &SetHealth, dataset: &CocoDataset) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut note = |text| findings.push(Finding::note(dataset.annotations(), text));
    if set.images_without_boxes > 0 {
        note(format!(
            "{} of {} images have no box: training leaves them out unless `data.filter_empty = \
             false`",
            set.images_without_boxes, set.images
        ));
    }
    let some = || set.classes.iter().filter(|class| class.boxes > 0);
    let few: Vec<String> = some()
        .filter(|class| class.boxes < FEW)
        .map(|class| format!("`{}` {}", class.name, class.boxes))
        .collect();
    if !few.is_empty() {
        const SHOWN: usize = 10;
        let rest = if few.len() > SHOWN { ", ..." } else { "" };
        let shown = few[..few.len().min(SHOWN)].join(", ");
        let count = counted(few.len(), "class has", "classes have");
        note(format!("{count} fewer than {FEW} boxes: {shown}{rest}"));
    }
    let (most, least) = (
        some().max_by_key(|class| class.boxes),
        some().min_by_key(|class| class.boxes),
    );
    if let (Some(most), Some(least)) = (most, least)
        && most.boxes >= UNBALANCED * least.boxes
    {
        note(format!(
            "`{}` has {} boxes, {} times as many as `{}`",
            most.name,
            most.boxes,
            most.boxes / least.boxes,
            least.name
        ));
    }
    findings
}

/// Classes that two sets do not share.
pub(super) fn other_classes(train: &CocoDataset, other: &CocoDataset) -> Option<Finding> {
    let names = |dataset: &CocoDataset| -> Vec<String> {
        dataset
            .classes()
            .iter()
            .map(|class| class.name.clone())
            .collect()
    };
    let (expected, found) = (names(train), names(other));
    let lacks = |of: &[String], in_: &[String]| -> Vec<String> {
        let missing = of.iter().filter(|name| !in_.contains(name));
        missing.take(5).map(|name| format!("`{name}`")).collect()
    };
    let (missing, more) = (lacks(&expected, &found), lacks(&found, &expected));
    let train = train.annotations().display();
    let text = match (&missing[..], &more[..]) {
        ([], []) if expected == found => return None,
        ([], []) => {
            let text =
                format!("its classes are those of {train} in another order: matched by name");
            return Some(Finding::note(other.annotations(), text));
        }
        (missing, []) => format!("it lacks the classes {} of {train}", missing.join(", ")),
        (_, more) => format!("{train} lacks its classes {}", more.join(", ")),
    };
    Some(Finding::error(other.annotations(), text))
}
