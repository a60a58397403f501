//! Writes the layout of Ultralytics.

use std::fmt::Write;
use std::path::Path;

use crate::DataError;
use crate::finding::Counter;
use crate::formats::write::{Names, Output};
use crate::formats::{LabelSet, Labelled, Labels, ObjectKind};
use crate::output::write_file;

/// Writes `data.yaml` and `labels`, and `images` where pictures are copied. Boxes are cut to their
/// picture; crowd and ignore regions, which would be learnt as objects, cannot be written.
pub(in crate::formats) fn write(
    labels: &Labels,
    out: &Output<'_>,
    lost: &mut Counter,
) -> Result<(), DataError> {
    let mut yaml = String::from("path: .\n");
    for set in &labels.sets {
        write_set(set, out, lost)?;
        // A single set is what is trained on; Ultralytics asks for `val` too.
        let _ = writeln!(yaml, "{}: images/{}", key(labels, set), set.name);
    }
    yaml.push_str("names:\n");
    for (number, class) in labels.classes.iter().enumerate() {
        // Texts of JSON are texts of YAML.
        let name = serde_json::to_string(&class.name).expect("text serialises");
        let _ = writeln!(yaml, "  {number}: {name}");
    }
    write_file(&out.folder.join("data.yaml"), yaml)
}

/// The key of a set in `data.yaml`.
fn key<'a>(labels: &Labels, set: &'a LabelSet) -> &'a str {
    let alone = labels.sets.len() == 1;
    let known = ["train", "val", "test"].contains(&set.name.as_str());
    if alone && !known { "train" } else { &set.name }
}

fn write_set(set: &LabelSet, out: &Output<'_>, lost: &mut Counter) -> Result<(), DataError> {
    let mut names = Names::default();
    for picture in &set.pictures {
        let name = format!("{}/{}", set.name, names.nested(&picture.file_name));
        let path = Path::new("labels").join(&name).with_extension("txt");
        write_file(&out.folder.join(path), lines(picture, lost))?;
        out.copy(set, picture, &format!("images/{name}"))?;
    }
    Ok(())
}

fn lines(picture: &Labelled, lost: &mut Counter) -> String {
    let [height, width] = picture.size.map(f64::from);
    let mut text = String::new();
    for object in &picture.objects {
        let [x, y, w, h] = object.bbox;
        let inside =
            |low: f64, high: f64, side: f64| [low, high].map(|v| v.clamp(0.0, side) / side);
        let [left, right] = inside(x, x + w, width);
        let [top, bottom] = inside(y, y + h, height);
        if object.kind != ObjectKind::Plain || right <= left || bottom <= top {
            lost.add(|| format!("{:?} in `{}`", object.bbox, picture.file_name));
            continue;
        }
        let centre = [(left + right) / 2.0, (top + bottom) / 2.0];
        // Six digits are a thousandth of a pixel in pictures of a thousand.
        let _ = writeln!(
            text,
            "{} {:.6} {:.6} {:.6} {:.6}",
            object.class,
            centre[0],
            centre[1],
            right - left,
            bottom - top
        );
    }
    text
}
