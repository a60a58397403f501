//! Assignment by overlap.

use aweigh_testkit::{Report, device};

use super::{Run, for_each};
use crate::options;

#[test]
fn parity_max_iou() {
    for_each("MaxIoUAssigner", check);
}

fn check(run: &Run<'_>, report: &mut Report) {
    let boxes = run.case.tensor::<2>("proposals", &device());
    let assigner = options::max_iou(run.case, run.options);
    let targets = assigner.assign(boxes.unsqueeze_dim(0), None, &run.truth);
    let positive: Vec<bool> = targets.positive.into_data().iter::<bool>().collect();
    let ignored: Vec<bool> = targets.ignored.into_data().iter::<bool>().collect();
    let slot: Vec<i64> = targets.slot.into_data().iter::<i64>().collect();
    run.compare_slots(report, &positive, &ignored, &slot);
}
