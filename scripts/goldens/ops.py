"""Focal loss, box losses and non-maximum suppression."""

import mmcv_shim  # noqa: F401  (must come before mmdet)
import torch
import torchvision
from mmcv.ops import batched_nms
from mmdet.models import losses as mm_losses
from mmdet.models.layers import multiclass_nms
from torchvision.ops import box_iou

from common import OPENMMLAB, Ambiguous, Case, Group, generator, integers, normal, random_boxes, uniform

# --- focal loss ---------------------------------------------------------------

FOCAL_RECIPES = {
    "focal": {"alpha_gamma": [[0.25, 2.0], [0.4, 1.5]], "rows": 29, "classes": 5},
    "focal_one_class": {"alpha_gamma": [[0.75, 0.0], [0.25, 1.0], [0.5, 5.0]], "rows": 17, "classes": 1},
    "focal_eighty_classes": {"alpha_gamma": [[0.25, 2.0], [0.9, 3.0]], "rows": 14, "classes": 80},
    "focal_no_alpha": {"alpha_gamma": [[-1.0, 2.0], [-1.0, 3.0]], "rows": 20, "classes": 3},
}
LARGE_LOGITS = (-100.0, -88.0, -50.0, -20.0, -10.0, -5.0, 0.0, 5.0, 10.0, 20.0, 50.0, 88.0, 100.0)


def build_focal(name, options, seed):
    rng, rows, classes = generator(seed), options["rows"], options["classes"]
    meta = {
        "seed": seed,
        "alpha_gamma": options["alpha_gamma"],
        "source": "torchvision.ops.sigmoid_focal_loss (tv/*, no reduction, gradient of sum(value*upstream)); mmdet "
        "FocalLoss (mm/*): plain avg_factor 6.5, weighted avg_factor 3 and per-row weight, mean over all elements, sum",
        "note": "label == number of classes means background; alpha < 0 switches alpha weighting off in torchvision; "
        "mmdet knows no such rule, so there is no mm/* then",
    }
    large = torch.tensor(LARGE_LOGITS)[:, None].expand(-1, classes)
    inputs = {
        "logits": torch.cat([normal(rng, rows, classes, std=3.0), large]),
        "labels": integers(rng, 0, classes + 1, rows + len(large)),
        "upstream": normal(rng, rows + len(large), classes),
        "weight": uniform(rng, rows + len(large)),
    }
    return Case(name, meta, inputs)


def value_and_gradient(function, variable, upstream=None):
    """The value and the gradient of sum(value * upstream)."""
    variable = variable.clone().requires_grad_()
    value = function(variable)
    (value if upstream is None else value * upstream).sum().backward()
    return {"value": value.detach(), "grad": variable.grad}


def evaluate_focal(case):
    logits, labels, weight = (case.inputs[k] for k in ("logits", "labels", "weight"))
    upstream, found = case.inputs["upstream"], {}
    target = torch.nn.functional.one_hot(labels, logits.shape[1] + 1)[:, :-1]
    for index, (alpha, gamma) in enumerate(case.meta["alpha_gamma"]):
        for dtype, suffix in ((torch.float32, ""), (torch.float64, "_f64")):
            made = value_and_gradient(
                lambda x: torchvision.ops.sigmoid_focal_loss(x, target.to(dtype), alpha=alpha, gamma=gamma),
                logits.to(dtype),
                upstream.to(dtype),
            )
            found.update({f"tv/{index}/{key}{suffix}": t for key, t in made.items()})
        if alpha < 0:
            continue
        loss = mm_losses.FocalLoss(gamma=gamma, alpha=alpha)
        variants = {
            "plain": {"avg_factor": 6.5},
            "weighted": {"avg_factor": 3, "weight": weight},
            "mean": {},
            "sum": {"reduction_override": "sum"},
        }
        for key, arguments in variants.items():
            made = value_and_gradient(lambda x: loss(x, labels, **arguments), logits)
            found.update({f"mm/{index}/{key}/{k}": t for k, t in made.items()})
    return found, {}


# --- box losses ---------------------------------------------------------------

