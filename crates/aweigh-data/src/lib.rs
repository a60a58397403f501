//! COCO datasets, decoding, transforms, batching and the deterministic parallel loader.
//!
//! The way of an image: [`CocoDataset`] checks the annotation file, [`Loader`] decodes, augments,
//! resizes, flips, normalises and pads, and yields [`HostBatch`]es. A batch depends only on the dataset, the
//! configuration, the seed, the epoch and its number in the epoch: never on the number of workers
//! or their order. Everything here lives in host memory; no device is involved.
//!
//! Boxes are `[x1, y1, x2, y2]` in absolute pixels with continuous coordinates. COCO's
//! `[x, y, w, h]` exists only in files. Classes are `0..C` in the order of rising category ids.

pub mod annotations;
mod augment;
mod batch;
mod dataset;
mod decode;
mod error;
mod evenly;
mod exif;
mod files;
mod finding;
pub mod formats;
pub mod health;
mod loader;
mod look;
mod ordered;
mod output;
mod pictures;
mod plain;
mod random;
mod reader;
mod record;
mod remark;
mod resize;
mod sampler;
mod sampling;
pub mod split;
pub mod synth;
mod transform;

pub use annotations::Category;
pub use augment::{AugmentConfig, LargeScaleJitter, MinIouCrop, Mixup, Mosaic, Photometric};
pub use batch::{HostBatch, ImageMeta};
pub use dataset::{CocoDataset, DatasetConfig, DatasetPart, DatasetStats, Purpose};
pub use decode::{DecodeConfig, DecodedImage, SixteenBit, Stored, decode};
pub use error::DataError;
pub use evenly::evenly_spread;
pub use exif::Exif;
pub use files::{check_files, shared_pictures};
pub use finding::{Finding, Severity};
pub use loader::{Epoch, Loader, LoaderConfig, OnBadImage, Part, Share};
pub use output::Existing;
pub use pictures::{Pictures, Seen, look_into, measure_range, read_picture};
pub use record::ImageRecord;
pub use resize::Resize;
pub use sampling::{SamplingConfig, SamplingKind};
pub use transform::{ChannelOrder, MultiScale, PlainTruth, TransformConfig};
