//! Orientation of pictures.

use serde::{Deserialize, Serialize};

/// What becomes of the EXIF orientation of a file, by which viewers and labelling tools turn it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exif {
    /// The picture is turned upright: boxes are those that a person sees.
    #[default]
    Apply,
    /// The pixels stay as they are stored: boxes are those of a tool that does the same.
    Ignore,
    /// A picture that would have to be turned is an error.
    Error,
}
