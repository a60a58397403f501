"""COCO evaluation by pycocotools: the 12 figures, per-class figures, precision and recall arrays."""

import contextlib
import copy
import io
import random

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from common import Case, Group

try:
    from faster_coco_eval import COCO as FasterCOCO
    from faster_coco_eval import COCOeval_faster
except ImportError:
    FasterCOCO = None

PACKAGES = ("torch", "numpy", "pycocotools", "safetensors") + (("faster_coco_eval",) if FasterCOCO else ())
STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
AREAS = ("all", "small", "medium", "large")
WIDTH, HEIGHT = 640, 480

RECIPES = {
    "cocoeval_basic": {"options": {}},
    "cocoeval_crowd": {"options": {"crowd": 0.25}},
    "cocoeval_many_crowds": {"options": {"crowd": 0.7, "n_cat": 2, "n_img": 12}},
    "cocoeval_seg_area": {"options": {"areas": "seg", "n_cat": 4}},
    "cocoeval_area_boundary": {"options": {"boundary": True}},
    "cocoeval_many_dets": {"options": {"n_img": 8, "n_cat": 3, "many_one_class": 160, "gt_per_img": 10}},
    "cocoeval_ties": {"options": {"score_digits": 1, "dets_per_img": 30}},
    "cocoeval_empty_classes": {"options": {"n_cat": 6, "gt_cats": [0, 1, 3], "det_cats": [0, 2, 3]}},
    "cocoeval_zero_dets": {"options": {"n_img": 5, "dets_per_img": 0}},
    "cocoeval_zero_gts": {"options": {"n_img": 5, "gt_per_img": 0}},
    "cocoeval_empty_images": {"options": {"empty_imgs": 0.4, "cat_gap": True, "shuffle_ids": True}},
    "cocoeval_subset_params": {
        "options": {"n_cat": 5},
        "params": {"imgIds": [1, 4, 6, 7, 9], "catIds": [1, 3, 5], "maxDets": [1, 10, 100]},
    },
    "cocoeval_use_cats_0": {"options": {"n_cat": 4}, "params": {"useCats": 0}},
    "cocoeval_one_class": {"options": {"n_cat": 1, "n_img": 6, "crowd": 0.1, "gt_per_img": 14, "dets_per_img": 40}},
}


def random_box(rng):
    """x y w h with two decimals; sides spread over COCO's three area ranges."""
    w, h = (min(2.0 ** rng.uniform(1.5, 8.5), limit * 0.8) for limit in (WIDTH, HEIGHT))
    return [round(v, 2) for v in (rng.uniform(0, WIDTH - w), rng.uniform(0, HEIGHT - h), w, h)]


def boundary_box(rng):
    """A square at one of the limits 32x32 and 96x96 of the area ranges."""
    side = rng.choice([31.99, 32.0, 32.01, 95.99, 96.0, 96.01])
    return [round(rng.uniform(0, WIDTH - side), 2), round(rng.uniform(0, HEIGHT - side), 2), side, side]


def jittered(rng, box):
    """A detection of `box`: sometimes close, sometimes far off."""
    x, y, w, h = box
    spread = rng.choice([0.02, 0.08, 0.2, 0.45])
    moved = [x + rng.gauss(0, spread * w), y + rng.gauss(0, spread * h)]
    moved += [max(w * (1 + rng.gauss(0, spread)), 1.0), max(h * (1 + rng.gauss(0, spread)), 1.0)]
    return [round(v, 2) for v in moved]


def draw_annotations(rng, options, image_ids, category_ids):
    usable = [category_ids[i] for i in options.get("gt_cats", range(len(category_ids)))]
    annotations = []
    for image_id in image_ids:
        if rng.random() < options.get("empty_imgs", 0.0):
            continue
        for _ in range(options.get("gt_per_img", 6)):
            edge = options.get("boundary") and rng.random() < 0.6
            box = boundary_box(rng) if edge else random_box(rng)
            area = box[2] * box[3]
            if options.get("areas") == "seg":
                # As from a mask, which covers part of its box.
                area *= rng.uniform(0.3, 0.95)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": rng.choice(usable),
                    "bbox": box,
                    "area": round(area, 4),
                    "iscrowd": int(rng.random() < options.get("crowd", 0.0)),
                }
            )
    return annotations


def draw_detections(rng, options, annotations, image_ids, category_ids):
    usable = [category_ids[i] for i in options.get("det_cats", range(len(category_ids)))]
    digits, per_image = options.get("score_digits", 5), options.get("dets_per_img", 16)
    detections = []
    for image_id in image_ids:
        truths = [a for a in annotations if a["image_id"] == image_id]
        boxes = []
        for _ in range(per_image):
            if truths and rng.random() < 0.6:
                truth = rng.choice(truths)
                same = truth["category_id"] in usable and rng.random() < 0.85
                boxes.append((jittered(rng, truth["bbox"]), truth["category_id"] if same else rng.choice(usable)))
            else:
                boxes.append((random_box(rng), rng.choice(usable)))
        for _ in range(options.get("many_one_class", 0)):
            boxes.append((jittered(rng, rng.choice(truths)["bbox"]) if truths else random_box(rng), usable[0]))
        detections += [
            {"image_id": image_id, "category_id": category, "bbox": box, "score": round(rng.random(), digits)}
            for box, category in boxes
        ]
    if options.get("shuffle_ids"):
        rng.shuffle(detections)
    return detections


