//! Effective and shadowed regions.

use aweigh_testkit::{Report, device};
use burn::tensor::{Bool, Tensor};

use super::{Run, for_each};
use crate::options;

#[test]
fn parity_center_region() {
    for_each("CenterRegionAssigner", check);
}

fn check(run: &Run<'_>, report: &mut Report) {
    let priors = run.case.tensor::<2>("anchors", &device());
    let [points, _] = priors.dims();
    let usable = Tensor::<2, Bool>::full([1, points], true, &device());
    let labels = run.case.ints("gt_labels");
    let classes = labels.iter().max().map_or(1, |last| *last as usize + 1);
    let assigner = options::center_region(run.case, run.options);
    let regions = assigner.assign(&priors, usable, classes, &run.truth);

    let effective: Vec<bool> = regions
        .matches
        .positive
        .into_data()
        .iter::<bool>()
        .collect();
    let ignored: Vec<bool> = regions.matches.ignored.into_data().iter::<bool>().collect();
    let slot: Vec<i64> = regions.matches.slot.into_data().iter::<i64>().collect();
    run.compare_slots(report, &effective, &ignored, &slot);

    let of_points: Vec<i64> = regions.matches.labels.into_data().iter::<i64>().collect();
    let got: Vec<i64> = (0..points)
        .map(|p| if effective[p] { of_points[p] } else { -1 })
        .collect();
    let name = format!("{}/labels", run.prefix);
    report.equal(&name, &got, &run.case.ints(&name));

    // Pairs of prior and class; the reference repeats a pair that two boxes of a class shade.
    let name = format!("{}/shadowed", run.prefix);
    let stored = run.case.ints(&name);
    let mut expected = vec![0; classes * points];
    for [prior, class] in stored.as_chunks::<2>().0 {
        expected[*class as usize * points + *prior as usize] = 1;
    }
    let shadowed = regions.shadowed.into_data();
    let got: Vec<i64> = shadowed.iter::<bool>().map(i64::from).collect();
    report.equal(&name, &got, &expected);
}
