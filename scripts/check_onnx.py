#!/usr/bin/env python3
"""Compares exported ONNX models, run by ONNX Runtime, with the detectors that they come from.

    pip install onnx==1.23.2 onnxruntime==1.32.0 numpy safetensors
    cargo build --release -p aweigh-onnx --example onnx_case
    python scripts/check_onnx.py [--cases NAME ..] [--full] [--threads 2] [--json FILE]

For every method and its variants: a small detector with made-up weights, exported for a fixed and
for any size of the input, with the predictions of all points and with detections after NMS, and,
where it has deformable convolutions, with these made of simpler operators too. Each model passes
`onnx.checker` with shape inference and runs on images of two sizes (a fixed one on its own). A row
of the table is a model on a batch; a model of all points gets two images, one of detections one.

raw         largest difference of the head's outputs, over the largest value of the output
boxes       largest difference of a detection's corner, in pixels
scores      largest difference of a detection's score
found       detections of Aweigh
unmatched   detections of either that the other does not have: same label, scores within 1e-3 and
            corners within a pixel

Detections of a model of all points are made here, in numpy: an implementation of its own of
threshold, top-k and NMS. `--full` adds FCOS on ResNet-50 at 800 x 1344 with 80 classes, timed.
Exits with 1 if a bound is exceeded. Bounds:

    raw        2e-5: up to a hundred layers in f32, each summed in other orders; 7e-6 is measured
    boxes      2e-3: distances of up to 8 times a stride of 128 pixels, with the above; 2e-4 is measured
    scores     5e-6: a quarter of the difference of a logit of up to 10 and its quality's, and the
               runtime's own approximation of the sigmoid; 1.1e-6 is measured
    unmatched  2 in 100 at full size (a thousand candidates per level, some of them a rounding away
               from the threshold of the overlap), none in small models; none at all is measured
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_common import ROOT, Column, Table, check_binary

try:
    import numpy as np
    import onnx
    import onnxruntime
    from safetensors.numpy import load_file, save_file
except ModuleNotFoundError as missing:
    raise SystemExit(f"{missing.name} is not installed for {sys.executable}: see the head of this script") from missing

BOUNDS = {"raw": 2e-5, "boxes": 2e-3, "scores": 5e-6}
SIZES = [[96, 128], [160, 96]]
FULL_SIZE = [800, 1344]
BATCH = 2
MIB = 1 << 20


# --- detectors -------------------------------------------------------------------


def resnet(**changes):
    return {"depth": 18, "base_channels": 8, "norm": {"frozen_bn": {}}, **changes}


def mobilenet_v2(**changes):
    return {"type": "mobilenet_v2", "norm": {"frozen_bn": {}}, **changes}


def small(method, table, backbone=None, neck=None):
    """Backbone, neck and head of a few ten thousand parameters."""
    test = {"nms_pre": 60, "max_per_image": 80, **table.pop("test", {})}
    head = {"feat_channels": 16, "stacked_convs": 1, "norm": {"group_norm": {"groups": 4}}, **table, "test": test}
    return {
        "num_classes": 3,
        "backbone": backbone or resnet(),
        "neck": {"out_channels": 16, "num_outs": 5, **(neck or {})},
        method: head,
    }


DCN = {"depth": 50, "base_channels": 8, "stage_with_dcn": [False, True, True, True]}
CASES = {
    "fcos": small("fcos", {}, neck={"relu_before_extra_convs": True}),
    "fcos_paper": small(
        "fcos",
        {"norm_on_bbox": False, "centerness_on_reg": False, "test": {"score": "sqrt"}},
        resnet(norm="batch_norm"),
        {"add_extra_convs": "on_input", "upsampling": "bilinear"},
    ),
    "fcos_torchvision": small(
        "fcos", {"points": "torchvision", "norm_on_bbox": True, "test": {"rank_by": "score", "score": "sqrt"}}
    ),
    "fcos_dcn": small("fcos", {"dcn_on_last_conv": True, "conv_bias": True}, resnet(**DCN, dcn={"kind": "v2", "deform_groups": 2})),
    "fsaf": small("fsaf", {"norm": "none"}, resnet(groups=2, base_width=4, depth=50)),
    "fovea": small("fovea", {"norm": "none"}, resnet(**DCN, dcn={"kind": "v1"})),
    "fovea_align": small("fovea", {"with_deform": True}, resnet(strides=[1, 2, 2, 1], dilations=[1, 1, 1, 2])),
    "reppoints": small(
        "reppoints",
        {"point_feat_channels": 16},
        resnet(norm={"group_norm": {"groups": 2}}),
        {"norm": {"group_norm": {"groups": 4}}, "no_norm_on_lateral": True, "add_extra_convs": "on_lateral"},
    ),
    "reppoints_grid": small(
        "reppoints",
        {"point_feat_channels": 16, "num_points": 25, "center_init": False, "transform_method": "partial_minmax"},
        resnet(depth=50, style="caffe"),
    ),
    "reppoints_boxes": small(
        "reppoints", {"point_feat_channels": 16, "use_grid_points": True, "transform_method": "minmax"}
    ),
    "retina": small("retina", {}, neck={"add_extra_convs": "none"}),
    "retina_torchvision": small("retina", {"anchors": {"style": "torchvision"}}),
    "retina_fsaf": small("retina", {"fsaf": {}}),
    "fcos_mobilenet_v2": small("fcos", {}, mobilenet_v2()),
    "retina_fsaf_mobilenet_v2": small("retina", {"fsaf": {}}, mobilenet_v2(norm="batch_norm", widen_factor=0.5)),
    # No score passes, so that nothing is left for NMS.
    "fcos_nothing": small("fcos", {"test": {"score_threshold": 0.999999}}),
}
FULL = {
    "num_classes": 80,
    "backbone": {"depth": 50, "style": "caffe"},
    "neck": {"relu_before_extra_convs": True},
    "fcos": {"conv_bias": True},
}


def options_of(detector):
    """The table of the method."""
    return next(value for key, value in detector.items() if key not in ("num_classes", "backbone", "neck"))


def test_of(detector):
    fcos = "fcos" in detector
    default = {"score_threshold": 0.05, "nms_pre": 1000, "nms_iou": 0.6 if fcos else 0.5, "max_per_image": 100}
    return {**default, "min_box_size": 0.0, **options_of(detector).get("test", {})}


def is_deformable(detector):
    head = options_of(detector)
    in_head = head.get("dcn_on_last_conv") or head.get("with_deform") or "reppoints" in detector
    return bool(in_head or detector["backbone"].get("dcn"))


# --- Aweigh's side ---------------------------------------------------------------


def models_of(detector, sizes):
    """Every way to export a detector: a name, and what the exporter is told."""
    forms = ["", "decomposed"] if is_deformable(detector) else [""]
    kinds = [("fixed", sizes[0]), ("dynamic", None)]
    for detections in (False, True):
        for kind, size in kinds:
            for form in forms:
                name = " ".join(part for part in (kind, "nms" if detections else "points", form) if part)
                yield name, {"size": size, "detections": detections, "decomposed": form == "decomposed"}


def run_job(options, folder, detector, models, sizes, repeats=1):
    """Exports `models` and runs the detector; gives the images and the results for each size."""
    generator = np.random.default_rng(0)
    runs, images = [], []
    for i, size in enumerate(sizes):
        batch = generator.standard_normal((BATCH if len(sizes) > 1 else 1, 3, *size)).astype(np.float32)
        save_file({"images": batch}, folder / f"images_{i}.safetensors")
        images.append(batch)
        runs.append(
            {
                "images": str(folder / f"images_{i}.safetensors"),
                "results": str(folder / f"results_{i}.safetensors"),
                "repeats": repeats,
            }
        )
    files = {name: folder / f"{name.replace(' ', '_')}.onnx" for name, _ in models}
    job = {"detector": detector, "runs": runs}
    job["models"] = [{"file": str(files[name]), **model} for name, model in models]
    (folder / "job.json").write_text(json.dumps(job))
    environment = {**os.environ, "RAYON_NUM_THREADS": str(options.threads)}
    done = subprocess.run(
        [ROOT / options.binary, folder / "job.json"], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{options.binary} failed with code {done.returncode}:\n{done.stderr.strip()}")
    return files, images, [load_file(run["results"]) for run in runs]


# --- ONNX Runtime's side ---------------------------------------------------------


def session(path, threads):
    """The model, checked and ready to run."""
    onnx.checker.check_model(str(path), full_check=True)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    # Warnings speak of constants that a runtime folds.
    settings.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


def run_model(model, images, repeats):
    """Outputs by name, and the seconds of the fastest run."""
    names = [output.name for output in model.get_outputs()]
    seconds = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        outputs = model.run(names, {"images": images})
        seconds = min(seconds, time.perf_counter() - start)
    return dict(zip(names, outputs)), seconds


# --- detections ------------------------------------------------------------------


def sigmoid(x):
    return np.float32(1) / (np.float32(1) + np.exp(-x))


def class_scores(raw, name, classes, image):
    """Class scores of every level of a branch, `[A P, C]` each."""
    level = 0
    while f"{name}_{level}" in raw:
        logits = raw[f"{name}_{level}"][image]
        anchors = logits.shape[0] // classes
        rows = logits.reshape(anchors, classes, -1).transpose(0, 2, 1).reshape(-1, classes)
        yield sigmoid(rows)
        level += 1


def overlaps(box, boxes):
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = np.prod(np.maximum(sides, 0), axis=1)
    area = lambda b: (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    return common / (area(box) + area(boxes) - common)


def detections(outputs, detector, image):
    """Threshold, top-k of each level and NMS on decoded predictions."""
    test, classes = test_of(detector), detector["num_classes"]
    kept, start = [], 0
    for name in ("cls_score", "fsaf_cls_score"):
        for ranks in class_scores(outputs, name, classes, image):
            if test.get("rank_by") == "score":
                ranks = outputs["scores"][image][start : start + len(ranks)]
            order = np.argsort(-ranks.ravel(), kind="stable")[: test["nms_pre"]]
            order = order[ranks.ravel()[order] > test["score_threshold"]]
            kept += [(start + pair // classes, pair % classes) for pair in order]
            start += len(ranks)
    points, labels = np.array(kept, dtype=np.int64).reshape(-1, 2).T
    boxes, scores = outputs["boxes"][image][points], outputs["scores"][image][points, labels]
    large = (boxes[:, 2:] - boxes[:, :2] > test["min_box_size"]).all(axis=1)
    boxes, scores, labels = boxes[large], scores[large], labels[large]
    left, best = list(np.argsort(-scores, kind="stable")), []
    while left:
        first = left.pop(0)
        best.append(first)
        same = [i for i in left if labels[i] == labels[first]]
        if same:
            dropped = np.array(same)[overlaps(boxes[first], boxes[same]) > np.float32(test["nms_iou"])]
            left = [i for i in left if i not in set(dropped)]
    best = best[: test["max_per_image"]]
    return boxes[best], scores[best], labels[best]


def compare_detections(ours, theirs):
    """Largest differences of corners and scores of detections that match, and those that do not."""
    boxes, scores, labels = theirs
    free, unmatched, differences = list(range(len(scores))), 0, [[0.0, 0.0]]
    for box, score, label in zip(*ours):
        near = [i for i in free if labels[i] == label and abs(scores[i] - score) < 1e-3]
        near = [(np.abs(boxes[i] - box).max(), abs(scores[i] - score), i) for i in near]
        if near and min(near)[0] < 1.0:
            distance, lower, i = min(near)
            differences.append([distance, lower])
            free.remove(i)
        else:
            unmatched += 1
    worst = np.max(differences, axis=0)
    return {"boxes": float(worst[0]), "scores": float(worst[1]), "unmatched": unmatched + len(free)}


def compare(outputs, results, detector, images):
    """A row's differences."""
    row = {"raw": 0.0, "boxes": 0.0, "scores": 0.0, "unmatched": 0, "found": 0}
    for name in results:
        if name in outputs:
            expected = results[name][: len(outputs[name])]
            difference = np.abs(outputs[name] - expected).max() / np.abs(expected).max()
            row["raw"] = max(row["raw"], float(difference))
    for image in range(images):
        ours = [results[f"{part}:{image}"] for part in ("boxes", "scores", "labels")]
        with_nms = "labels" in outputs
        theirs = [outputs[part] for part in ("boxes", "scores", "labels")] if with_nms else None
        found = compare_detections(ours, theirs or detections(outputs, detector, image))
        row["found"] += len(ours[1])
        row["unmatched"] += found["unmatched"]
        for part in ("boxes", "scores"):
            row[part] = max(row[part], found[part])
    return row


