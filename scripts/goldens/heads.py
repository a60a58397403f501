"""FCOS heads of mmdetection: raw outputs, targets, losses, gradients, detections."""

import mmcv_shim  # noqa: F401  (must come before mmdet)
import torch
from mmdet.models.dense_heads import base_dense_head
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torchvision.ops import box_iou

from common import OPENMMLAB, Ambiguous, Case, Group, generator, integers, listed, merge_noise, noise, normal
from common import random_boxes, under
from head_recipes import RECIPES

register_all_modules(init_default_scope=True)

LAYOUT = (
    "param/* is the state dict; feat/<level> the FPN maps (NCHW, 2 images); gt/<image>/*; "
    "train/<output>/<level> raw outputs in training mode, eval/* the ones that differ in evaluation mode; "
    "target/* what get_targets returned (images concatenated inside a level); target/pos_inds indexes all levels "
    "joined; loss/total is the sum of all terms; grad/* gradients of loss/total; det/<image>/* final detections, "
    "det_rescaled/* with rescale=True (boxes divided by scale_factor (w, h)), before_nms/* candidates handed to NMS. "
    "Labels equal to the number of classes mean background."
)

SCALE_FACTORS = ([0.8, 0.75], [1.25, 1.3])

# Two correct f32 implementations differ by this much at most, so a choice that
# depends on a smaller difference is ambiguous.
SCORE_GAP, RANK_GAP, IOU_GAP = 2e-6, 3e-7, 5e-6

# Around a whole pixel the slope of a bilinear sample jumps: where f32 and f64 fall on different sides of one, their
# gradients differ by more than rounding.
DCN_GRADIENT_NOISE = 5e-6


def image_metas(batch_height, batch_width):
    """The second image fills the batch; the first is smaller and padded."""
    metas = []
    for index, (scale_w, scale_h) in enumerate(SCALE_FACTORS):
        height = batch_height if index else batch_height - 5
        width = batch_width if index else batch_width - 3
        metas.append(
            {
                "img_shape": [height, width],
                "pad_shape": [batch_height, batch_width],
                "batch_input_shape": [batch_height, batch_width],
                "scale_factor": [scale_w, scale_h],
                "ori_shape": [round(height / scale_h), round(width / scale_w)],
            }
        )
    return metas


