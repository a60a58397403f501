//! Several annotation files as one dataset.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;

use super::{CocoDataset, DatasetConfig, DatasetStats};
use crate::DataError;
use crate::annotations::Category;
use crate::files::paths;
use crate::finding::{Counter, Finding, counted};

/// One annotation file of a dataset, with its folder of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetPart {
    /// The configuration that it was opened with.
    pub config: DatasetConfig,
    /// SHA-256 of the annotation file, in hexadecimal.
    pub digest: String,
    /// The places of its images among those of the dataset.
    pub images: Range<usize>,
    /// Boxes in the images in use.
    pub boxes: usize,
}

impl CocoDataset {
    /// Puts datasets together, whose images follow each other (mmdetection 3.x `ConcatDataset`),
    /// and logs what differs between them.
    ///
    /// Classes are those of the first dataset, then what each further one adds: equal names are one
    /// class, whatever their ids. A class whose id is taken gets the next free one.
    ///
    /// # Errors
    /// If two classes of one dataset have the same name.
    ///
    /// # Panics
    /// If there is no dataset.
    pub fn concat(datasets: Vec<Self>) -> Result<Self, DataError> {
        assert!(!datasets.is_empty(), "expected at least one dataset");
        if datasets.len() == 1 {
            return Ok(datasets.into_iter().next().expect("one dataset"));
        }
        datasets.iter().try_for_each(Self::check_names)?;
        let classes = union(&datasets);
        let mut findings: Vec<Finding> = datasets
            .iter()
            .filter_map(|dataset| dataset.undeclared(&classes))
            .collect();
        findings.extend(common_pictures(&datasets));
        findings.iter().for_each(Finding::log);
        let mut all = Self {
            parts: Vec::new(),
            classes,
            images: Vec::new(),
            stats: DatasetStats::default(),
            findings: Vec::new(),
        };
        for mut dataset in datasets {
            dataset.adopt_classes(&all.classes);
            all.append(dataset);
        }
        all.findings.extend(findings);
        all.log_together();
        Ok(all)
    }

    /// Takes these classes in place of its own, and relabels the boxes by name. False, and nothing is
    /// changed, where one of its own is not among them.
    pub fn adopt_classes(&mut self, classes: &[Category]) -> bool {
        let places: HashMap<&str, usize> = classes
            .iter()
            .enumerate()
            .map(|(place, class)| (class.name.as_str(), place))
            .collect();
        let label = |class: &Category| places.get(class.name.as_str()).copied();
        let labels: Option<Vec<usize>> = self.classes.iter().map(label).collect();
        let Some(labels) = labels else {
            return false;
        };
        self.relabel(&labels);
        self.classes = classes.to_vec();
        true
    }

    /// Adds the images of a dataset of the same classes.
    fn append(&mut self, dataset: Self) {
        let start = self.images.len();
        self.parts.extend(dataset.parts.into_iter().map(|part| {
            let images = part.images.start + start..part.images.end + start;
            DatasetPart { images, ..part }
        }));
        self.images.extend(dataset.images);
        self.stats.add(&dataset.stats);
        self.findings.extend(dataset.findings);
    }

    fn check_names(&self) -> Result<(), DataError> {
        let mut names = HashSet::new();
        let mut classes = self.classes.iter();
        match classes.find(|class| !names.insert(&class.name)) {
            None => Ok(()),
            Some(class) => Err(DataError::SharedName {
                path: self.annotations().to_path_buf(),
                name: class.name.clone(),
            }),
        }
    }

    /// What to say of classes that others have and this dataset does not.
    fn undeclared(&self, classes: &[Category]) -> Option<Finding> {
        const SHOWN: usize = 10;
        let own: HashSet<&str> = self.classes.iter().map(|c| c.name.as_str()).collect();
        let names = classes.iter().map(|class| class.name.as_str());
        let missing: Vec<String> = names
            .filter(|name| !own.contains(name))
            .map(|name| format!("`{name}`"))
            .collect();
        if missing.is_empty() {
            return None;
        }
        let rest = if missing.len() > SHOWN { ", ..." } else { "" };
        let text = format!(
            "does not have {} of the {} classes of all annotation files together: {}{rest}; \
             objects of these in its images count as background",
            missing.len(),
            classes.len(),
            missing[..missing.len().min(SHOWN)].join(", "),
        );
        Some(Finding::warning(self.annotations(), text))
    }

    fn log_together(&self) {
        let stats = &self.stats;
        tracing::info!(
            "{} annotation files together: {} images, {} classes, {} boxes, {} ignore regions",
            self.parts.len(),
            stats.images,
            self.classes.len(),
            stats.boxes,
            stats.ignore_regions,
        );
    }
}

/// The classes of all datasets, one of each name, in the order in which they come.
fn union(datasets: &[CocoDataset]) -> Vec<Category> {
    let (mut names, mut ids) = (HashSet::new(), HashSet::new());
    let mut classes = Vec::new();
    for class in datasets.iter().flat_map(|dataset| &dataset.classes) {
        if !names.insert(class.name.as_str()) {
            continue;
        }
        let free = |id: &i64| !ids.contains(id);
        let id = Some(class.id).filter(free).or_else(|| (1..).find(free));
        let id = id.expect("fewer classes than ids");
        ids.insert(id);
        classes.push(Category {
            id,
            ..class.clone()
        });
    }
    classes
}

/// What to say of pictures that several annotation files have: each of them once, at the file that
/// comes later.
fn common_pictures(datasets: &[CocoDataset]) -> Vec<Finding> {
    let mut owners: HashMap<PathBuf, usize> = HashMap::new();
    let mut findings = Vec::new();
    for (number, dataset) in datasets.iter().enumerate() {
        let mut common = Counter::default();
        for (path, image) in paths(dataset).into_iter().zip(&dataset.images) {
            let owner = *owners.entry(path).or_insert(number);
            if owner != number {
                let other = datasets[owner].annotations();
                common.add(|| format!("`{}`, which is in {}", image.file_name, other.display()));
            }
        }
        if let Some(first) = common.first() {
            let count = counted(common.count(), "image is", "images are");
            let text = format!(
                "{count} in another annotation file as well (first: {first}): in each of them, \
                 the objects of the other file count as background"
            );
            findings.push(Finding::warning(dataset.annotations(), text));
        }
    }
    findings
}
