//! Points, anchors, valid flags and both codecs against mmdetection.
//!
//! Outside is `tblr/encoded`: FSAF decodes its predictions to compare boxes, and encodes none.

use aweigh_geometry::codec::{TblrCodec, decode_distance_host, encode_distance};
use aweigh_geometry::points::{pyramid_points, pyramid_strides, square_anchors};
use aweigh_geometry::{GroundTruth, HostTruth, ImageSize, LevelShape, PointOrigin};
use aweigh_testkit::{Case, Report, Tolerance, cases, device, understand};
use burn::tensor::Tensor;

/// Products of small integers and halves: nothing is rounded.
const EXACT: Tolerance = Tolerance::new(0.0, 0.0);
/// Coordinates of some hundred pixels after at most four roundings of f32 (2e-5 px each).
const PIXELS: Tolerance = Tolerance::new(6e-5, 3e-7);
/// Distances restored from decoded boxes.
const RESTORED: Tolerance = Tolerance::new(6e-5, 1e-6);

#[test]
fn parity_priors() {
    let keep = |meta: &serde_json::Value| meta["kind"] == "priors_and_coders";
    for case in cases(env!("CARGO_MANIFEST_DIR"), keep) {
        let options = super::known(&["sizes", "strides", "pad_shape"]);
        understand(&case, &case.meta, &options);
        names_are_understood(&case);
        let mut report = Report::new(&case);
        for (index, level) in levels(&case).into_iter().enumerate() {
            check_points(&case, &mut report, index, level);
            check_priors(&case, &mut report, index, level);
        }
        let [distance_size, tblr_size] = clip_sizes(&case);
        check_distance(&case, &mut report, distance_size);
        check_tblr(&case, &mut report, tblr_size);
        report.finish();
    }
}

fn names_are_understood(case: &Case) {
    let groups = ["points/", "anchors/", "valid/", "distance/", "tblr/"];
    for name in case.names("") {
        let understood = groups.iter().any(|prefix| name.starts_with(prefix));
        assert!(understood, "{}: unknown tensor `{name}`", case.name);
    }
}

fn integers(value: &serde_json::Value) -> Vec<usize> {
    let list = value.as_array().expect("a list of integers");
    let integer = |v: &serde_json::Value| v.as_u64().expect("an integer") as usize;
    list.iter().map(integer).collect()
}

fn levels(case: &Case) -> Vec<LevelShape> {
    let sizes = case.meta["sizes"].as_array().expect("a list of sizes");
    let strides = integers(&case.meta["strides"]);
    assert_eq!(sizes.len(), strides.len(), "{}: levels", case.name);
    let level = |(size, stride): (&serde_json::Value, &usize)| {
        let size = integers(size);
        LevelShape::new(size[0], size[1], *stride)
    };
    sizes.iter().zip(&strides).map(level).collect()
}

/// The sizes that decoded boxes are clipped to, distance codec first: the two pairs of numbers in
/// the note, each `(height, width)`.
fn clip_sizes(case: &Case) -> [ImageSize; 2] {
    let note = case.meta["note"].as_str().expect("a note");
    let pair = |text: &str| {
        let (height, width) = text.split_once(')')?.0.split_once(", ")?;
        Some(ImageSize::new(height.parse().ok()?, width.parse().ok()?))
    };
    let pairs: Vec<ImageSize> = note.split('(').filter_map(pair).collect();
    pairs
        .try_into()
        .unwrap_or_else(|_| panic!("{}: the note names two sizes: {note}", case.name))
}

fn check_points(case: &Case, report: &mut Report, index: usize, level: LevelShape) {
    for name in case.names("points/") {
        let parts: Vec<&str> = name.split('/').collect();
        let origin = match parts[1] {
            "0.0" => PointOrigin::Corner,
            "0.5" => PointOrigin::Center,
            other => panic!("{}: unknown point offset {other}", case.name),
        };
        if parts[2].parse() != Ok(index) {
            continue;
        }
        let points = pyramid_points(&[level], origin, &device());
        let strides = pyramid_strides(&[level], &device()).unsqueeze_dim::<2>(1);
        let rows = Tensor::cat(vec![points, strides.clone(), strides], 1);
        report.tensor(rows, &name, EXACT);
    }
}

fn check_priors(case: &Case, report: &mut Report, index: usize, level: LevelShape) {
    let anchors = square_anchors(&[level], 1.0, PointOrigin::Corner, &device());
    report.tensor(anchors, &format!("anchors/{index}"), EXACT);
    let pad = integers(&case.meta["pad_shape"]);
    let image = GroundTruth::from_host(&[HostTruth::default()], &device());
    let valid = image.with_sizes(&[[pad[0], pad[1]]]).covers(&[level]);
    let valid: Vec<i64> = valid.into_data().iter::<bool>().map(i64::from).collect();
    let name = format!("valid/{index}");
    report.equal(&name, &valid, &case.ints(&name));
}

fn check_distance(case: &Case, report: &mut Report, size: ImageSize) {
    let tensor = |name: &str| case.tensor::<2>(name, &device());
    for (size, name) in [
        (None, "distance/decoded"),
        (Some(size), "distance/decoded_clipped"),
    ] {
        let centers = case.f32s("distance/points");
        let host: Vec<f64> = centers
            .as_chunks::<2>()
            .0
            .iter()
            .zip(case.boxes("distance/pred"))
            .flat_map(|(point, distances)| decode_distance_host(*point, distances, size))
            .map(f64::from)
            .collect();
        report.close(name, &host, &case.f64s(name), PIXELS);
    }
    let encoded = encode_distance(tensor("distance/points"), tensor("distance/decoded"));
    report.tensor(encoded, "distance/pred", RESTORED);
}

fn check_tblr(case: &Case, report: &mut Report, size: ImageSize) {
    let tensor = |name: &str| case.tensor::<2>(name, &device());
    let codec = TblrCodec::default();
    let (priors, pred) = (tensor("tblr/priors"), tensor("tblr/pred"));
    for (size, name) in [(None, "tblr/decoded"), (Some(size), "tblr/decoded_clipped")] {
        let decoded = codec.decode(priors.clone(), pred.clone(), size);
        report.tensor(decoded, name, PIXELS);
        let host: Vec<f64> = case
            .boxes("tblr/priors")
            .into_iter()
            .zip(case.boxes("tblr/pred"))
            .flat_map(|(prior, encoded)| codec.decode_host(prior, encoded, size))
            .map(f64::from)
            .collect();
        report.close(&format!("{name}_host"), &host, &case.f64s(name), PIXELS);
    }
}
