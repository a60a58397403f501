//! Labels of other formats, on disk.

mod prepare;

use std::path::{Path, PathBuf};

use aweigh_data::Existing;
use aweigh_data::formats::{
    Corners, Format, Labels, ObjectKind, PictureFiles, ReadOptions, WriteOptions, detect, read,
    write,
};
use tempfile::TempDir;

/// A folder with files of text, and pictures of 40 x 30 pixels for names that end so.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
        if name.ends_with(".png") {
            image::RgbImage::new(40, 30).save(&path).expect("writes");
        } else {
            std::fs::write(&path, text).expect("writes");
        }
    }
    folder
}

fn xml(name: &str, objects: &str) -> String {
    format!("<annotation>\n<filename>{name}</filename>\n{objects}\n</annotation>")
}

fn object(name: &str, corners: [f64; 4], more: &str) -> String {
    let [x1, y1, x2, y2] = corners;
    format!(
        "<object><name>{name}</name>{more}<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>\
         <xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
    )
}

fn opened(format: Format, folder: &TempDir) -> Labels {
    assert_eq!(detect(folder.path()).expect("is known"), format);
    read(format, folder.path(), &ReadOptions::default()).expect("reads")
}

/// The message of a dataset that cannot be read, with its folder replaced by `DIR`.
fn refused(format: Format, files: &[(&str, &str)]) -> String {
    let folder = folder(files);
    let error = read(format, folder.path(), &ReadOptions::default()).expect_err("is wrong");
    let path = folder.path().display().to_string();
    error.to_string().replace(&path, "DIR")
}

fn sets(labels: &Labels) -> Vec<(&str, usize)> {
    let sets = labels.sets.iter();
    sets.map(|set| (set.name.as_str(), set.pictures.len()))
        .collect()
}

fn names(labels: &Labels) -> Vec<&str> {
    labels
        .classes
        .iter()
        .map(|class| class.name.as_str())
        .collect()
}

/// The boxes of all pictures.
fn boxes(labels: &Labels) -> Vec<(String, usize, [f64; 4])> {
    let pictures = labels.sets.iter().flat_map(|set| &set.pictures);
    let objects = pictures.flat_map(|picture| {
        let name = picture.file_name.rsplit('/').next().unwrap_or_default();
        let row =
            |object: &aweigh_data::formats::Object| (name.to_owned(), object.class, object.bbox);
        picture.objects.iter().map(row)
    });
    objects.collect()
}

#[test]
fn voc_kit_has_pixels_from_one_and_sets_of_lists() {
    let a = xml(
        "a.png",
        &object("dog", [1.0, 2.0, 10.0, 20.0], "<difficult>1</difficult>"),
    );
    let b = xml("b", &object("R&amp;B <i>", [3.0, 3.0, 3.0, 3.0], ""));
    let b = b.replace("<i>", "&lt;i&gt;");
    let folder = folder(&[
        ("VOC2007/Annotations/a.xml", &a),
        ("VOC2007/Annotations/b.xml", &b),
        ("VOC2007/ImageSets/Main/train.txt", "a\n"),
        ("VOC2007/ImageSets/Main/val.txt", "b  1\n\n"),
        ("VOC2007/ImageSets/Main/trainval.txt", "a\nb\n"),
        ("VOC2007/JPEGImages/a.png", ""),
        ("VOC2007/JPEGImages/b.png", ""),
    ]);
    let labels = opened(Format::Voc, &folder);
    assert_eq!(sets(&labels), [("train", 1), ("val", 1)]);
    assert_eq!(names(&labels), ["R&B <i>", "dog"]);
    let expected = [
        ("a.png".to_owned(), 1, [0.0, 1.0, 10.0, 19.0]),
        ("b.png".to_owned(), 0, [2.0, 2.0, 1.0, 1.0]),
    ];
    assert_eq!(boxes(&labels), expected);
    let kinds = labels.sets[0].pictures[0].objects[0].kind;
    assert_eq!(kinds, ObjectKind::Ignored);
    // No file declares a size: that of the pictures is read.
    assert_eq!(labels.sets[0].pictures[0].size, [30, 40]);
    assert!(labels.findings.is_empty(), "{:?}", labels.findings);
}

