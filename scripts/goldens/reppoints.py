"""RepPoints heads of mmdetection: raw outputs, targets of both stages, losses, gradients, detections."""

import functools

import mmcv_shim  # noqa: F401  (must come before mmdet)
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from common import OPENMMLAB, Ambiguous, Case, Group, generator, integers, listed, merge_noise, noise, normal
from common import under, uniform
from head_recipes import test_config
from heads import (
    DCN_GRADIENT_NOISE,
    RANK_GAP,
    NmsRecorder,
    belongs,
    check_suppression,
    draw_boxes,
    image_metas,
    level_sizes,
)

LAYOUT = (
    "param/* is the state dict; feat/<level> the FPN maps (NCHW, 2 images); gt/<image>/*; "
    "train/<output>/<level> raw outputs in training mode, eval/* the ones that differ in evaluation mode; "
    "target/<stage>/* what get_targets returned ([image, position, ...]); loss/<term> is the sum of "
    "loss/<term>/<level>, loss/total the sum of all terms; grad/* gradients of loss/total; det/<image>/* final "
    "detections, det_rescaled/* with rescale=True (boxes divided by scale_factor (w, h)), before_nms/* candidates handed to NMS. "
    "Labels equal to the number of classes mean background."
)

OUTPUTS = ("cls_score", "pts_init", "pts_refine")
TARGETS = ("labels", "label_weights", "bboxes", "bbox_weights")

POINT = {"type": "PointAssigner", "scale": 4, "pos_num": 1}
OVERLAP = {
    "type": "MaxIoUAssigner",
    "pos_iou_thr": 0.5,
    "neg_iou_thr": 0.4,
    "min_pos_iou": 0,
    "ignore_iof_thr": -1,
}
STRICT = {**OVERLAP, "pos_iou_thr": 0.3, "neg_iou_thr": 0.3, "match_low_quality": False}
PADDED = {"image": [128, 160], "batch": [192, 256]}


def stages(init=POINT, refine=OVERLAP):
    rest = {"allowed_border": -1, "pos_weight": -1, "debug": False}
    return {"init": {"assigner": init, **rest}, "refine": {"assigner": refine, **rest}}


