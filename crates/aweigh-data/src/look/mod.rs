//! A look at data before anything is trained on it: what is probably a mistake is said, counted.

mod boxes;
mod classes;
mod names;
mod splits;

pub(crate) use boxes::{BoxLook, Fate, repeated_boxes};
pub(crate) use classes::classes;
pub use names::check_files;
pub(crate) use names::repeated_files;
pub use splits::shared_pictures;

/// `1 box`, `2 boxes`.
fn counted(count: usize, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}
