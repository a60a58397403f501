//! Datasets on disk, good and broken, through the public interface.

mod annotations;
mod augment;
mod concat;
mod dataset;
mod fixture;
mod formats;
mod health;
mod loader;
mod look;
mod parity;
mod pictures;
mod split;
