//! A look at annotations before anything is trained on them: what is probably a mistake is said,
//! counted.

mod boxes;
mod classes;
mod files;

pub(crate) use boxes::{BoxLook, Fate, repeated_boxes};
pub(crate) use classes::classes;
pub(crate) use files::repeated_files;
