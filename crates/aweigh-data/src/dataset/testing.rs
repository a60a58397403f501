//! Datasets without files.

use aweigh_geometry::HostTruth;

use super::{CocoDataset, DatasetConfig, DatasetPart, DatasetStats};
use crate::ImageRecord;
use crate::annotations::Category;

/// A wide image with boxes of these classes.
pub(crate) fn image(labels: &[usize]) -> ImageRecord {
    sized((40, 30), labels)
}

/// An image of this width and height with boxes of these classes.
pub(crate) fn sized((width, height): (u32, u32), labels: &[usize]) -> ImageRecord {
    ImageRecord {
        id: 0,
        file_name: String::new(),
        width,
        height,
        truth: HostTruth {
            boxes: vec![[0.0, 0.0, 2.0, 2.0]; labels.len()],
            labels: labels.to_vec(),
            ignore: Vec::new(),
        },
    }
}

/// A dataset of these images, with the classes `c0` to `c2`.
pub(crate) fn dataset(images: Vec<ImageRecord>) -> CocoDataset {
    in_parts(vec![(1, images)])
}

/// A dataset of annotation files with a repeat and images each.
pub(crate) fn in_parts(parts: Vec<(usize, Vec<ImageRecord>)>) -> CocoDataset {
    let class = |id: i64| Category {
        id,
        name: format!("c{id}"),
    };
    let mut dataset = CocoDataset {
        parts: Vec::new(),
        classes: (0..3).map(class).collect(),
        images: Vec::new(),
        stats: DatasetStats::default(),
        findings: Vec::new(),
    };
    for (repeat, images) in parts {
        let start = dataset.images.len();
        dataset.images.extend(images);
        dataset.parts.push(DatasetPart {
            config: DatasetConfig {
                repeat,
                ..DatasetConfig::new("a.json", "images")
            },
            digest: String::new(),
            images: start..dataset.images.len(),
            boxes: 0,
        });
    }
    dataset
}
