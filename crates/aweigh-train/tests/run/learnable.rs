//! Boxes that nothing learns are counted before the first step.

use aweigh_data::{CocoDataset, Purpose};
use aweigh_testkit::device;
use aweigh_train::config::Experiment;
use aweigh_train::explain::AnnotatedImage;
use aweigh_train::learnable::Survey;
use serde_json::{Value, json};

use super::overfit::METHODS;
use super::support::Place;

/// The pyramid of [`METHODS`].
const LEVELS: [&str; 2] = ["detector.neck.start_level=0", "detector.neck.num_outs=4"];

/// The methods of [`METHODS`] on a pyramid of eight channels.
fn methods() -> impl Iterator<Item = String> {
    METHODS.iter().map(|table| {
        format!(
            "{table}\nfeat_channels = 8\nstacked_convs = 1\n\
             norm = {{ group_norm = {{ groups = 4 }} }}"
        )
    })
}

/// Gives every training image these boxes `[x, y, w, h]`, of its first class and its second in
/// turn.
fn annotate(place: &Place, boxes: &[[f32; 4]]) {
    let path = place.data().join("annotations/instances_train.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut file: Value = serde_json::from_str(&text).unwrap();
    let images = file["images"].as_array().unwrap().iter();
    let places = images.flat_map(|image| boxes.iter().map(move |bbox| (image["id"].clone(), bbox)));
    let annotations = places.enumerate().map(|(i, (image, bbox))| {
        let category = &file["categories"][i % 2]["id"];
        json!({"id": i + 1, "image_id": image, "category_id": category, "bbox": bbox,
            "area": bbox[2] * bbox[3], "iscrowd": 0})
    });
    let annotations: Vec<Value> = annotations.collect();
    file["annotations"] = annotations.into();
    std::fs::write(&path, file.to_string()).unwrap();
}

fn survey(experiment: &Experiment) -> Survey {
    let dataset = CocoDataset::open_all(&experiment.data.train_sets(), Purpose::Train).unwrap();
    Survey::new(experiment, &dataset).unwrap()
}

#[test]
fn boxes_of_two_pixels_between_all_points_are_told() {
    let place = Place::with_images(8);
    annotate(
        &place,
        &[
            [8.0, 8.0, 2.0, 2.0],
            [24.0, 8.0, 2.0, 2.0],
            [40.0, 32.0, 2.0, 2.0],
        ],
    );
    let experiment = place.experiment("a", &[]);
    let survey = survey(&experiment);
    assert_eq!((survey.images, survey.looked_at), (8, 8));
    let text = survey.warning(&experiment).unwrap().expect("a warning");
    let names: Vec<&str> = survey.classes.iter().map(|c| c.name.as_str()).collect();
    let expected = format!(
        "most boxes train nothing: 24 of 24 boxes are learnt by no point of the pyramid at this \
         input size (first: box [8.0, 8.0, 2.0, 2.0] of 000001.png, 2 x 2 px as the network sees \
         it): {} 12 of 12, {} 12 of 12; 24 too small or too thin for any point: raise \
         data.transform.short_edge (now 64) and long_edge (now 96), or lower \
         detector.neck.start_level (now 1)",
        names[0], names[1]
    );
    assert_eq!(text, expected);
}

#[test]
fn boxes_that_are_learnt_are_passed_over_in_silence() {
    let place = Place::with_images(2);
    annotate(&place, &[[8.0, 8.0, 24.0, 24.0], [40.0, 8.0, 30.0, 40.0]]);
    for method in methods() {
        let experiment = place.experiment_of(&method, "a", &LEVELS);
        let survey = survey(&experiment);
        assert_eq!(survey.boxes(), 4);
        assert_eq!(survey.warning(&experiment).unwrap(), None, "{method}");
    }
}

#[test]
fn the_causes_are_counted_apart() {
    let place = Place::with_images(2);
    // Between all points, larger than every range, and one box twice.
    annotate(
        &place,
        &[
            [9.0, 9.0, 2.0, 2.0],
            [0.0, 0.0, 96.0, 64.0],
            [40.0, 40.0, 8.0, 8.0],
            [40.0, 40.0, 8.0, 8.0],
        ],
    );
    let ranges = "detector.fcos.regress_ranges=[[-1.0, 16.0], [16.0, 24.0], [24.0, 32.0]]";
    let experiment = place.experiment(
        "a",
        &[ranges, "data.transform.multi_scale={ choice = [64] }"],
    );
    let text = survey(&experiment)
        .warning(&experiment)
        .unwrap()
        .expect("a warning");
    for part in [
        "6 of 8 boxes are learnt by no point",
        "2 too small or too thin for any point: raise data.transform.short_edge (now 64) and \
         long_edge (now 96) and multi_scale, or",
        "2 of a size that no level is for: widen detector.fcos.regress_ranges",
        "2 where other boxes take every point: raise",
    ] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

/// Boxes of the training set that `aweigh explain` finds without a positive point.
fn explained(experiment: &Experiment, images: usize) -> usize {
    let split = &experiment.data.train.all()[0];
    let numbers = 1..=images;
    let of_image = |number: usize| {
        let path = split.images.join(format!("{number:06}.png"));
        let image = AnnotatedImage::open(&split.annotations, &path).unwrap();
        let detector = image.untrained(experiment, &device()).unwrap();
        let found = image.explain(&detector, experiment, &device()).unwrap();
        // What the second stage of RepPoints learns depends on predictions.
        let geometric = match found.method {
            "RepPoints" => &found.explanation.stages[..1],
            _ => &found.explanation.stages,
        };
        let levels: Vec<_> = geometric.iter().flat_map(|stage| &stage.levels).collect();
        let learnt = |slot: &usize| levels.iter().any(|level| level.trained_by(*slot) > 0);
        (0..found.truth.boxes.len())
            .filter(|slot| !learnt(slot))
            .count()
    };
    numbers.map(of_image).sum()
}

#[test]
fn as_many_boxes_are_counted_as_explained() {
    let place = Place::with_images(3);
    // The first two are the same.
    annotate(
        &place,
        &[
            [9.0, 9.0, 2.0, 2.0],
            [9.0, 9.0, 2.0, 2.0],
            [50.0, 20.0, 3.0, 40.0],
            [30.5, 30.5, 20.0, 20.0],
        ],
    );
    let size = "data.transform.short_edge=40";
    let fcos = place.experiment("a", &[size]);
    let changes = [LEVELS.as_slice(), &[size]].concat();
    let others = methods().map(|method| place.experiment_of(&method, "a", &changes));
    for experiment in std::iter::once(fcos).chain(others) {
        let survey = survey(&experiment);
        let title = experiment.detector.method().unwrap().title();
        assert_eq!(survey.unlearnt(), explained(&experiment, 3), "{title}");
        assert!(survey.unlearnt() >= 3, "{title}");
    }
}