#[test]
fn corners_of_zero_are_edges() {
    let a = xml("sub/a.png", &object("x", [0.0, 2.0, 10.0, 20.5], ""));
    let folder = folder(&[
        ("train/a.xml", &a),
        ("train/sub/a.png", ""),
        ("valid/b.xml", &xml("b.png", "")),
        ("valid/b.png", ""),
    ]);
    let labels = opened(Format::Voc, &folder);
    assert_eq!(sets(&labels), [("train", 1), ("val", 1)]);
    assert_eq!(boxes(&labels)[0].2, [0.0, 2.0, 10.0, 18.5]);
    let options = ReadOptions {
        corners: Corners::Pixels,
        ..ReadOptions::default()
    };
    let labels = read(Format::Voc, folder.path(), &options).expect("reads");
    assert_eq!(boxes(&labels)[0].2, [-1.0, 1.0, 11.0, 19.5]);
}

#[test]
fn what_is_wrong_in_voc_names_file_and_line() {
    let check = |text: &str, expected: &str| {
        let files = [("a.xml", text), ("a.png", "")];
        assert_eq!(refused(Format::Voc, &files), expected);
    };
    check(
        "<annotation>\n<object>",
        "DIR/a.xml:1: not XML: the root node was opened but never closed",
    );
    check(
        "<html/>",
        "DIR/a.xml:1: found <html>, expected Pascal VOC's <annotation>",
    );
    check(
        &xml("a.png", "<object><name>x</name></object>"),
        "DIR/a.xml:3: the <object> `x` has no <bndbox>",
    );
    check(
        &xml(
            "a.png",
            &object("x", [1.0; 4], "").replace("<xmax>1<", "<xmax>abc<"),
        ),
        "DIR/a.xml:3: <xmax> is `abc`; expected a number",
    );
    check(
        &xml("a.png", "<object/>"),
        "DIR/a.xml:3: an <object> without a <name>",
    );
    let files = [("b.xml", xml("a.png", &object("x", [1.0; 4], "")))];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let error = refused(Format::Voc, &files);
    assert_eq!(
        error,
        "DIR/b.xml: no <size>, and its picture, which would tell, is not found"
    );
}

#[test]
fn inverted_boxes_of_voc_are_left_out_and_counted() {
    let objects = object("x", [9.0, 9.0, 2.0, 12.0], "") + &object("x", [1.0, 1.0, 4.0, 4.0], "");
    let folder = folder(&[("a.xml", &xml("a.png", &objects)), ("a.png", "")]);
    let labels = opened(Format::Voc, &folder);
    assert_eq!(labels.objects(), 1);
    let text = &labels.findings[0].text;
    assert!(
        text.starts_with("1 object has a corner beyond the other and is left out"),
        "{text}"
    );
}

#[test]
fn yolo_of_ultralytics_is_read_with_pictures_without_labels() {
    let folder = folder(&[
        (
            "data.yaml",
            "path: /nowhere\ntrain: ../images/train\nval: [images/val]\ntest: images/test\nnames:\n  0: cat\n  1: dog\n",
        ),
        ("images/train/sub/a.png", ""),
        ("images/train/b.png", ""),
        ("images/val/c.png", ""),
        ("labels/train/sub/a.txt", "1 0.5 0.5 0.5 0.5\n"),
        ("labels/val/c.txt", ""),
    ]);
    let labels = opened(Format::Yolo, &folder);
    assert_eq!(sets(&labels), [("train", 2), ("val", 1)]);
    assert_eq!(names(&labels), ["cat", "dog"]);
    assert_eq!(
        boxes(&labels),
        [("a.png".to_owned(), 1, [10.0, 7.5, 20.0, 15.0])]
    );
    let names: Vec<&str> = labels.sets[0]
        .pictures
        .iter()
        .map(|p| p.file_name.as_str())
        .collect();
    assert_eq!(names, ["b.png", "sub/a.png"]);
    let text = &labels.findings[0].text;
    assert!(
        text.starts_with("1 of 3 pictures have no file of labels"),
        "{text}"
    );
}

#[test]
fn yolo_in_one_folder_has_its_classes_beside_it() {
    let folder = folder(&[
        ("classes.txt", "cat\ndog\n"),
        ("a.png", ""),
        ("a.txt", "0 0.5 0.5 1 1"),
    ]);
    let labels = opened(Format::Yolo, &folder);
    assert_eq!(sets(&labels), [("all", 1)]);
    assert_eq!(
        boxes(&labels),
        [("a.png".to_owned(), 0, [0.0, 0.0, 40.0, 30.0])]
    );
}

