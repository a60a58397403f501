//! YOLO's text files: a line for each object, its numbers relative to the upright picture.
//!
//! Layouts: that of Ultralytics (`data.yaml`; the labels of `images/a.jpg` are `labels/a.txt`,
//! <https://docs.ultralytics.com/datasets/detect/>), and a folder with `classes.txt`. A picture
//! without a file of labels has no objects. Polygons and oriented boxes become the boxes around
//! them.

mod lines;
mod read;
pub(super) mod write;
mod yaml;

pub(super) use read::{is_yolo, read};
