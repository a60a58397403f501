//! The points that the boxes of a validation image train.

use std::path::Path;

use serde_json::Value;

use crate::support::{TINY, aweigh, contains, json};

const VAL: &str = "shapes/annotations/instances_val.json";

/// An image of the validation set.
struct Image<'a> {
    folder: &'a Path,
    /// Its file, seen from the folder.
    file: String,
    boxes: usize,
}

impl<'a> Image<'a> {
    /// The first one.
    fn first(folder: &'a Path) -> Self {
        let truth = json(&folder.join(VAL));
        let image = &truth["images"][0];
        let boxes = truth["annotations"].as_array().expect("a list").iter();
        let name = image["file_name"].as_str().expect("a name");
        Self {
            folder,
            file: format!("shapes/val/{name}"),
            boxes: boxes.filter(|a| a["image_id"] == image["id"]).count(),
        }
    }

    /// Explains the image by a model, which must say all of `parts`, and gives the summary.
    fn explain(&self, model: &[&str], out: &str, stages: &[&str], parts: &[&str]) -> Value {
        let args = ["explain", &self.file, "--annotations", VAL, "--out", out];
        let done = aweigh(self.folder, &[&args, model].concat());
        contains(&done.stderr, parts);
        let text = done.ok();
        let stem = Path::new(&self.file).file_stem().expect("a name");
        let stem = stem.to_string_lossy();
        let file = |end: &str| self.folder.join(out).join(format!("{stem}_{end}"));
        for stage in stages {
            contains(&text, &[&format!(", {stage}: ")]);
            let file = file(&format!("{stage}.png"));
            let picture =
                std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            assert!(picture.starts_with(b"\x89PNG"), "{stage}");
        }
        let summary = json(&file("explained.json"));
        assert_eq!(summary["boxes"].as_array().map(Vec::len), Some(self.boxes));
        let names = summary["stages"].as_array().expect("a list").iter();
        let names: Vec<&str> = names.filter_map(|stage| stage["name"].as_str()).collect();
        assert_eq!(names, stages);
        summary
    }
}

/// One model: `my run`, random weights, and weights of a file.
pub(super) fn run(folder: &Path) {
    let image = Image::first(folder);
    let stages = ["points"];
    let trained = image.explain(&["--run", "my run"], "why", &stages, &["model of my run"]);
    let level = |summary: &Value, name: &str| summary["stages"][0]["levels"][name].clone();
    assert_eq!(level(&trained, "P3")["all"], 64);
    let tiny = ["--config", "tiny.toml", "--level", "p4"];
    let random = image.explain(&tiny, "random", &stages, &["any weights give the same"]);
    assert_eq!(level(&random, "P3"), level(&trained, "P3"));
    // A file of nothing but weights goes with the classes of the image's annotations: those of the
    // configuration need not be there.
    let model = folder.join("my run/checkpoints/best/model.safetensors");
    std::fs::copy(model, folder.join("alone.safetensors")).expect("copies");
    let alone = ["--config", "tiny.toml", "--weights", "alone.safetensors"];
    let no_data = ["--set", "data.val.annotations=none.json"];
    let alone = [alone.as_slice(), &no_data].concat();
    let alone = image.explain(&alone, "alone", &stages, &[]);
    assert_eq!(level(&alone, "P3"), level(&trained, "P3"));
}

/// The other methods, with random weights.
pub(super) fn methods(folder: &Path) {
    let image = Image::first(folder);
    let three_levels = "base_edge_list = [16, 32, 64]\n\
                        scale_ranges = [[1, 64], [32, 128], [64, 512]]";
    for (table, keys, stages) in [
        ("fovea", three_levels, ["points"].as_slice()),
        ("reppoints", "", &["init", "refine"]),
        ("fsaf", "", &["anchor-free"]),
        ("retina", "fsaf = {}", &["anchor-based", "anchor-free"]),
    ] {
        let file = format!("{table}.toml");
        std::fs::write(folder.join(&file), config(table, keys)).expect("writes");
        let norm = format!("detector.{table}.norm={{ group_norm = {{ groups = 4 }} }}");
        let parts: &[&str] = match table {
            "fovea" => &["any weights give the same"],
            _ => &["warning: random weights", "assigns by predictions"],
        };
        let model = ["--config", &file, "--set", &norm];
        image.explain(&model, table, stages, parts);
    }
}

/// The smallest experiment with another method.
fn config(table: &str, keys: &str) -> String {
    let (before, _) = TINY.split_once("[detector.fcos]").expect("a table");
    let (_, train) = TINY.split_once("[train]").expect("a table");
    format!("{before}[detector.{table}]\nfeat_channels = 16\n{keys}\n[train]{train}")
}