#[test]
fn what_is_wrong_in_yolo_names_file_and_line() {
    let check = |yaml: &str, label: &str, expected: &str| {
        let files = [
            ("data.yaml", yaml),
            ("images/a.png", ""),
            ("labels/a.txt", label),
        ];
        let error = refused(Format::Yolo, &files);
        assert!(
            error.starts_with(expected),
            "`{expected}` does not begin: {error}"
        );
    };
    let yaml = "train: images\nnames: [cat]\n";
    check(
        yaml,
        "0 .5 .5 .1 .1\n1 .5 .5 .1 .1",
        "DIR/labels/a.txt:2: the class is 1; expected 0 to 0",
    );
    check(
        yaml,
        "0 20 .5 .1 .1",
        "DIR/labels/a.txt:1: 20 is not from 0 to 1",
    );
    check(
        "train: imgs\nnames: [cat]\n",
        "",
        "DIR/data.yaml: `train: imgs` is no folder",
    );
    check(
        "train: images\nnames: {0: a, 2: b}\n",
        "",
        "DIR/data.yaml:2: ",
    );
}

/// A dataset with a fractional box, one that leaves its picture, a crowd and an empty picture.
fn coco() -> TempDir {
    let json = r#"{"images": [
        {"id": 7, "file_name": "x/a.png", "width": 40, "height": 30},
        {"id": 3, "file_name": "y/a.png", "width": 40, "height": 30},
        {"id": 4, "file_name": "b.png", "width": 40, "height": 30}],
      "categories": [{"id": 5, "name": "b, \"c\": d"}, {"id": 2, "name": "a & <b>"}],
      "annotations": [
        {"id": 1, "image_id": 7, "category_id": 5, "bbox": [1.4, 2.6, 10.2, 20.0]},
        {"id": 2, "image_id": 3, "category_id": 2, "bbox": [30, 20, 15, 10]},
        {"id": 3, "image_id": 3, "category_id": 2, "bbox": [0, 0, 5, 5], "iscrowd": 1}]}"#;
    folder(&[
        ("annotations/instances_train.json", json),
        ("images/x/a.png", ""),
        ("images/y/a.png", ""),
        ("images/b.png", ""),
    ])
}

/// What a dataset is after it was written in a format with its pictures.
fn rewritten(labels: &Labels, format: Format) -> (TempDir, Labels, usize) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let out = folder.path().join("out");
    let options = WriteOptions {
        format,
        existing: Existing::Refuse,
        pictures: PictureFiles::Copy,
    };
    let written = write(labels, &out, &options).expect("writes");
    assert_eq!(detect(&out).expect("is known"), format);
    let labels = read(format, &out, &ReadOptions::default()).expect("reads");
    (folder, labels, written.findings.len())
}

#[test]
fn boxes_survive_other_formats_within_rounding() {
    let folder = coco();
    let original = opened(Format::Coco, &folder);
    let check = |format: Format, tolerance: f64, expected: &[[f64; 4]], lost: usize| {
        let (_kept, other, findings) = rewritten(&original, format);
        assert_eq!(findings, lost, "{format}");
        assert_eq!(names(&other), names(&original), "{format}");
        assert_eq!(other.pictures(), 3, "{format}");
        let (_kept, back, _) = rewritten(&other, Format::Coco);
        let found = boxes(&back);
        assert_eq!(found.len(), expected.len(), "{format}: {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            let off = found.2.iter().zip(expected).map(|(a, b)| (a - b).abs());
            assert!(
                off.fold(0.0, f64::max) <= tolerance,
                "{format}: {found:?}, {expected:?}"
            );
        }
    };
    let [a, b, crowd] = [
        [1.4, 2.6, 10.2, 20.0],
        [30.0, 20.0, 10.0, 10.0],
        [0.0, 0.0, 5.0, 5.0],
    ];
    // Corners are rounded to whole pixels, each by half a pixel at most.
    check(Format::Voc, 1.0, &[a, b, crowd], 0);
    // Six digits of 40 pixels, twice.
    check(Format::Yolo, 1e-4, &[a, b], 1);
}

#[test]
fn what_is_there_is_not_overwritten() {
    let folder = coco();
    let labels = opened(Format::Coco, &folder);
    let out = folder.path().join("out");
    let options = |existing| WriteOptions {
        format: Format::Yolo,
        existing,
        pictures: PictureFiles::Stay,
    };
    std::fs::create_dir(&out).expect("makes");
    std::fs::write(out.join("mine.txt"), "kept").expect("writes");
    let error = write(&labels, &out, &options(Existing::Refuse)).expect_err("exists");
    assert!(error.to_string().contains("exists already"), "{error}");
    write(&labels, &out, &options(Existing::SetAside)).expect("writes");
    write(&labels, &out, &options(Existing::SetAside)).expect("writes");
    let there = |path: &str| folder.path().join(path).exists();
    assert!(there("out.old/mine.txt") && there("out.old-2/data.yaml") && there("out/data.yaml"));
}

