//! Datasets on disk, good and broken, through the public interface.

mod dataset;
mod fixture;
mod loader;
