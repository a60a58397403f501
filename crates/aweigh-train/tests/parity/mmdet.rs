//! From the options of an mmdetection config to a detector's.

use std::path::Path;

use aweigh_detectors::DetectorConfig;
use aweigh_testkit::Case;
use aweigh_train::config::mmdet;

/// The detector of the case's `model`.
pub(super) fn detector(case: &Case) -> DetectorConfig {
    let detector = mmdet::detector(&case.meta["model"], Path::new(&case.name));
    detector.unwrap_or_else(|error| panic!("{error}"))
}
