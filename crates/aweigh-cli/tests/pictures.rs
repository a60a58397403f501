//! What `aweigh predict` and `aweigh explain` read and draw.

use std::path::Path;

use crate::support::{aweigh, contains, project};

/// A name that no font has.
const NO_LETTERS: &str = "\u{10fffd}";

/// Gives classes of the annotations other names.
fn rename(folder: &Path, names: &[(&str, &str)]) {
    for split in ["train", "val"] {
        let file = folder.join(format!("shapes/annotations/instances_{split}.json"));
        let mut text = std::fs::read_to_string(&file).expect("annotations");
        for (from, to) in names {
            text = text.replace(&format!("\"{from}\""), &format!("\"{to}\""));
        }
        std::fs::write(&file, text).expect("writes");
    }
}

#[test]
fn names_of_any_script_are_drawn_and_files_of_any_kind_may_lie_about() {
    let folder = project();
    let folder = folder.path();
    let long = "звезда ".repeat(50);
    rename(
        folder,
        &[("circle", "круг"), ("star", &long), ("ring", NO_LETTERS)],
    );
    let train = ["train", "--config", "tiny.toml", "--run-dir", "run"];
    aweigh(folder, &train).ok();

    let picture = std::fs::read_dir(folder.join("shapes/val")).expect("a folder");
    let picture = picture.map(|entry| entry.expect("an entry").path()).next();
    std::fs::create_dir(folder.join("mixed")).expect("makes");
    for name in ["a.heic", "b.HEIC", "c.gif", ".DS_Store", "._d.png"] {
        std::fs::write(folder.join("mixed").join(name), "?").expect("writes");
    }
    let predict = |input: &str| {
        let args = ["predict", "--run", "run", input, "--out", "drawn"];
        aweigh(folder, &[args.as_slice(), &["--score", "0"]].concat())
    };
    let nothing = "mixed: no picture (jpg, jpeg, png, bmp, webp, tif, tiff) in this folder, \
                   only 2 .heic, 1 .gif;";
    contains(&predict("mixed").failed(1), &[nothing]);

    let picture = picture.expect("a picture");
    std::fs::copy(&picture, folder.join("mixed/d.png")).expect("copies");
    let done = predict("mixed/**/*");
    contains(
        &done.stderr,
        &[
            "warning: skipped 3 files that are no pictures aweigh reads: 2 .heic, 1 .gif",
            "warning: class names drawn as numbers, since no font on this machine has their letters",
            "\"\\u{10fffd}\"",
        ],
    );
    assert_eq!(done.ok().lines().count(), 1);
    assert!(folder.join("drawn/d.png").is_file());

    let val = "shapes/annotations/instances_val.json";
    let picture = picture.to_str().expect("UTF-8");
    let explain = ["explain", picture, "--annotations", val, "--run", "run"];
    let done = aweigh(folder, &explain);
    contains(
        &done.stderr,
        &["class names drawn as numbers", "\"\\u{10fffd}\""],
    );
    done.ok();
}