def build(name, recipe, seed):
    rng, options = random.Random(seed), recipe["options"]
    image_ids = list(range(1, options.get("n_img", 10) + 1))
    if options.get("shuffle_ids"):
        image_ids = rng.sample(range(1, 1000), len(image_ids))
    category_ids = list(range(1, options.get("n_cat", 5) + 1))
    if options.get("cat_gap"):
        category_ids = sorted(rng.sample(range(1, 200), len(category_ids)))
    annotations = draw_annotations(rng, options, image_ids, category_ids)
    files = {
        "annotations": {
            "info": {},
            "licenses": [],
            "images": [{"id": i, "width": WIDTH, "height": HEIGHT, "file_name": f"{i:012d}.jpg"} for i in image_ids],
            "annotations": annotations,
            "categories": [{"id": i, "name": f"class{i}", "supercategory": "thing"} for i in category_ids],
        },
        "detections": draw_detections(rng, options, annotations, image_ids, category_ids),
    }
    meta = {
        "seed": seed,
        "options": options,
        "params": recipe.get("params", {}),
        "annotations": f"{name}.annotations.json",
        "detections": f"{name}.detections.json",
        "source": "pycocotools COCOeval, iouType bbox",
        "layout": "precision: [iou threshold, recall point, category, area range] at the last maxDets; scores: [iou "
        "threshold, recall point, category] at area all and the last maxDets; recall: [iou threshold, category, area "
        "range, maxDets]; -1 means no ground truth; these three are rounded to f32, stats and per_class are f64",
    }
    return Case(name, meta, {}, files)


def dataset(coco_class, document):
    coco = coco_class()
    coco.dataset = copy.deepcopy(document)
    coco.createIndex()
    return coco


def results(coco_class, truth, detections):
    if detections:
        return truth.loadRes(copy.deepcopy(detections))
    # loadRes fails on an empty list.
    return dataset(coco_class, {**truth.dataset, "annotations": []})


def accumulate(coco_class, eval_class, case):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = dataset(coco_class, case.files["annotations"])
        found = eval_class(truth, results(coco_class, truth, case.files["detections"]), "bbox")
        for key, value in case.meta["params"].items():
            setattr(found.params, key, value)
        found.evaluate()
        found.accumulate()
        found.summarize()
    return found


def mean(values):
    """The mean of the entries that have ground truth, -1 without any."""
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0


def per_class(evaluation, categories):
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    thresholds = list(evaluation.params.iouThrs.round(2))
    rows = []
    for index, category in enumerate(categories):
        at = precision[:, :, index, :, -1]
        row = {"category_id": category, "AP": mean(at[:, :, 0])}
        row["AP50"] = mean(at[thresholds.index(0.5), :, 0])
        row["AP75"] = mean(at[thresholds.index(0.75), :, 0])
        row.update({f"AP{size}": mean(at[:, :, i]) for i, size in enumerate("sml", start=1)})
        row["AR"] = mean(recall[:, index, 0, -1])
        rows.append(row)
    return rows


def evaluate(case):
    found = accumulate(COCO, COCOeval, case)
    categories = list(found.params.catIds) if found.params.useCats else [-1]
    stats = np.asarray(found.stats, dtype=np.float64)
    notes = {
        "area_ranges": list(AREAS),
        "max_dets": list(found.params.maxDets),
        "category_order": [int(c) for c in categories],
        "stats": {key: float(value) for key, value in zip(STATS, stats)},
        "per_class": per_class(found, [int(c) for c in categories]),
        "note": "with maxDets other than [1, 10, 100], pycocotools computes the first figure at maxDets 100 and so "
        "gives -1 for it; per_class uses the last maxDets entry",
    }
    if FasterCOCO:
        other = accumulate(FasterCOCO, COCOeval_faster, case)
        gap = np.abs(np.asarray(other.stats, dtype=np.float64)[: len(STATS)] - stats).max()
        notes["faster_coco_eval_max_abs_difference_of_stats"] = float(gap)
    outputs = {
        "precision": torch.from_numpy(found.eval["precision"][..., -1]).float(),
        "recall": torch.from_numpy(found.eval["recall"]).float(),
        "scores": torch.from_numpy(found.eval["scores"][:, :, :, 0, -1]).float(),
        "stats": torch.from_numpy(stats),
    }
    return outputs, notes


GROUPS = [Group(kind="cocoeval", recipes=RECIPES, build=build, evaluate=evaluate, inputs=(), packages=PACKAGES)]