# --- the table -------------------------------------------------------------------

COLUMNS = [
    Column("detector", "case", 24),
    Column("model", "model", 24),
    Column("input", "input", 12),
    Column("raw", "raw", 8, 9),
    Column("boxes", "boxes", 8, 6),
    Column("scores", "scores", 8, 8),
    Column("found", "found", 5, 0),
    Column("unmatched", "unmatched", 5, 0),
    Column("MiB", "mib", 6, 1),
    Column("onnx ms", "onnx_ms", 7, 1),
    Column("aweigh ms", "aweigh_ms", 7, 1),
]


def check_case(options, name, detector, sizes, repeats=1):
    """A row for every model and size."""
    models = list(models_of(detector, sizes))
    with tempfile.TemporaryDirectory() as folder:
        job = run_job(options, Path(folder), copy.deepcopy(detector), models, sizes, repeats)
        files, images, results = job
        for model, told in models:
            ready = session(files[model], options.threads)
            for batch, expected in list(zip(images, results))[: 1 if told["size"] else None]:
                batch = batch[:1] if told["detections"] else batch
                outputs, seconds = run_model(ready, batch, repeats)
                yield {
                    "case": name,
                    "model": model,
                    "input": "x".join(map(str, batch.shape)),
                    **compare(outputs, expected, detector, len(batch)),
                    "mib": files[model].stat().st_size / MIB,
                    "onnx_ms": 1000 * seconds,
                    "aweigh_ms": 1000 * float(expected["seconds"][0]),
                }