def config(**changes):
    """A narrow RepPoints head with boxes from moments."""
    head = {
        "type": "RepPointsHead",
        "num_classes": 5,
        "in_channels": 16,
        "feat_channels": 16,
        "point_feat_channels": 16,
        "stacked_convs": 2,
        "num_points": 9,
        "gradient_mul": 0.1,
        "point_strides": [8, 16, 32, 64, 128],
        "point_base_scale": 4,
        "norm_cfg": {"type": "GN", "num_groups": 4, "requires_grad": True},
        "loss_cls": {"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "loss_weight": 1.0},
        "loss_bbox_init": {"type": "SmoothL1Loss", "beta": 0.11, "loss_weight": 0.5},
        "loss_bbox_refine": {"type": "SmoothL1Loss", "beta": 0.11, "loss_weight": 1.0},
        "transform_method": "moment",
        "train_cfg": stages(),
        "test_cfg": test_config(),
    }
    head.update(changes)
    return head


def grid(**changes):
    return config(**{"use_grid_points": True, "transform_method": "minmax", "train_cfg": stages(OVERLAP), **changes})


# With several points per box the fixed boxes among "mixed" have equally near points, of which the reference takes
# what its sort happens to put first: those recipes draw other boxes.
RECIPES = {
    "head_reppoints_moment": {"head": config()},
    "head_reppoints_minmax": {"head": config(transform_method="minmax")},
    "head_reppoints_partial_minmax": {"head": config(transform_method="partial_minmax")},
    "head_reppoints_grid": {"head": grid()},
    "head_reppoints_grid_points": {"head": grid(train_cfg=stages())},
    "head_reppoints_grid_moment": {"head": grid(transform_method="moment", point_base_scale=6)},
    "head_reppoints_grid_partial": {"head": grid(transform_method="partial_minmax", num_points=25)},
    "head_reppoints_from_grid": {"head": config(center_init=False), "boxes": "one_empty"},
    "head_reppoints_from_grid_25": {
        "head": config(center_init=False, num_points=25, transform_method="minmax", point_base_scale=8)
    },
    "head_reppoints_25_points": {"head": config(num_points=25, moment_mul=0.3), **PADDED},
    "head_reppoints_49_points": {"head": config(num_points=49, transform_method="minmax"), "image": [75, 99]},
    "head_reppoints_no_norm": {"head": config(norm_cfg=None, num_classes=3, stacked_convs=1)},
    "head_reppoints_widths": {
        "head": config(in_channels=8, feat_channels=24, point_feat_channels=12, stacked_convs=3, num_classes=1),
        "image": [101, 143],
    },
    "head_reppoints_no_towers": {"head": config(stacked_convs=0, norm_cfg=None)},
    "head_reppoints_padded": {"head": config(), **PADDED},
    "head_reppoints_grid_padded": {"head": grid(), **PADDED, "boxes": "one_empty"},
    "head_reppoints_three_levels": {
        "head": config(point_strides=[8, 16, 32], num_classes=7, train_cfg=stages({**POINT, "pos_num": 3})),
        "boxes": "crowded",
        "image": [120, 168],
    },
    "head_reppoints_from_4": {
        "head": config(point_strides=[4, 8, 16, 32], train_cfg=stages({**POINT, "scale": 3, "pos_num": 2})),
        "boxes": "crowded",
        "image": [75, 99],
    },
    "head_reppoints_single_level": {
        "head": config(point_strides=[16], train_cfg=stages({**POINT, "pos_num": 9})),
        "boxes": "crowded",
        "image": [160, 224],
    },
    "head_reppoints_overlap_first": {"head": config(train_cfg=stages(OVERLAP))},
    "head_reppoints_thresholds": {
        "head": config(
            train_cfg=stages(
                {**OVERLAP, "pos_iou_thr": 0.4, "neg_iou_thr": 0.3, "min_pos_iou": 0.1},
                {**OVERLAP, "pos_iou_thr": 0.35, "neg_iou_thr": 0.2, "min_pos_iou": 0.05, "gt_max_assign_all": False},
            )
        )
    },
    "head_reppoints_strict": {
        "head": config(train_cfg=stages(POINT, STRICT))
    },
    "head_reppoints_gradients": {
        "head": config(
            gradient_mul=0.7,
            moment_mul=1.0,
            loss_cls={"type": "FocalLoss", "use_sigmoid": True, "gamma": 1.5, "alpha": 0.4, "loss_weight": 2.0},
            loss_bbox_init={"type": "SmoothL1Loss", "beta": 1.0, "loss_weight": 1.5},
            loss_bbox_refine={"type": "SmoothL1Loss", "beta": 0.5, "loss_weight": 0.3},
        )
    },
    "head_reppoints_all_empty": {"head": config(), "boxes": "all_empty"},
    "head_reppoints_grid_all_empty": {"head": grid(), "boxes": "all_empty"},
    "head_reppoints_one_empty": {"head": config(transform_method="minmax"), "boxes": "one_empty"},
    "head_reppoints_degenerate": {"head": config(), "boxes": "degenerate"},
    "head_reppoints_crowded": {"head": config(), "boxes": "crowded"},
    "head_reppoints_huge": {"head": config(), "boxes": "huge", "image": [256, 320]},
    "head_reppoints_eighty_classes": {
        "head": config(num_classes=80, test_cfg=test_config(score_thr=0.3, nms_pre=20, max_per_img=5))
    },
    "head_reppoints_no_detections": {"head": config(test_cfg=test_config(score_thr=0.99))},
    "head_reppoints_small_boxes_dropped": {"head": config(test_cfg=test_config(min_bbox_size=20))},
}  # fmt: skip


def draw_parameter(rng, name, shape):
    """Values under which scores, points and gradients are of ordinary size."""
    if name == "moment_transfer":
        return normal(rng, *shape, std=0.2)
    if name == "reppoints_cls_out.bias":
        return normal(rng, *shape, std=0.2, mean=-1.5)
    if ".gn." in name:
        return normal(rng, *shape, std=0.2, mean=1.0) if name.endswith("weight") else normal(rng, *shape, std=0.1)
    if name.endswith("bias"):
        return normal(rng, *shape, std=0.1)
    fan_in = shape[1] * shape[2] * shape[3]
    gain = 0.5 if "_pts_" in name and "_out" in name else 2.0
    return normal(rng, *shape, std=(gain / fan_in) ** 0.5)


def pad(metas, batch):
    """Pads the images to the size of a larger batch."""
    return [{**meta, "batch_input_shape": batch} for meta in metas]


def build(name, options, seed):
    rng = generator(seed)
    head, image = options["head"], options.get("image", [128, 160])
    boxes, batch = options.get("boxes", "mixed"), options.get("batch", image)
    metas = pad(image_metas(*image), batch)
    sizes = level_sizes(*batch, head["point_strides"])
    meta = {
        "seed": seed,
        "head": head,
        "input_grid": "x".join(map(str, batch)),
        "boxes": boxes,
        "extra": {},
        "img_metas": metas,
        "level_sizes": sizes,
        "source": "mmdet.models.dense_heads.RepPointsHead",
        "layout": LAYOUT,
    }
    inputs = {}
    for key, value in build_reppoints(meta).state_dict().items():
        inputs[f"param/{key}"] = draw_parameter(rng, key, value.shape)
    for level, (h, w) in enumerate(sizes):
        inputs[f"feat/{level}"] = normal(rng, 2, head["in_channels"], h, w)
    for index, image_meta in enumerate(metas):
        drawn = draw_boxes(boxes, rng, index, image_meta["img_shape"])
        if boxes == "degenerate":
            # Rounding would decide which points are nearest to the middle between points, and to a line: there
            # distances along it are lost beside those across it.
            sides = drawn[:, 2:] - drawn[:, :2]
            drawn = drawn[(sides > 0).all(1) | (sides == 0).all(1)] - uniform(rng, 1, low=0.5, high=1.5)
        inputs[f"gt/{index}/bboxes"] = drawn
        inputs[f"gt/{index}/labels"] = integers(rng, 0, head["num_classes"], len(drawn))
    return Case(name, meta, inputs)


def build_reppoints(meta):
    """The head; heads.py's own builder drops the options of training."""
    return MODELS.build(ConfigDict(meta["head"]))


class TargetRecorder:
    """Keeps what the head's `get_targets` returns for each stage."""

    def __init__(self, head):
        self.head, self.found, self.original = head, {}, head.get_targets

    def __enter__(self):
        self.head.get_targets = self.record
        return self.found

    def __exit__(self, *_):
        self.head.get_targets = self.original

    def record(self, *args, stage="init", **keywords):
        result = self.original(*args, stage=stage, **keywords)
        labels, label_weights, boxes, _, box_weights, factor = result
        for kind, levels in zip(TARGETS, (labels, label_weights, boxes, box_weights)):
            self.found.update({f"target/{stage}/{kind}/{i}": level for i, level in enumerate(levels)})
        self.found[f"target/{stage}/avg_factor"] = torch.tensor(float(factor))
        return result


def forward_and_loss(head, feats, truths, metas):
    """Training mode: outputs, targets, losses, gradients."""
    head.train()
    outputs = head(feats)
    found = {f"train/{key}/{i}": level for key, levels in zip(OUTPUTS, outputs) for i, level in enumerate(levels)}
    with TargetRecorder(head) as targets:
        losses = head.loss_by_feat(*outputs, truths, metas)
    found.update(targets)
    for term, levels in losses.items():
        found.update({f"loss/{term}/{i}": level for i, level in enumerate(levels)})
        found[f"loss/{term}"] = sum(levels)
    found["loss/total"] = sum(sum(levels) for levels in losses.values())
    found["loss/total"].backward()
    for i, feat in enumerate(feats):
        found[f"grad/feat/{i}"] = feat.grad
    for key, parameter in head.named_parameters():
        found[f"grad/param/{key}"] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return found


def detect(head, feats, metas):
    """Evaluation mode: boxes, candidates before NMS, detections."""
    head.eval()
    with torch.no_grad():
        outputs = head(feats)
        found = {f"eval/bbox_pred/{i}": level for i, level in enumerate(outputs[1])}
        for index, meta in enumerate(metas):
            single = [[level[index : index + 1] for level in levels] for levels in outputs]
            with NmsRecorder() as recorder:
                plain = head.predict_by_feat(*single, batch_img_metas=[meta], rescale=False)[0]
            nothing = {"bboxes": plain.bboxes, "scores": plain.scores, "labels": plain.labels}
            candidates = recorder.calls[0] if recorder.calls else nothing
            rescaled = head.predict_by_feat(*single, batch_img_metas=[meta], rescale=True)[0]
            for key in ("bboxes", "scores", "labels"):
                found[f"before_nms/{index}/{key}"] = candidates[key]
                found[f"det/{index}/{key}"] = plain[key]
                found[f"det_rescaled/{index}/{key}"] = rescaled[key]
    return found


def run(case, dtype):
    head = build_reppoints(case.meta)
    head.load_state_dict(under(case.inputs, "param"))
    head.to(dtype)
    # The head asks for f32 points, which the assigners cannot mix with f64 boxes.
    head.prior_generator.grid_priors = functools.partial(head.prior_generator.grid_priors, dtype=dtype)
    feats = [f.to(dtype, copy=True).requires_grad_() for f in listed(case.inputs, "feat")]
    metas = [{k: tuple(v) for k, v in meta.items()} for meta in case.meta["img_metas"]]
    truths = [
        InstanceData(bboxes=case.inputs[f"gt/{i}/bboxes"].to(dtype), labels=case.inputs[f"gt/{i}/labels"])
        for i in range(len(metas))
    ]
    found = forward_and_loss(head, feats, truths, metas)
    found.update(detect(head, feats, metas))
    return {name: tensor.detach() for name, tensor in found.items()}


def check_against_double(case, found):
    """Refuses cases whose assignment or gradients depend on the precision."""
    double = run(case, torch.float64)
    for name, tensor in found.items():
        same = tensor.shape == double[name].shape
        exact = not tensor.is_floating_point() or name.endswith(("_weights", "avg_factor"))
        if not same or (exact and not torch.equal(tensor.double(), double[name].double())):
            raise Ambiguous(f"{name} differs in f64")
        # The slope of a bilinear sample jumps at whole pixels, that of a smallest coordinate where two are equal.
        difference, largest = noise(tensor, double[name])
        if name.startswith("grad/") and difference > DCN_GRADIENT_NOISE * largest:
            raise Ambiguous(f"{name} differs by {difference:.1e} of {largest:.1e} in f64")


def check_ranking(case, found):
    """Refuses cases where rounding decides which candidates are kept.

    Equal scores among the kept are allowed: a set of points that lies outside of the map has the bias as its score.
    """
    test = case.meta["head"]["test_cfg"]
    for level in range(len(case.meta["level_sizes"])):
        for image in range(len(case.meta["img_metas"])):
            scores = found[f"train/cls_score/{level}"][image].sigmoid().flatten()
            if (scores - test["score_thr"]).abs().min() < RANK_GAP:
                raise Ambiguous("a score at the threshold")
            ranked = scores[scores > test["score_thr"]].sort(descending=True).values
            kept = test["nms_pre"]
            if len(ranked) > kept and ranked[kept - 1] - ranked[kept] < RANK_GAP:
                raise Ambiguous("equal scores at the limit of candidates")


def check(case, found):
    check_against_double(case, found)
    check_ranking(case, found)
    check_suppression(case, found)


NOISE_KINDS = ("train/cls_score", "train/pts_init", "train/pts_refine", "loss/loss_cls", "loss/loss_pts_init",
               "loss/loss_pts_refine", "loss/total", "grad/feat", "grad/param", "before_nms/bboxes",
               "before_nms/scores")  # fmt: skip


def evaluate(case):
    single, double = run(case, torch.float32), run(case, torch.float64)
    notes = {
        "loss_total": single["loss/total"].item(),
        "detections": [len(single[f"det/{i}/scores"]) for i in range(len(case.meta["img_metas"]))],
        "max_abs_difference_f32_vs_f64_and_max_abs_value": {
            kind: merge_noise(noise(single[n], double[n]) for n in single if belongs(n, kind)) for kind in NOISE_KINDS
        },
        "f64_run_failed": None,
    }
    return single, notes


GROUPS = [
    Group(
        kind="head",
        recipes=RECIPES,
        build=build,
        evaluate=evaluate,
        inputs=("param/*", "feat/*", "gt/*"),
        packages=OPENMMLAB,
        owns=lambda meta: meta["head"]["type"] == "RepPointsHead",
        check=check,
    )
]