BOX_CONFIGS = {
    "iou_log": {"class": "IoULoss", "mode": "log", "eps": 1e-06},
    "iou_linear": {"class": "IoULoss", "mode": "linear", "eps": 1e-06},
    "iou_square": {"class": "IoULoss", "mode": "square", "eps": 1e-06},
    "giou": {"class": "GIoULoss", "eps": 1e-06},
    "diou": {"class": "DIoULoss", "eps": 1e-06},
    "ciou": {"class": "CIoULoss", "eps": 1e-06},
    "bounded_iou": {"class": "BoundedIoULoss", "beta": 0.2, "eps": 0.001},
    "smooth_l1_1": {"class": "SmoothL1Loss", "beta": 1.0},
    "smooth_l1_0.11": {"class": "SmoothL1Loss", "beta": 0.11},
    "smooth_l1_1/9": {"class": "SmoothL1Loss", "beta": 0.1111111111111111},
    "l1": {"class": "L1Loss"},
}
OTHER_EPS = {
    name: {**options, "eps": 1e-07} if options["class"] in ("GIoULoss", "DIoULoss") else options
    for name, options in BOX_CONFIGS.items()
}
BOX_RECIPES = {
    "boxloss": {"configs": BOX_CONFIGS, "pairs": 20, "spread": 8.0},
    "boxloss_far": {"configs": BOX_CONFIGS, "pairs": 24, "spread": 60.0},
    "boxloss_near_other_eps": {"configs": OTHER_EPS, "pairs": 16, "spread": 0.5},
}

SPECIAL_PAIRS = torch.tensor(
    [
        [[10.0, 10, 20, 20], [10, 10, 20, 20]],  # equal
        [[0, 0, 10, 10], [20, 20, 30, 30]],  # apart
        [[0, 0, 10, 10], [10, 0, 20, 10]],  # touching
        [[0, 0, 40, 40], [10, 10, 20, 20]],  # target inside
        [[12, 12, 18, 18], [10, 10, 20, 20]],  # prediction inside
        [[15, 15, 15, 15], [10, 10, 20, 20]],  # prediction without area
        [[10, 10, 20, 20], [15, 15, 15, 15]],  # target without area
        [[15, 15, 15, 15], [15, 15, 15, 15]],  # both without area
        [[0, 0, 10000, 10000], [1, 1, 10003, 9993]],  # huge
        [[0, 0, 0.001, 0.001], [0.0002, 0, 0.001, 0.002]],  # tiny
        [[-30, -20, -5, -1], [-28, -22, -4, 3]],  # negative coordinates
        [[10, 10, 60, 12], [10, 10, 12, 60]],  # crossed
    ]
)


def build_boxes(name, options, seed):
    rng, pairs = generator(seed), options["pairs"]
    meta = {
        "seed": seed,
        "configs": options["configs"],
        "source": "mmdet losses; tv_*: torchvision.ops (eps 1e-7)",
        "note": "value/grad: no reduction, gradient of sum(value*upstream) with upstream repeated over the four "
        "coordinates where the loss is per coordinate; weighted_*: weight and avg_factor 4 (the sum is divided by "
        "avg_factor + f32 epsilon); bce: sigmoid cross entropy with soft targets, avg_factor 7. The last 12 pairs are "
        "special ones (equal, apart, touching, inside, no area, huge, tiny, ...)",
    }
    target = random_boxes(rng, pairs, 200, 200, smallest=4.0, largest=90.0)
    pred = target + normal(rng, pairs, 4, std=options["spread"])
    # A decoded prediction has its corners in order.
    pred = torch.cat([torch.minimum(pred[:, :2], pred[:, 2:]), torch.maximum(pred[:, :2], pred[:, 2:])], dim=1)
    count = pairs + len(SPECIAL_PAIRS)
    inputs = {
        "pred": torch.cat([pred, SPECIAL_PAIRS[:, 0]]),
        "target": torch.cat([target, SPECIAL_PAIRS[:, 1]]),
        "weight": uniform(rng, count),
        "upstream": normal(rng, count),
        "bce/logits": torch.cat([torch.tensor([-100.0, -30, 0, 30, 100, 0.0001]), normal(rng, 24, std=2.5)]),
        "bce/target": uniform(rng, 30),
    }
    return Case(name, meta, inputs)