#[test]
fn a_failure_leaves_nothing() {
    let folder = coco();
    let labels = opened(Format::Coco, &folder);
    std::fs::remove_file(folder.path().join("images/b.png")).expect("removes");
    let options = WriteOptions {
        format: Format::Voc,
        existing: Existing::Refuse,
        pictures: PictureFiles::Copy,
    };
    let out = folder.path().join("out");
    let error = write(&labels, &out, &options).expect_err("a picture is missing");
    assert!(error.to_string().contains("images/b.png"), "{error}");
    let entries = std::fs::read_dir(folder.path()).expect("lists");
    assert_eq!(entries.count(), 2);
}

#[test]
fn turned_photographs_have_their_upright_size() {
    let photograph = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/turned.jpg");
    let folder = folder(&[("classes.txt", "cat\n"), ("a.txt", "0 0.5 0.5 1 1")]);
    std::fs::copy(&photograph, folder.path().join("a.jpg")).expect("copies");
    let labels = opened(Format::Yolo, &folder);
    assert_eq!(labels.sets[0].pictures[0].size, [8, 6]);
}

#[test]
fn formats_of_other_tools_are_read() {
    let cvat = r#"<annotations><image id="0" name="a.png" width="40" height="30">
        <box label="cat" xtl="1" ytl="2" xbr="5" ybr="7"/></image></annotations>"#;
    let folder_ = folder(&[("annotations.xml", cvat), ("images/a.png", "")]);
    let labels = opened(Format::Cvat, &folder_);
    assert_eq!(
        boxes(&labels),
        [("a.png".to_owned(), 0, [1.0, 2.0, 4.0, 5.0])]
    );
    let dota = "imagesource:x\ngsd:1\n1 2 5 2 5 7 1 7 cat 0\n";
    let folder_ = folder(&[("labelTxt/a.txt", dota), ("images/a.png", "")]);
    let labels = opened(Format::Dota, &folder_);
    let [x, y, w, h] = boxes(&labels)[0].2.map(|value| (value * 1e6).round() / 1e6);
    assert_eq!([x, y, w, h], [1.0, 2.0, 4.0, 5.0]);
    let table = "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\na,cat,0,0.5,0,0.5,0\n";
    let folder_ = folder(&[("boxes.csv", table), ("a.png", "")]);
    let labels = opened(Format::OpenImages, &folder_);
    assert_eq!(
        boxes(&labels),
        [("a.png".to_owned(), 0, [0.0, 0.0, 20.0, 15.0])]
    );
}

#[test]
fn an_image_is_in_one_set_of_a_dataset() {
    let json = r#"{"images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "categories": [{"id": 1, "name": "cell"}], "annotations": []}"#;
    let both = folder(&[
        ("instances_train.json", json),
        ("instances_trainval.json", json),
        ("a.png", ""),
    ]);
    assert_eq!(sets(&opened(Format::Coco, &both)), [("train", 1)]);
    let union = folder(&[("instances_trainval.json", json), ("a.png", "")]);
    assert_eq!(sets(&opened(Format::Coco, &union)), [("trainval", 1)]);
}

#[test]
fn roboflow_has_its_annotations_beside_its_pictures() {
    let json = |name: &str| {
        format!(
            r#"{{"images": [{{"id": 0, "file_name": "{name}", "width": 40, "height": 30}}],
            "categories": [{{"id": 0, "name": "cell"}}], "annotations": []}}"#
        )
    };
    let folder = folder(&[
        ("train/_annotations.coco.json", &json("a.png")),
        ("train/a.png", ""),
        ("valid/_annotations.coco.json", &json("b.png")),
        ("valid/b.png", ""),
        ("README.roboflow.json", "{}"),
        (".idea/workspace.xml", "<project/>"),
    ]);
    let labels = opened(Format::Coco, &folder);
    assert_eq!(sets(&labels), [("train", 1), ("val", 1)]);
    let expected: PathBuf = folder.path().join("valid");
    assert_eq!(labels.sets[1].images, expected);
}

#[test]
fn a_folder_of_nothing_says_what_was_expected() {
    let folder = folder(&[("notes.txt", "hello")]);
    let error = detect(folder.path()).expect_err("is nothing").to_string();
    assert!(
        error.contains("no dataset of a known layout; expected COCO"),
        "{error}"
    );
    let error = detect(&folder.path().join("none"))
        .expect_err("is not there")
        .to_string();
    assert!(error.contains("cannot be read"), "{error}");
}