def problems(row, at_full_size):
    """What is wrong with a row, as sentences."""
    for part, bound in BOUNDS.items():
        if not row[part] <= bound:
            yield f"{row['case']}, {row['model']}, {row['input']}: {part} {row[part]:.2e}, bound {bound:.0e}"
    allowed = row["found"] // 50 if at_full_size else 0
    if row["unmatched"] > allowed:
        yield f"{row['case']}, {row['model']}, {row['input']}: {row['unmatched']} of {row['found']} detections differ"


def main():
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--binary", default="target/release/examples/onnx_case", help="relative to the repository")
    made.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    made.add_argument("--full", action="store_true", help="also a detector of full size, timed")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--json", type=Path, help="file for the rows")
    options = made.parse_args()
    check_binary(options.binary, "cargo build --release -p aweigh-onnx --example onnx_case")
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
    table, rows, wrong = Table(COLUMNS), [], []
    cases = [(name, CASES[name], SIZES, 1) for name in options.cases]
    cases += [("fcos_r50", FULL, [FULL_SIZE], 3)] if options.full else []
    for name, detector, sizes, repeats in cases:
        for row in check_case(options, name, detector, sizes, repeats):
            table.print_row(row)
            rows.append(row)
            wrong += problems(row, sizes != SIZES)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    for problem in wrong:
        print(problem, file=sys.stderr)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