def level_sizes(height, width, strides):
    """Map sizes of a pyramid: each level halves the one below, rounding up."""
    return [[-(-height // stride), -(-width // stride)] for stride in strides]


def special_boxes(height, width):
    """Fixed boxes at the edges of the assignment rules."""
    cx, cy = width / 2, height / 2
    around = lambda w, h: [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]  # noqa: E731
    return torch.tensor(
        [
            around(3.0, 3.5),  # between points of the finest level
            [0.0, 0.0, width, height],  # the whole image
            around(55.0, 45.0),
            around(55.0, 45.0),  # equal to the one before: equal areas
            around(22.0, 21.0),  # nested
            [8.0, 8.0, 24.0, 40.0],  # edges on points of stride 16
            [4.0, 4.0, 12.0, 12.0],  # corners on points of stride 8
            [width - 6.0, height - 9.0, width, height],  # in a corner
            [2.0, cy, width - 2.0, cy + 4.0],  # a thin line
        ]
    )


def degenerate_boxes(height, width):
    """Boxes without area; they never become positive but take part in the minimum."""
    return torch.tensor(
        [
            [12.0, 12.0, 12.0, 12.0],  # a point on a point of stride 8
            [20.0, 4.0, 20.0, 60.0],  # no width
            [5.0, 44.0, 70.0, 44.0],  # no height
            [width, height, width, height],  # on the corner of the image
            [30.0, 30.0, 30.001, 30.001],
            [40.0, 20.0, 90.0, 70.0],  # one proper box
        ]
    )


def draw_boxes(kind, rng, image, shape):
    """Ground-truth boxes of one image of the pair."""
    height, width = shape
    none = torch.zeros(0, 4)
    if kind == "all_empty" or (kind == "one_empty" and image == 1):
        return none
    if kind == "degenerate":
        return degenerate_boxes(height, width)[: 6 if image == 0 else 3]
    if kind == "crowded":
        return random_boxes(rng, 60 if image == 0 else 33, height, width, smallest=3.0, largest=40.0)
    few = random_boxes(rng, 5, height, width, smallest=10.0, largest=100.0)
    if kind == "huge":
        return torch.cat([few, random_boxes(rng, 6, height, width, smallest=150.0, largest=500.0)])
    return torch.cat([few, special_boxes(height, width)]) if image == 0 else few


def draw_parameter(rng, name, shape, improved):
    """Values under which scores, distances and gradients are of ordinary size."""
    if name.endswith(".scale"):
        return normal(rng, *shape, std=0.1, mean=1.0)
    if name.startswith("conv_reg"):
        # exp of 3 are 20 px; with norm_on_bbox the distance is in strides.
        bias, std = (1.5, 0.1) if improved else (3.0, 0.04)
        return normal(rng, *shape, std=std) if name.endswith("weight") else normal(rng, *shape, std=0.15, mean=bias)
    if name == "conv_cls.bias":
        return normal(rng, *shape, std=0.2, mean=-1.5)
    if ".conv_offset." in name:
        # Offsets of about a pixel, masks around a half.
        return normal(rng, *shape, std=0.5 if len(shape) == 1 else (0.2 / (shape[1] * shape[2] * shape[3])) ** 0.5)
    if ".gn." in name:
        return normal(rng, *shape, std=0.2, mean=1.0) if name.endswith("weight") else normal(rng, *shape, std=0.1)
    if name.endswith("bias"):
        return normal(rng, *shape, std=0.1)
    fan_in = shape[1] * shape[2] * shape[3]
    gain = 1.0 if name.startswith("conv_centerness") else 2.0
    return normal(rng, *shape, std=(gain / fan_in) ** 0.5)


def build_head(meta):
    return MODELS.build(ConfigDict(train_cfg=None, **meta["head"]))


def build(name, options, seed):
    rng = generator(seed)
    head, image = options["head"], options.get("image", [128, 160])
    boxes = options.get("boxes", "mixed")
    metas = image_metas(*image)
    sizes = level_sizes(*image, head["strides"])
    meta = {
        "seed": seed,
        "head": head,
        "input_grid": "x".join(map(str, image)),
        "boxes": boxes,
        "extra": {},
        "img_metas": metas,
        "level_sizes": sizes,
        "source": "mmdet.models.dense_heads.FCOSHead",
        "layout": LAYOUT,
    }
    inputs = {}
    improved = head.get("norm_on_bbox", False)
    for key, value in build_head(meta).state_dict().items():
        inputs[f"param/{key}"] = draw_parameter(rng, key, value.shape, improved)
    for level, (h, w) in enumerate(sizes):
        inputs[f"feat/{level}"] = normal(rng, 2, head["in_channels"], h, w)
    for index, image_meta in enumerate(metas):
        drawn = draw_boxes(boxes, rng, index, image_meta["img_shape"])
        inputs[f"gt/{index}/bboxes"] = drawn
        inputs[f"gt/{index}/labels"] = integers(rng, 0, head["num_classes"], len(drawn))
    return Case(name, meta, inputs)


class NmsRecorder:
    """Keeps what the head hands to NMS, one entry per image with candidates."""

    def __enter__(self):
        self.calls, self.original = [], base_dense_head.batched_nms
        base_dense_head.batched_nms = self.record
        return self

    def __exit__(self, *_):
        base_dense_head.batched_nms = self.original

    def record(self, bboxes, scores, labels, nms_cfg):
        self.calls.append({"bboxes": bboxes, "scores": scores, "labels": labels})
        return self.original(bboxes, scores, labels, nms_cfg)


def forward_and_loss(head, feats, truths, metas):
    """Training mode: outputs, targets, losses, gradients."""
    found = {}
    head.train()
    outputs = head(feats)
    for key, levels in zip(("cls_score", "bbox_pred", "centerness"), outputs):
        found.update({f"train/{key}/{i}": level for i, level in enumerate(levels)})

    points = head.prior_generator.grid_priors([f.shape[-2:] for f in feats], dtype=feats[0].dtype, device="cpu")
    labels, targets = head.get_targets(points, truths)
    for i, (label, target) in enumerate(zip(labels, targets)):
        found[f"target/labels/{i}"], found[f"target/bboxes/{i}"] = label, target
    positive = (torch.cat(labels) < head.num_classes).nonzero().reshape(-1)
    found["target/pos_inds"] = positive
    found["target/pos_centerness"] = head.centerness_target(torch.cat(targets)[positive])

    losses = head.loss_by_feat(*outputs, truths, metas)
    total = sum(losses.values())
    total.backward()
    found.update({f"loss/{key}": value for key, value in losses.items()})
    found["loss/total"] = total
    for i, feat in enumerate(feats):
        found[f"grad/feat/{i}"] = feat.grad
    for key, parameter in head.named_parameters():
        found[f"grad/param/{key}"] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return found


def detect(head, feats, metas):
    """Evaluation mode: outputs, candidates before NMS, detections."""
    found = {}
    head.eval()
    with torch.no_grad():
        outputs = head(feats)
        for key, levels in zip(("cls_score", "bbox_pred", "centerness"), outputs):
            found.update({f"eval/{key}/{i}": level for i, level in enumerate(levels)})
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
    head = build_head(case.meta)
    head.load_state_dict(under(case.inputs, "param"))
    head.to(dtype)
    feats = [f.to(dtype, copy=True).requires_grad_() for f in listed(case.inputs, "feat")]
    metas = [{k: tuple(v) for k, v in meta.items()} for meta in case.meta["img_metas"]]
    truths = [
        InstanceData(bboxes=case.inputs[f"gt/{i}/bboxes"].to(dtype), labels=case.inputs[f"gt/{i}/labels"])
        for i in range(len(metas))
    ]
    found = forward_and_loss(head, feats, truths, metas)
    found.update(detect(head, feats, metas))
    return {name: tensor.detach() for name, tensor in found.items()}


def smallest_gap(values):
    """Smallest distance of neighbours in a sorted list; infinite below two values."""
    values = values.sort().values
    return (values[1:] - values[:-1]).min().item() if len(values) > 1 else float("inf")


def check_ranking(case, found):
    """Refuses scores so close to each other or to the threshold that rounding decides."""
    test = case.meta["head"]["test_cfg"]
    for level in range(len(case.meta["level_sizes"])):
        for image in range(len(case.meta["img_metas"])):
            scores = found[f"train/cls_score/{level}"][image].sigmoid().flatten()
            if (scores - test["score_thr"]).abs().min() < RANK_GAP:
                raise Ambiguous("a score at the threshold")
            ranked = scores[scores > test["score_thr"]].sort(descending=True).values[: test["nms_pre"] + 1]
            if smallest_gap(ranked) < RANK_GAP:
                raise Ambiguous("equal scores before NMS")


def check_suppression(case, found):
    """Refuses equal final scores and pairs whose overlap is at NMS's threshold."""
    threshold = case.meta["head"]["test_cfg"]["nms"]["iou_threshold"]
    for image in range(len(case.meta["img_metas"])):
        if smallest_gap(found[f"det/{image}/scores"]) < SCORE_GAP:
            raise Ambiguous("equal scores of detections")
        boxes, labels = found[f"before_nms/{image}/bboxes"], found[f"before_nms/{image}/labels"]
        near = (box_iou(boxes, boxes) - threshold).abs() < IOU_GAP
        if (near & (labels[:, None] == labels[None])).any():
            raise Ambiguous("an overlap at the threshold")


def check_against_double(case, found):
    """Refuses cases whose integer results depend on the precision."""
    double = run(case, torch.float64)
    for name, tensor in found.items():
        same = tensor.shape == double[name].shape
        if not same or (not tensor.is_floating_point() and not torch.equal(tensor, double[name])):
            raise Ambiguous(f"{name} differs in f64")
        if not case.meta["head"].get("dcn_on_last_conv") or not name.startswith("grad/"):
            continue
        difference, largest = noise(tensor, double[name])
        if difference > DCN_GRADIENT_NOISE * largest:
            raise Ambiguous(f"{name} differs by {difference:.1e} of {largest:.1e} in f64")


def check(case, found):
    check_against_double(case, found)
    check_ranking(case, found)
    check_suppression(case, found)


NOISE_KINDS = ("train/cls_score", "train/bbox_pred", "train/centerness", "target/bboxes", "target/pos_centerness",
               "loss/loss_cls", "loss/loss_bbox", "loss/loss_centerness", "loss/total", "grad/feat", "grad/param",
               "before_nms/bboxes", "before_nms/scores")  # fmt: skip


def belongs(name, kind):
    group, _, term = kind.partition("/")
    return name == kind or name.startswith(kind + "/") or (name.startswith(group + "/") and name.endswith("/" + term))


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
    outputs = {
        name: t for name, t in single.items() if not (name.startswith("eval/") and same_in_training(name, single))
    }
    return outputs, notes


def same_in_training(name, found):
    return torch.equal(found[name], found["train" + name.removeprefix("eval")])


GROUPS = [
    Group(
        kind="head",
        recipes=RECIPES,
        build=build,
        evaluate=evaluate,
        inputs=("param/*", "feat/*", "gt/*"),
        packages=OPENMMLAB,
        owns=lambda meta: meta["head"]["type"] == "FCOSHead",
        check=check,
    )
]
