//! Writes the layout of VOCdevkit.

use std::fmt::Write;
use std::path::Path;

use crate::DataError;
use crate::finding::Counter;
use crate::formats::write::{Names, Output};
use crate::formats::{LabelSet, Labelled, Labels, Object, ObjectKind};
use crate::output::write_file;

/// Writes `Annotations`, `ImageSets/Main` and `labels.txt`. Boxes are cut to their picture and
/// rounded to whole pixels; those of which less than a pixel is left cannot be written.
pub(in crate::formats) fn write(
    labels: &Labels,
    out: &Output<'_>,
    lost: &mut Counter,
) -> Result<(), DataError> {
    let mut names = Names::default();
    for set in &labels.sets {
        write_set(labels, set, out, &mut names, lost)?;
    }
    let classes = labels.classes.iter();
    let classes: String = classes.map(|class| format!("{}\n", class.name)).collect();
    write_file(&out.folder.join("labels.txt"), classes)
}

fn write_set(
    labels: &Labels,
    set: &LabelSet,
    out: &Output<'_>,
    names: &mut Names,
    lost: &mut Counter,
) -> Result<(), DataError> {
    let mut list = String::new();
    for picture in &set.pictures {
        let name = names.flat(&picture.file_name, &set.name);
        let stem = Path::new(&name).with_extension("").display().to_string();
        let text = xml(labels, picture, &name, lost);
        write_file(
            &out.folder.join("Annotations").join(format!("{stem}.xml")),
            text,
        )?;
        out.copy(set, picture, &format!("JPEGImages/{name}"))?;
        list.push_str(&stem);
        list.push('\n');
    }
    write_file(
        &out.folder
            .join("ImageSets/Main")
            .join(format!("{}.txt", set.name)),
        list,
    )
}

fn xml(labels: &Labels, picture: &Labelled, name: &str, lost: &mut Counter) -> String {
    let [height, width] = picture.size;
    let name = escape(name);
    let mut text = format!(
        "<annotation>\n  <folder>JPEGImages</folder>\n  <filename>{name}</filename>\n  \
         <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n  \
         <segmented>0</segmented>\n"
    );
    for object in &picture.objects {
        match corners(object, picture.size) {
            Some(corners) => text.push_str(&element(labels, object, corners)),
            None => lost.add(|| format!("{:?} in `{}`", object.bbox, picture.file_name)),
        }
    }
    text.push_str("</annotation>\n");
    text
}

/// The corner pixels from 1 of a box, cut to its picture.
fn corners(object: &Object, [height, width]: [u32; 2]) -> Option<[f64; 4]> {
    let [x, y, w, h] = object.bbox;
    let [width, height] = [f64::from(width), f64::from(height)];
    let low = |value: f64, side: f64| value.clamp(0.0, side).round() + 1.0;
    let high = |value: f64, side: f64| value.clamp(0.0, side).round();
    let corners = [
        low(x, width),
        low(y, height),
        high(x + w, width),
        high(y + h, height),
    ];
    (corners[2] >= corners[0] && corners[3] >= corners[1]).then_some(corners)
}

fn element(labels: &Labels, object: &Object, [xmin, ymin, xmax, ymax]: [f64; 4]) -> String {
    let name = escape(&labels.classes[object.class].name);
    let difficult = u8::from(object.kind != ObjectKind::Plain);
    let mut text = String::new();
    // Writing to a text never fails.
    let _ = write!(
        text,
        "  <object>\n    <name>{name}</name>\n    <pose>Unspecified</pose>\n    \
         <truncated>0</truncated>\n    <difficult>{difficult}</difficult>\n    \
         <bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>\
         </bndbox>\n  </object>\n"
    );
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
