//! Ground truth of a case, for the tests of whole detectors too.

use aweigh_geometry::HostTruth;
use aweigh_testkit::Case;

/// The boxes of an image, and the regions that its case wants ignored.
pub(crate) fn truth(case: &Case, image: usize) -> HostTruth {
    let prefix = format!("gt/{image}/");
    let mut truth = HostTruth::default();
    for name in case.names(&prefix) {
        match &name[prefix.len()..] {
            "bboxes" => truth.boxes = case.boxes(&name),
            "labels" => truth.labels = case.ints(&name).iter().map(|l| *l as usize).collect(),
            "ignore_bboxes" | "bboxes_ignore" => truth.ignore = case.boxes(&name),
            _ => panic!("{}: tensor `{name}` is not understood", case.name),
        }
    }
    truth
}
