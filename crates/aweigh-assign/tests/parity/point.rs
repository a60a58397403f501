//! The point assigner of RepPoints against mmdetection.

use aweigh_geometry::LevelShape;
use aweigh_geometry::points::{PointOrigin, pyramid_points, pyramid_strides};
use aweigh_testkit::options::size;
use aweigh_testkit::{Report, Tolerance, device};
use burn::tensor::Tensor;
use serde_json::Value;

use super::{Run, for_each};
use crate::options;

/// Products of small integers: nothing is rounded.
const EXACT: Tolerance = Tolerance::new(0.0, 0.0);

#[test]
fn parity_point_assigner() {
    for_each("PointAssigner", |run, report| {
        let assigner = options::point(run.case, run.options);
        let levels = levels(run);
        let targets = assigner.assign(&levels, run.truth.covers(&levels), &run.truth);
        check_points(run, report, &levels);

        let positive: Vec<bool> = targets.positive.into_data().iter::<bool>().collect();
        let slot: Vec<i64> = targets.slot.into_data().iter::<i64>().collect();
        // The reference does not look at ignore regions.
        run.compare_slots(report, &positive, &vec![false; slot.len()], &slot);
    });
}

/// The levels whose points the case assigns.
fn levels(run: &Run<'_>) -> Vec<LevelShape> {
    let meta = &run.case.meta;
    let integers = |value: &Value| -> Vec<usize> {
        let list = value.as_array().expect("a list of integers");
        list.iter().map(size).collect()
    };
    let strides = integers(&meta["strides"]);
    let sizes = meta["sizes"].as_array().expect("sizes");
    let mut levels: Vec<LevelShape> = sizes
        .iter()
        .map(integers)
        .zip(strides)
        .map(|(size, stride)| LevelShape::new(size[0], size[1], stride))
        .collect();
    match priors(run) {
        "points" => {}
        "points without the last level" => _ = levels.pop(),
        other => panic!("{}: priors `{other}`", run.case.name),
    }
    levels
}

/// What the assigner is run on: by its name, or by the beginning of its name and a star.
fn priors<'a>(run: &Run<'a>) -> &'a str {
    let name = run.prefix.split('/').next().unwrap_or_default();
    let all = run.case.meta["priors"].as_object().expect("priors by name");
    let found = all.iter().find(|(key, _)| match key.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == key.as_str(),
    });
    let (_, priors) = found.unwrap_or_else(|| panic!("{}: priors of `{name}`", run.case.name));
    priors.as_str().expect("a description")
}

/// The points that the reference was given, each with its stride.
fn check_points(run: &Run<'_>, report: &mut Report<'_>, levels: &[LevelShape]) {
    let points = pyramid_points(levels, PointOrigin::Corner, &device());
    let strides = pyramid_strides(levels, &device()).unsqueeze_dim::<2>(1);
    let table: Vec<f64> = Tensor::cat(vec![points, strides], 1)
        .into_data()
        .iter::<f64>()
        .collect();
    let expected = run.case.f64s("points");
    report.close("points", &table, &expected[..table.len()], EXACT);
}
