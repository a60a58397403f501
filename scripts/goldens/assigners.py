"""Point, max-IoU and center-region assigners of mmdetection."""

import fnmatch

import mmcv_shim  # noqa: F401  (must come before mmdet)
import torch
from mmdet.models.task_modules import AnchorGenerator, MlvlPointGenerator
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData

from common import OPENMMLAB, Ambiguous, Case, Group, generator, integers, normal, random_boxes
from heads import level_sizes

STRIDES = [8, 16, 32, 64, 128]
CLASSES = 4

POINT = {"type": "PointAssigner", "scale": 4, "pos_num": 1}
OVERLAP = {
    "type": "MaxIoUAssigner",
    "pos_iou_thr": 0.5,
    "neg_iou_thr": 0.4,
    "min_pos_iou": 0.05,
    "ignore_iof_thr": 0.5,
}
CENTER = {"type": "CenterRegionAssigner", "pos_scale": 0.2, "neg_scale": 0.2, "min_pos_iof": 0.01}

# Which boxes (or points) an assigner of this name assigns. The point assigner fails for more points than the last
# level has.
PRIORS = {
    "point_3": "points without the last level",
    "point_*": "points",
    "maxiou*": "proposals",
    "center*": "anchors",
}

RECIPES = {
    "assigners": {
        "configs": {
            "point_1": POINT,
            "point_3": {**POINT, "pos_num": 3},
            "point_2_scale_8": {**POINT, "scale": 8, "pos_num": 2},
            "maxiou": OVERLAP,
            "maxiou_off": {**OVERLAP, "ignore_iof_thr": -1},
            "maxiou_of_region": {**OVERLAP, "ignore_iof_thr": 0.1, "ignore_wrt_candidates": False},
            "maxiou_first": {**OVERLAP, "gt_max_assign_all": False, "min_pos_iou": 0.3},
            "maxiou_nolow": {**OVERLAP, "pos_iou_thr": 0.4, "neg_iou_thr": 0.3, "match_low_quality": False},
            "center": CENTER,
            "center_ring": {**CENTER, "neg_scale": 0.5},
            "center_foreground": {**CENTER, "pos_scale": 0.4, "neg_scale": 0.7, "foreground_dominate": True},
            "center_ignore": {**CENTER, "pos_scale": 0.6, "neg_scale": 0.8, "ignore_gt_scale": 1.0},
            "center_part": {**CENTER, "pos_scale": 0.5, "neg_scale": 0.3, "min_pos_iof": 0.2},
        },
        "boxes": 14,
    },
    "assigners_crowded": {
        "configs": {"point_1": POINT, "maxiou": OVERLAP, "center_ring": {**CENTER, "neg_scale": 0.5}},
        "boxes": 60,
    },
    "assigners_one_box": {"configs": {"point_1": POINT, "maxiou": OVERLAP, "center": CENTER}, "boxes": 1},
}


def build(name, options, seed):
    rng = generator(seed)
    height, width = 128, 160
    sizes = level_sizes(height, width, STRIDES)
    points = MlvlPointGenerator(STRIDES, offset=0.0).grid_priors(sizes, device="cpu", with_stride=True)
    anchors = AnchorGenerator(STRIDES, [1.0], octave_base_scale=1, scales_per_octave=1).grid_priors(sizes, device="cpu")
    anchors = torch.cat(anchors)
    truth = random_boxes(rng, options["boxes"], height, width, smallest=4.0, largest=120.0)
    # Half of the proposals lie about the boxes, the others anywhere.
    near = truth[integers(rng, 0, len(truth), len(anchors) // 2)]
    near = near + normal(rng, *near.shape) * (near[:, 2:] - near[:, :2]).repeat(1, 2) * 0.15
    far = random_boxes(rng, len(anchors) - len(near), height, width, smallest=8.0, largest=120.0)
    meta = {
        "seed": seed,
        "sizes": sizes,
        "strides": STRIDES,
        "configs": options["configs"],
        "priors": {
            pattern: kind
            for pattern, kind in PRIORS.items()
            if any(fnmatch.fnmatchcase(name, pattern) for name in options["configs"])
        },
        "source": "mmdet assigners",
        "note": "gt_inds: -1 ignored, 0 background, k>0 the k-th ground truth; labels -1 for background; shadowed rows "
        "are (prior index, class). /ignore uses ignore_bboxes (PointAssigner does not look at it), /no_gt has no "
        "ground truth",
    }
    inputs = {
        # The head's generator stores the stride twice, the assigner reads the first.
        "points": torch.cat(points)[:, :3].contiguous(),
        "anchors": anchors,
        "proposals": torch.cat([near, far]),
        "gt_bboxes": truth,
        "gt_labels": integers(rng, 0, CLASSES, len(truth)),
        "ignore_bboxes": random_boxes(rng, 4, height, width, smallest=10.0, largest=120.0),
    }
    return Case(name, meta, inputs)


def priors_of(case, name):
    """The name of what an assigner assigns, and the rows it takes of that."""
    found = (kind for pattern, kind in case.meta["priors"].items() if fnmatch.fnmatchcase(name, pattern))
    kind, _, without = next(found).partition(" ")
    levels = case.meta["sizes"][: -1 if without else None]
    return kind, sum(height * width for height, width in levels)


def assign(case, name, dtype, scene):
    """One assigner on one scene: tensors by their name in the case."""
    kind, rows = priors_of(case, name)
    boxes = lambda key: case.inputs[key].to(dtype)  # noqa: E731
    truth = InstanceData(bboxes=boxes("gt_bboxes"), labels=case.inputs["gt_labels"])
    if scene == "/no_gt":
        truth = truth[:0]
    ignore = InstanceData(bboxes=boxes("ignore_bboxes")) if scene == "/ignore" else None
    assigner = TASK_UTILS.build(case.meta["configs"][name])
    result = assigner.assign(InstanceData(priors=boxes(kind)[:rows]), truth, ignore)
    found = {"gt_inds": result.gt_inds, "labels": result.labels}
    if kind == "proposals":
        found["max_overlaps"] = result.max_overlaps
    if kind == "anchors":
        found["shadowed"] = result.get_extra_property("shadowed_labels")
    return {f"{name}{scene}/{key}": tensor for key, tensor in found.items()}


def run(case, dtype):
    found = {}
    for name in case.meta["configs"]:
        for scene in ("", "/ignore", "/no_gt"):
            found.update(assign(case, name, dtype, scene))
    return found


def evaluate(case):
    return run(case, torch.float32), {}


def check(case, found):
    """Refuses cases whose assignment depends on the precision."""
    double = run(case, torch.float64)
    for name, tensor in found.items():
        if not tensor.is_floating_point() and not torch.equal(tensor, double[name]):
            raise Ambiguous(f"{name} differs in f64")


GROUPS = [
    Group(
        kind="assigners",
        recipes=RECIPES,
        build=build,
        evaluate=evaluate,
        inputs=("points", "anchors", "proposals", "gt_bboxes", "gt_labels", "ignore_bboxes"),
        packages=OPENMMLAB,
        check=check,
    )
]
