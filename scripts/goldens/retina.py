"""RetinaNet and FSAF heads of mmdetection: raw outputs, targets, losses, gradients, detections."""

import functools

import mmcv_shim  # noqa: F401  (must come before mmdet)
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from common import OPENMMLAB, Ambiguous, Case, Group, generator, integers, listed, merge_noise, noise, normal
from common import random_boxes, under
from head_recipes import test_config
from heads import NmsRecorder, belongs, check_ranking, check_suppression, draw_boxes, image_metas, level_sizes

LAYOUT = (
    "param/* is the state dict; feat/<level> the FPN maps (NCHW, 2 images); gt/<image>/* (ignore_bboxes: regions to ignore); "
    "train/<output>/<level> raw outputs in training mode; anchors/<level> (RetinaNet) the boxes of a level, point by "
    "point; target/* what get_targets returned ([image, position, ...]); loss/<term> is the sum of "
    "loss/<term>/<level>, loss/total the sum of all terms; grad/* gradients of loss/total; det/<image>/* final "
    "detections, det_rescaled/* with rescale=True (boxes divided by scale_factor (w, h)), before_nms/* candidates "
    "handed to NMS. Labels equal to the number of classes mean background. fsaf/*: loss_of_gt/<level> mean loss of "
    "each ground truth at a level (1e6: none), best_level its argmin, pos_flags/<level> the positions kept"
)

