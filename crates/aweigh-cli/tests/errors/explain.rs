//! What `aweigh explain` refuses.

use std::path::Path;

use super::{refuse, write};
use crate::support::project;

/// `aweigh explain` of an image with annotations and more arguments.
fn explain<'a>(image: &'a str, annotations: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["explain", "--config", "tiny.toml", image];
    [&args, ["--annotations", annotations].as_slice(), more].concat()
}

/// The name of the first validation image, which a training image has as well.
fn first_image(folder: &Path) -> String {
    let images = std::fs::read_dir(folder.join("shapes/val")).expect("readable");
    let name = images.map(|entry| entry.expect("readable").file_name());
    let name = name.min().expect("an image").into_string().expect("UTF-8");
    assert!(folder.join("shapes/train").join(&name).is_file(), "{name}");
    name
}

#[test]
fn explain_takes_no_image_for_another() {
    let folder = project();
    let folder = folder.path();
    let name = first_image(folder);
    let val = "shapes/annotations/instances_val.json";
    let check = |image: &str, annotations: &str, part: &str| {
        refuse(folder, &explain(image, annotations, &[]), &[part]);
    };
    check(
        &format!("shapes/train/{name}"),
        "shapes/../shapes/annotations/instances_val.json",
        &format!(
            "error: shapes/train/{name} is not in shapes/val, the folder that the configuration \
             has for shapes/../{val}"
        ),
    );
    check(
        "shapes/val",
        val,
        "error: shapes/val: expected an image, but this is a folder",
    );
    let image = format!("shapes/val/{name}");
    let text = std::fs::read_to_string(folder.join(val)).expect("readable");
    let second = text.replacen("000002.png", "./000001.png", 1);
    assert!(name == "000001.png" && second != text, "{name}: {text}");
    write(folder, "twice.json", &second);
    check(
        &image,
        "twice.json",
        &format!("error: {image} is in twice.json more than once: the images 1, 2 have"),
    );
}

#[test]
fn explain_overwrites_none_of_its_inputs() {
    let folder = project();
    let folder = folder.path();
    let image = format!("shapes/val/{}", first_image(folder));
    let stem = Path::new(&image).file_stem().expect("a name");
    let annotations = format!("{}_explained.json", stem.display());
    let val = folder.join("shapes/annotations/instances_val.json");
    std::fs::copy(&val, folder.join(&annotations)).expect("copies");
    let over = format!("error: ./{annotations} would be overwritten: choose another --out");
    let args = explain(&image, &annotations, &["--out", "."]);
    refuse(folder, &args, &[&over]);
    let same = |file: &str| std::fs::read(folder.join(file)).expect("readable");
    assert_eq!(same(&annotations), std::fs::read(val).expect("readable"));
}

#[test]
fn wrong_inputs_of_explain_are_named() {
    let folder = project();
    let folder = folder.path();
    let val = "shapes/annotations/instances_val.json";
    let image = format!("shapes/val/{}", first_image(folder));
    let check = |args: &[&str], parts: &[&str]| refuse(folder, args, parts);
    check(
        &explain("none.png", val, &[]),
        &["error: cannot read image none.png: "],
    );
    check(
        &explain(&image, "none.json", &[]),
        &["error: cannot read annotation file none.json: "],
    );
    check(
        &explain(&image, "tiny.toml", &[]),
        &["error: tiny.toml:2:2: not a COCO annotation file: expected value"],
    );
    std::fs::copy(folder.join(&image), folder.join("other.png")).expect("copies");
    check(
        &explain("other.png", val, &[]),
        &[
            "error: other.png is not in shapes/annotations/instances_val.json",
            "none of its 4 images has a `file_name`",
        ],
    );
    check(
        &explain(&image, val, &["--level", "P9"]),
        &["error: --level P9: this model has the levels P3, P4, P5"],
    );
    check(
        &explain(&image, val, &["--set", "detector.num_classes=3"]),
        &["error: detector.num_classes is 3, but shapes/annotations/instances_val.json has 5"],
    );
    check(
        &explain(&image, val, &["--weights", "none.pth"]),
        &["error: none.pth: cannot read"],
    );
    check(
        &explain(&image, val, &["--out", "tiny.toml"]),
        &["error: tiny.toml: expected a folder, but this is a file"],
    );
    let run = ["explain", "--run", "shapes", &image, "--annotations", val];
    check(&run, &["error: shapes is not a run folder"]);
    let bytes = std::fs::read(folder.join(&image)).expect("readable");
    std::fs::write(folder.join(&image), &bytes[..bytes.len() / 2]).expect("writes");
    let broken = format!("error: cannot decode image {image}");
    check(&explain(&image, val, &[]), &[&broken]);
}