def per_row(upstream, value):
    """The upstream gradient in the shape of the loss, [N] or [N, 4]."""
    return upstream if value.dim() == 1 else upstream[:, None].expand_as(value)


def box_loss(config):
    options = {k: v for k, v in config.items() if k != "class"}
    return getattr(mm_losses, config["class"])(**options)


def evaluate_boxes(case):
    given, found = case.inputs, {}
    pred, target, upstream, weight = (given[k] for k in ("pred", "target", "upstream", "weight"))
    for name, config in case.meta["configs"].items():
        loss = box_loss(config)
        for dtype, suffix in ((torch.float32, ""), (torch.float64, "_f64")):
            goal = target.to(dtype)
            plain = lambda x: loss(x, goal, reduction_override="none")  # noqa: E731
            made = value_and_gradient(plain, pred.to(dtype), per_row(upstream.to(dtype), plain(pred.to(dtype))))
            found.update({f"{name}/{key}{suffix}": t for key, t in made.items()})
        weights = per_row(weight, found[f"{name}/value"])
        made = value_and_gradient(lambda x: loss(x, target, weight=weights, avg_factor=4), pred)
        found.update({f"{name}/weighted_{key}": t for key, t in made.items()})
    for kind in ("giou", "diou", "ciou"):
        function = {
            "giou": torchvision.ops.generalized_box_iou_loss,
            "diou": torchvision.ops.distance_box_iou_loss,
            "ciou": torchvision.ops.complete_box_iou_loss,
        }[kind]
        made = value_and_gradient(lambda x: function(x, target), pred, upstream)
        found.update({f"tv_{kind}/{key}": t for key, t in made.items()})
    bce = mm_losses.CrossEntropyLoss(use_sigmoid=True)
    made = value_and_gradient(lambda x: bce(x, given["bce/target"], avg_factor=7), given["bce/logits"])
    found.update({f"bce/{key}": t for key, t in made.items()})
    return found, {}


# --- non-maximum suppression --------------------------------------------------

NMS_RECIPES = {
    "nms_random": {"n": 300, "classes": 5, "thr": 0.5},
    "nms_clustered": {"n": 400, "classes": 3, "thr": 0.6, "cluster": 12},
    "nms_ties": {"n": 200, "classes": 2, "thr": 0.5, "cluster": 6, "digits": 1},
    "nms_degenerate": {"n": 120, "classes": 2, "thr": 0.5, "cluster": 5, "degenerate": True},
    "nms_exact_threshold": {"special": "exact", "thr": 0.5, "classes": 1},
    "nms_empty": {"n": 0, "classes": 2, "thr": 0.5},
    "nms_single": {"n": 1, "classes": 1, "thr": 0.3},
    "nms_low_threshold": {"n": 350, "classes": 1, "thr": 0.1, "cluster": 20},
    "nms_many_classes": {"n": 320, "classes": 80, "thr": 0.7, "cluster": 4},
    "nms_crowded": {"n": 900, "classes": 4, "thr": 0.5, "cluster": 3},
}
NMS_NOTE = (
    "a box is dropped when its overlap with a kept box is greater than (not equal to) the threshold; keep lists are "
    "ordered by falling score. multi_*: score_thr 0.3, max_num 50, last column of multi_scores is background; "
    "multi_keep indexes the flattened (box, class) pairs. soft_*: sigma 0.5, min_score 1e-3. With equal scores a "
    "compiled mmcv orders mmcv_*, multi_* and soft_* in another way than a stable sort"
)


def exact_boxes():
    """Pairs whose overlap is exactly, just above and just below one half."""
    return torch.tensor(
        [
            [0.0, 0, 10, 10],
            [0, 0, 10, 5],
            [20, 0, 30, 10],
            [20, 0, 30, 5.001],
            [40, 0, 50, 10],
            [40, 0, 50, 4.999],
            [100, 100, 104, 104],
            [102, 100, 106, 104],
            [0, 50, 3, 53],
            [1, 50, 4, 53],
        ]
    )