OUTPUTS = ("cls_score", "bbox_pred")
TARGETS = ("labels", "label_weights", "bboxes", "bbox_weights")
STRIDES = [8, 16, 32, 64, 128]
FOCAL = {"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "loss_weight": 1.0}
OVERLAP = {
    "type": "MaxIoUAssigner",
    "pos_iou_thr": 0.5,
    "neg_iou_thr": 0.4,
    "min_pos_iou": 0,
    "ignore_iof_thr": -1,
}
CENTER = {"type": "CenterRegionAssigner", "pos_scale": 0.2, "neg_scale": 0.2, "min_pos_iof": 0.01}
GROUPS_OF_4 = {"type": "GN", "num_groups": 4, "requires_grad": True}
PADDED = {"image": [128, 160], "batch": [192, 256]}

# A level is chosen by its loss: two correct f32 implementations differ by this much at most.
LOSS_GAP = 1e-5


def anchors(base=4, scales=3, ratios=(0.5, 1.0, 2.0), strides=STRIDES):
    return {
        "type": "AnchorGenerator",
        "octave_base_scale": base,
        "scales_per_octave": scales,
        "ratios": list(ratios),
        "strides": strides,
    }


def training(assigner):
    return {"assigner": assigner, "allowed_border": -1, "pos_weight": -1, "debug": False}


def retina(**changes):
    """A narrow RetinaNet head."""
    head = {
        "type": "RetinaHead",
        "num_classes": 5,
        "in_channels": 16,
        "stacked_convs": 2,
        "feat_channels": 16,
        "anchor_generator": anchors(),
        "bbox_coder": {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4, "target_stds": [1.0] * 4},
        "loss_cls": FOCAL,
        "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
        "train_cfg": {**training(OVERLAP), "sampler": {"type": "PseudoSampler"}},
        "test_cfg": test_config(),
    }
    head.update(changes)
    return head


def fsaf(**changes):
    """A narrow FSAF head: RetinaNet's with one square per point."""
    head = {
        "type": "FSAFHead",
        "num_classes": 5,
        "in_channels": 16,
        "stacked_convs": 2,
        "feat_channels": 16,
        "reg_decoded_bbox": True,
        "anchor_generator": anchors(1, 1, [1.0]),
        "bbox_coder": {"type": "TBLRBBoxCoder", "normalizer": 4.0},
        "loss_cls": {**FOCAL, "reduction": "none"},
        "loss_bbox": {"type": "IoULoss", "eps": 1e-6, "loss_weight": 1.0, "reduction": "none"},
        "train_cfg": training(CENTER),
        "test_cfg": test_config(),
    }
    head.update(changes)
    return head


def regions(**changes):
    return {"train_cfg": training({**CENTER, **changes})}


def overlaps(**changes):
    return {"train_cfg": training({**OVERLAP, **changes})}


RECIPES = {
    "head_retina": {
        "head": retina(in_channels=8, feat_channels=8, stacked_convs=1, num_classes=3),
        "image": [64, 96],
    },
    "head_retina_one_empty_padded": {
        "head": retina(in_channels=8, feat_channels=8, stacked_convs=1),
        "boxes": "one_empty",
        "image": [60, 75],
        "batch": [96, 96],
    },
    "head_retina_gn": {"head": retina(norm_cfg=GROUPS_OF_4, num_classes=3), "image": [75, 99]},
    "head_retina_no_towers": {"head": retina(stacked_convs=0), "image": [64, 96]},
    "head_retina_smooth_l1": {
        "head": retina(
            loss_bbox={"type": "SmoothL1Loss", "beta": 0.11, "loss_weight": 0.7},
            loss_cls={**FOCAL, "gamma": 1.5, "alpha": 0.4, "loss_weight": 2.0},
        ),
        "image": [96, 128],
    },
    "head_retina_one_anchor": {"head": retina(anchor_generator=anchors(4, 1, [1.0]))},
    "head_retina_two_shapes": {
        "head": retina(anchor_generator=anchors(3, 2, [0.7, 3.0], [4, 8, 16]), num_classes=7),
        "image": [75, 99],
    },
    "head_retina_thresholds": {
        "head": retina(**overlaps(pos_iou_thr=0.6, neg_iou_thr=0.3, min_pos_iou=0.2, gt_max_assign_all=False)),
        "image": [96, 128],
    },
    "head_retina_no_low_quality": {"head": retina(**overlaps(match_low_quality=False)), "image": [96, 128]},
    "head_retina_all_empty": {"head": retina(), "boxes": "all_empty", "image": [64, 96]},
    "head_retina_crowded": {"head": retina(), "boxes": "crowded"},
    "head_retina_huge": {"head": retina(stacked_convs=1), "boxes": "huge", "image": [192, 256]},
    "head_retina_eighty_classes": {
        "head": retina(num_classes=80, test_cfg=test_config(score_thr=0.3, nms_pre=20, max_per_img=5)),
        "image": [64, 96],
    },
    "head_retina_ignored": {"head": retina(**overlaps(ignore_iof_thr=0.5)), "ignored": 2, "image": [96, 128]},
    "head_retina_ignored_of_region": {
        "head": retina(**overlaps(ignore_iof_thr=0.1, ignore_wrt_candidates=False)),
        "ignored": 2,
        "image": [96, 128],
    },
    "head_retina_small_boxes_dropped": {"head": retina(test_cfg=test_config(min_bbox_size=20)), "image": [64, 96]},
    "head_fsaf": {"head": fsaf()},
    "head_fsaf_one_empty_padded": {"head": fsaf(), "boxes": "one_empty", **PADDED},
    "head_fsaf_paper": {"head": fsaf(**regions(neg_scale=0.5))},
    "head_fsaf_wide_regions": {"head": fsaf(**regions(pos_scale=0.5, neg_scale=0.9)), "image": [101, 143]},
    "head_fsaf_foreground": {"head": fsaf(**regions(pos_scale=0.3, neg_scale=0.6, foreground_dominate=True))},
    "head_fsaf_foreground_crowded": {
        "head": fsaf(**regions(neg_scale=0.5, foreground_dominate=True), num_classes=2),
        "boxes": "crowded",
    },
    "head_fsaf_inner_shadow": {"head": fsaf(**regions(pos_scale=0.4, neg_scale=0.1, min_pos_iof=0.1))},
    "head_fsaf_gn": {"head": fsaf(norm_cfg=GROUPS_OF_4, num_classes=3), "image": [75, 99]},
    "head_fsaf_codes": {
        "head": fsaf(bbox_coder={"type": "TBLRBBoxCoder", "normalizer": 2.5}, anchor_generator=anchors(2, 1, [1.0])),
    },
    "head_fsaf_weights": {
        "head": fsaf(
            loss_cls={**FOCAL, "gamma": 1.5, "alpha": 0.4, "loss_weight": 2.0, "reduction": "none"},
            loss_bbox={"type": "IoULoss", "eps": 1e-6, "loss_weight": 0.5, "reduction": "none"},
        )
    },
    "head_fsaf_clamped": {"head": fsaf(), "box_bias": 0.0},
    "head_fsaf_three_levels": {
        "head": fsaf(anchor_generator=anchors(1, 1, [1.0], [4, 8, 16]), num_classes=7),
        "image": [75, 99],
    },
    "head_fsaf_single_level": {"head": fsaf(anchor_generator=anchors(1, 1, [1.0], [16])), "image": [160, 224]},
    "head_fsaf_ignored": {"head": fsaf(), "ignored": 2},
    "head_fsaf_ignored_whole": {"head": fsaf(**regions(ignore_gt_scale=1.0, neg_scale=0.5)), "ignored": 3, **PADDED},
    "head_fsaf_ignored_all_empty": {"head": fsaf(), "boxes": "all_empty", "ignored": 2},
    "head_fsaf_all_empty": {"head": fsaf(), "boxes": "all_empty"},
    "head_fsaf_degenerate": {"head": fsaf(), "boxes": "degenerate"},
    "head_fsaf_crowded": {"head": fsaf(), "boxes": "crowded"},
    "head_fsaf_huge": {"head": fsaf(), "boxes": "huge", "image": [256, 320]},
    "head_fsaf_eighty_classes": {
        "head": fsaf(num_classes=80, test_cfg=test_config(score_thr=0.3, nms_pre=20, max_per_img=5))
    },
    "head_fsaf_no_detections": {"head": fsaf(test_cfg=test_config(score_thr=0.99))},
}  # fmt: skip


def is_fsaf(meta):
    return meta["head"]["type"] == "FSAFHead"


def draw_parameter(rng, name, shape, box_bias):
    """Values under which scores, boxes and gradients are of ordinary size."""
    if name == "retina_cls.bias":
        return normal(rng, *shape, std=0.2, mean=-1.5)
    if name == "retina_reg.bias":
        return normal(rng, *shape, std=0.1, mean=box_bias)
    if ".gn." in name:
        return normal(rng, *shape, std=0.2, mean=1.0) if name.endswith("weight") else normal(rng, *shape, std=0.1)
    if name.endswith("bias"):
        return normal(rng, *shape, std=0.1)
    fan_in = shape[1] * shape[2] * shape[3]
    gain = 0.05 if name == "retina_reg.weight" else 2.0
    return normal(rng, *shape, std=(gain / fan_in) ** 0.5)


def draw_boxes_for_anchors(kind, rng, image, shape):
    """Boxes of the sizes of anchors.

    Of a smaller one, all anchors around it have the same overlap, and rounding decides which is best.
    """
    if kind == "all_empty" or (kind == "one_empty" and image == 1):
        return torch.zeros(0, 4)
    count = {"crowded": 9, "huge": 3}.get(kind, 4) - image
    largest = 300.0 if kind == "huge" else 0.8 * min(shape)
    return random_boxes(rng, count, *shape, smallest=28.0, largest=largest)


def build(name, options, seed):
    rng = generator(seed)
    head, image = options["head"], options.get("image", [128, 160])
    boxes, batch = options.get("boxes", "mixed"), options.get("batch", image)
    metas = [{**meta, "batch_input_shape": batch} for meta in image_metas(*image)]
    sizes = level_sizes(*batch, head["anchor_generator"]["strides"])
    meta = {
        "seed": seed,
        "head": head,
        "input_grid": "x".join(map(str, batch)),
        "boxes": boxes,
        "extra": {},
        "img_metas": metas,
        "level_sizes": sizes,
        "source": f"mmdet.models.dense_heads.{head['type']}",
        "layout": LAYOUT,
    }
    inputs = {}
    # Distances to sides are positive, deltas are around zero.
    box_bias = options.get("box_bias", 0.9 if is_fsaf(meta) else 0.0)
    for key, value in build_head(meta).state_dict().items():
        inputs[f"param/{key}"] = draw_parameter(rng, key, value.shape, box_bias)
    for level, (h, w) in enumerate(sizes):
        inputs[f"feat/{level}"] = normal(rng, 2, head["in_channels"], h, w)
    for index, image_meta in enumerate(metas):
        shape = image_meta["img_shape"]
        if is_fsaf(meta):
            # Off the corners of priors: a region there covers just the smallest part, which rounding decides.
            drawn = draw_boxes(boxes, rng, index, shape) + 0.37
        else:
            drawn = draw_boxes_for_anchors(boxes, rng, index, shape)
        inputs[f"gt/{index}/bboxes"] = drawn
        inputs[f"gt/{index}/labels"] = integers(rng, 0, head["num_classes"], len(drawn))
        if "ignored" in options:
            regions = random_boxes(rng, options["ignored"], *shape, smallest=20.0, largest=90.0) + 0.37
            inputs[f"gt/{index}/ignore_bboxes"] = regions
    return Case(name, meta, inputs)


def build_head(meta):
    return MODELS.build(ConfigDict(meta["head"]))


class Recorder:
    """Keeps what the head computes between its outputs and its losses."""

    METHODS = ("get_targets", "collect_loss_level_single", "reweight_loss_single")

    def __init__(self, head):
        self.head, self.found = head, {}
        self.originals = {name: getattr(head, name) for name in self.METHODS if hasattr(head, name)}
        self.loss_of_gt, self.pos_flags = [], []

    def __enter__(self):
        for name in self.originals:
            setattr(self.head, name, getattr(self, name))
        return self

    def __exit__(self, *_):
        for name, original in self.originals.items():
            setattr(self.head, name, original)

    def get_targets(self, *args, **keywords):
        result = self.originals["get_targets"](*args, **keywords)
        for kind, levels in zip(TARGETS, result):
            self.found.update({f"target/{kind}/{i}": level for i, level in enumerate(levels)})
        self.found["target/avg_factor"] = torch.tensor(float(result[4]))
        if len(result) > 5:
            # Later the head counts through all images in place.
            self.found.update({f"target/gt_inds/{i}": level.clone() for i, level in enumerate(result[6])})
        return result

    def collect_loss_level_single(self, *args, **keywords):
        (result,) = self.originals["collect_loss_level_single"](*args, **keywords)
        self.loss_of_gt.append(result)
        return (result,)

    def reweight_loss_single(self, *args, **keywords):
        result = self.originals["reweight_loss_single"](*args, **keywords)
        self.pos_flags.append(result[2])
        return result

    def tensors(self):
        found = dict(self.found)
        if self.loss_of_gt:
            losses = torch.stack(self.loss_of_gt)
            found.update({f"fsaf/loss_of_gt/{i}": level for i, level in enumerate(losses)})
            found.update({f"fsaf/pos_flags/{i}": level.long() for i, level in enumerate(self.pos_flags)})
            none = losses.new_empty(0, dtype=torch.long)
            found["fsaf/best_level"] = losses.min(dim=0).indices if losses.numel() else none
        return found


def forward_and_loss(head, feats, truths, ignored, metas):
    """Training mode: outputs, targets, losses, gradients."""
    head.train()
    outputs = [list(levels) for levels in head(feats)]
    found = {f"train/{key}/{i}": level for key, levels in zip(OUTPUTS, outputs) for i, level in enumerate(levels)}
    with Recorder(head) as recorder:
        losses = head.loss_by_feat(*outputs, truths, metas, ignored)
    found.update(recorder.tensors())
    for term in ("loss_cls", "loss_bbox"):
        found.update({f"loss/{term}/{i}": level for i, level in enumerate(losses[term])})
        found[f"loss/{term}"] = sum(losses[term])
    found.update({f"info/{key}": value for key, value in losses.items() if not key.startswith("loss")})
    found["loss/total"] = found["loss/loss_cls"] + found["loss/loss_bbox"]
    found["loss/total"].backward()
    for i, feat in enumerate(feats):
        found[f"grad/feat/{i}"] = feat.grad
    for key, parameter in head.named_parameters():
        found[f"grad/param/{key}"] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return found


def detect(head, feats, metas):
    """Evaluation mode: candidates before NMS, detections."""
    head.eval()
    found = {}
    with torch.no_grad():
        outputs = head(feats)
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
    # The head asks for f32 anchors, which the assigners cannot mix with f64 boxes.
    head.prior_generator.grid_priors = functools.partial(head.prior_generator.grid_priors, dtype=dtype)
    # Deltas are always encoded in f32.
    encode = head.bbox_coder.encode
    head.bbox_coder.encode = lambda *boxes: encode(*boxes).to(dtype)
    feats = [f.to(dtype, copy=True).requires_grad_() for f in listed(case.inputs, "feat")]
    metas = [{k: tuple(v) for k, v in meta.items()} for meta in case.meta["img_metas"]]
    truths = [
        InstanceData(bboxes=case.inputs[f"gt/{i}/bboxes"].to(dtype), labels=case.inputs[f"gt/{i}/labels"])
        for i in range(len(metas))
    ]
    regions = [case.inputs.get(f"gt/{i}/ignore_bboxes") for i in range(len(metas))]
    ignored = [InstanceData(bboxes=boxes.to(dtype)) for boxes in regions if boxes is not None] or None
    found = forward_and_loss(head, feats, truths, ignored, metas)
    found.update(detect(head, feats, metas))
    if not is_fsaf(case.meta):
        grid = head.prior_generator.grid_priors([f.shape[-2:] for f in feats], device="cpu")
        found.update({f"anchors/{i}": level for i, level in enumerate(grid)})
    return {name: tensor.detach() for name, tensor in found.items()}


def check_against_double(case, found):
    """Refuses cases whose assignment depends on the precision."""
    double = run(case, torch.float64)
    for name, tensor in found.items():
        same = tensor.shape == double[name].shape
        exact = not tensor.is_floating_point() or name.endswith("avg_factor") or "_weights/" in name
        if not same or (exact and not torch.equal(tensor.double(), double[name].double())):
            raise Ambiguous(f"{name} differs in f64")


def check_levels(case, found):
    """Refuses levels whose losses are too close to choose between."""
    losses = torch.stack(listed(found, "fsaf/loss_of_gt"))
    if len(losses) < 2 or not losses.numel():
        return
    first, second = losses.sort(dim=0).values[:2]
    if ((second - first < LOSS_GAP) & (first < 1e5)).any():
        raise Ambiguous("two levels of one loss")


def check(case, found):
    check_against_double(case, found)
    if is_fsaf(case.meta):
        check_levels(case, found)
    check_ranking(case, found)
    check_suppression(case, found)


NOISE_KINDS = ("train/cls_score", "train/bbox_pred", "target/bboxes", "fsaf/loss_of_gt", "loss/loss_cls",
               "loss/loss_bbox", "loss/total", "grad/feat", "grad/param", "before_nms/bboxes",
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
        owns=lambda meta: meta["head"]["type"] in ("RetinaHead", "FSAFHead"),
        check=check,
    )
]
