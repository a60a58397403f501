//! What the user has been told, so that it is said once in a run.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::Pictures;
use crate::remark::Remark;

/// The kinds of remarks that the user has met in a run.
#[derive(Debug, Default)]
pub(super) struct Told {
    orientation: AtomicBool,
    narrow: AtomicBool,
}

impl Told {
    /// Whether a remark is the first of its kind; from now on it is not.
    pub(super) fn is_new(&self, remark: Remark) -> bool {
        let told = match remark {
            Remark::Orientation(_) => &self.orientation,
            Remark::Narrow(_) => &self.narrow,
        };
        !told.swap(true, Ordering::Relaxed)
    }

    /// Takes note of every kind that was seen.
    pub(super) fn all(&self, pictures: &Pictures) {
        let seen = |count: usize, told: &AtomicBool| told.fetch_or(count > 0, Ordering::Relaxed);
        seen(pictures.doubtful.count, &self.orientation);
        seen(pictures.narrow.count, &self.narrow);
    }
}