def clustered_boxes(rng, count, clusters):
    """Groups of boxes around common centres, each jittered."""
    sizes = uniform(rng, clusters, 2, low=15, high=55)
    centers = uniform(rng, clusters, 2) * torch.tensor([300.0, 220.0])
    which = integers(rng, 0, clusters, count)
    jitter = normal(rng, count, 4, std=2.5)
    center = centers[which] + jitter[:, :2]
    half = (sizes[which] / 2 + jitter[:, 2:]).clamp(min=3.0)
    return torch.cat([center - half, center + half], dim=1)


def build_nms(name, options, seed):
    rng, classes = generator(seed), options["classes"]
    if options.get("special") == "exact":
        boxes = exact_boxes()
    elif "cluster" in options:
        boxes = clustered_boxes(rng, options["n"], options["cluster"])
    else:
        boxes = random_boxes(rng, options["n"], 260, 345)
    count = len(boxes)
    if options.get("degenerate"):
        boxes = without_area(boxes)
    scores = uniform(rng, count)
    if "digits" in options:
        scores = (scores * 10 ** options["digits"]).floor() / 10 ** options["digits"]
    meta = {
        "seed": seed,
        "options": options,
        "source": "torchvision.ops.batched_nms / nms; mmcv.ops.batched_nms; mmdet multiclass_nms",
        "note": NMS_NOTE,
    }
    inputs = {"boxes": boxes, "scores": scores, "idxs": integers(rng, 0, classes, count)}
    if count:
        inputs["multi_scores"] = uniform(rng, count, classes + 1)
    return Case(name, meta, inputs)


def without_area(boxes):
    """Every third box loses its width, its height or both, on whole coordinates."""
    boxes = boxes.clone()
    for index in range(0, len(boxes), 3):
        box = boxes[index].round()
        if index % 2 == 0:
            box[2] = box[0]
        if index % 9 != 0:
            box[3] = box[1]
        boxes[index] = box
    return boxes


def check_overlaps(case, _outputs):
    """Refuses overlaps that rounding decides (the exact case holds them on purpose)."""
    if case.meta["options"].get("special") == "exact":
        return
    overlaps = box_iou(case.inputs["boxes"].double(), case.inputs["boxes"].double())
    if ((overlaps - case.meta["options"]["thr"]).abs() < 1e-6).any():
        raise Ambiguous("an overlap at the threshold")


def evaluate_nms(case):
    boxes, scores, idxs = (case.inputs[k] for k in ("boxes", "scores", "idxs"))
    threshold, found = case.meta["options"]["thr"], {}
    found["keep_agnostic"] = torchvision.ops.nms(boxes, scores, threshold)
    found["keep_batched"] = torchvision.ops.batched_nms(boxes, scores, idxs, threshold)
    if len(boxes) == 0:
        return found, {}
    config = {"type": "nms", "iou_threshold": threshold}
    found["mmcv_dets"], found["mmcv_keep"] = batched_nms(boxes, scores, idxs, config)
    found["mmcv_keep_max10"] = batched_nms(boxes, scores, idxs, {**config, "max_num": 10})[1]
    found["multi_dets"], found["multi_labels"], found["multi_keep"] = multiclass_nms(
        boxes, case.inputs["multi_scores"], 0.3, config, max_num=50, return_inds=True
    )
    for method in ("linear", "gaussian"):
        soft = {**config, "type": "soft_nms", "sigma": 0.5, "min_score": 1e-3, "method": method}
        found[f"soft_{method}_dets"], found[f"soft_{method}_keep"] = batched_nms(boxes, scores, idxs, soft)
    return found, {}


GROUPS = [
    Group(
        kind="focal",
        recipes=FOCAL_RECIPES,
        build=build_focal,
        evaluate=evaluate_focal,
        inputs=("labels", "logits", "upstream", "weight"),
        packages=OPENMMLAB,
    ),
    Group(
        kind="box_losses",
        recipes=BOX_RECIPES,
        build=build_boxes,
        evaluate=evaluate_boxes,
        inputs=("pred", "target", "weight", "upstream", "bce/logits", "bce/target"),
        packages=OPENMMLAB,
    ),
    Group(
        kind="nms",
        recipes=NMS_RECIPES,
        build=build_nms,
        evaluate=evaluate_nms,
        inputs=("boxes", "scores", "idxs", "multi_scores"),
        packages=OPENMMLAB,
        check=check_overlaps,
    ),
]
