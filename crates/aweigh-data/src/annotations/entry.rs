//! The records of an annotation file.

/// An image of an annotation file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEntry {
    /// The `id`.
    pub id: i64,
    /// The `file_name`; empty where there is none.
    pub file_name: String,
    /// Width in pixels; 0 where there is none.
    pub width: u32,
    /// Height in pixels; 0 where there is none.
    pub height: u32,
}

/// An annotation with a usable box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Annotation {
    /// Position in the file's list, from 0.
    pub index: usize,
    /// The `id`, where it is a whole number. Nothing but messages uses it.
    pub id: Option<i64>,
    /// The `image_id`.
    pub image_id: i64,
    /// The `category_id`.
    pub category_id: i64,
    /// `[x, y, width, height]` in pixels; that of the `segmentation` where there is no `bbox`.
    pub bbox: [f64; 4],
    /// In square pixels; where there is no `area`, that of the `segmentation` or of the box.
    pub area: f64,
    /// `iscrowd`.
    pub crowd: bool,
    /// `ignore`, a key of other tools.
    pub ignore: bool,
}

impl Annotation {
    /// How messages name it.
    pub(crate) fn name(&self) -> String {
        name_of(self.id, self.index)
    }
}

/// An annotation by its id, or else by its position.
pub(super) fn name_of(id: Option<i64>, index: usize) -> String {
    match id {
        Some(id) => format!("annotation {id}"),
        None => format!("`annotations[{index}]`"),
    }
}

/// One class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// The `id` in the annotation file.
    pub id: i64,
    /// The name.
    pub name: String,
}
