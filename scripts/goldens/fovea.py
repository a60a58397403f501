"""FoveaBox heads of mmdetection: raw outputs, targets, losses, gradients, detections."""

import mmcv_shim  # noqa: F401  (must come before mmdet)
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from common import OPENMMLAB, Ambiguous, Case, Group, generator, integers, listed, merge_noise, noise, normal, under
from head_recipes import test_config
from heads import (
    DCN_GRADIENT_NOISE,
    belongs,
    check_ranking,
    check_suppression,
    detect,
    draw_boxes,
    image_metas,
    level_sizes,
    same_in_training,
)

LAYOUT = (
    "param/* is the state dict; feat/<level> the FPN maps (NCHW, 2 images); gt/<image>/*; "
    "train/<output>/<level> raw outputs in training mode, eval/* the ones that differ in evaluation mode; "
    "target/* what get_targets returned (images concatenated inside a level, levels joined); loss/total is the sum of "
    "all terms; grad/* gradients of loss/total; det/<image>/* final detections, det_rescaled/* with rescale=True (boxes "
    "divided by scale_factor (w, h)), before_nms/* candidates handed to NMS. Labels equal to the number of classes mean "
    "background."
)

GROUPS_OF_4 = {"type": "GN", "num_groups": 4, "requires_grad": True}


def config(**changes):
    """A plain narrow FoveaBox head; `None` removes a key, so that mmdet's default holds."""
    head = {
        "type": "FoveaHead",
        "num_classes": 5,
        "in_channels": 16,
        "feat_channels": 16,
        "stacked_convs": 2,
        "strides": [8, 16, 32, 64, 128],
        "base_edge_list": [16, 32, 64, 128, 256],
        "scale_ranges": [[1, 64], [32, 128], [64, 256], [128, 512], [256, 2048]],
        "sigma": 0.4,
        "with_deform": False,
        "loss_cls": {"type": "FocalLoss", "use_sigmoid": True, "gamma": 1.5, "alpha": 0.4, "loss_weight": 1.0},
        "loss_bbox": {"type": "SmoothL1Loss", "beta": 0.11, "loss_weight": 1.0},
        "test_cfg": test_config(),
    }
    head.update(changes)
    return {key: value for key, value in head.items() if value is not None}


def align(**changes):
    return config(**{"with_deform": True, "norm_cfg": GROUPS_OF_4, **changes})


RECIPES = {
    "head_fovea_plain": {"head": config()},
    "head_fovea_gn": {"head": config(norm_cfg=GROUPS_OF_4, num_classes=3)},
    "head_fovea_align_gn": {"head": align()},
    "head_fovea_align": {"head": align(norm_cfg=None)},
    "head_fovea_align_two_groups": {"head": align(deform_groups=2), "boxes": "one_empty", "image": [135, 187]},
    "head_fovea_align_biased_towers": {"head": align(conv_bias=True)},
    "head_fovea_align_all_empty": {"head": align(norm_cfg=None), "boxes": "all_empty"},
    "head_fovea_biased_towers": {"head": config(norm_cfg=GROUPS_OF_4, conv_bias=True)},
    "head_fovea_no_bias": {"head": config(conv_bias=False, in_channels=12, feat_channels=8)},
    "head_fovea_dcn": {"head": config(dcn_on_last_conv=True)},
    "head_fovea_align_dcn": {"head": align(dcn_on_last_conv=True)},
    # mmdet pairs levels with entries until one of the lists ends.
    "head_fovea_more_ranges_than_levels": {"head": config(strides=[8, 16, 32]), "image": [120, 168]},
    "head_fovea_one_empty": {"head": config(), "boxes": "one_empty", "image": [135, 187]},
    "head_fovea_all_empty": {"head": config(), "boxes": "all_empty"},
    "head_fovea_degenerate": {"head": config(), "boxes": "degenerate"},
    "head_fovea_degenerate_from_0": {
        "head": config(scale_ranges=[[0, 64], [0, 128], [0, 256], [0, 512], [0, 2048]]),
        "boxes": "degenerate",
        "image": [97, 161],
    },
    "head_fovea_sigma_09": {"head": config(sigma=0.9), "boxes": "crowded"},
    "head_fovea_sigma_1": {"head": config(sigma=1.0), "image": [144, 144]},
    "head_fovea_sigma_015": {"head": config(sigma=0.15), "boxes": "crowded"},
    "head_fovea_sigma_037": {"head": config(sigma=0.37), "boxes": "crowded", "image": [101, 143]},
    "head_fovea_every_level": {
        "head": config(scale_ranges=[[1, 1000]] * 5, sigma=0.7),
        "boxes": "huge",
        "image": [240, 304],
    },
    "head_fovea_no_overlap": {
        "head": config(scale_ranges=[[1, 16], [16, 32], [32, 64], [64, 96], [96, 120]]),
        "boxes": "huge",
    },
    "head_fovea_edges": {"head": config(base_edge_list=[3, 7, 200, 1, 33])},
    "head_fovea_class_defaults": {"head": config(scale_ranges=None, base_edge_list=None, sigma=None)},
    "head_fovea_three_levels": {
        "head": config(
            strides=[8, 16, 32],
            base_edge_list=[16, 32, 64],
            scale_ranges=[[1, 40], [20, 80], [60, 1000]],
            num_classes=7,
        ),
        "image": [120, 168],
    },
    "head_fovea_four_levels_from_4": {
        "head": config(
            strides=[4, 8, 16, 32],
            base_edge_list=[8, 16, 32, 64],
            scale_ranges=[[1, 32], [16, 64], [32, 128], [64, 512]],
            in_channels=8,
            feat_channels=8,
        ),
        "image": [75, 99],
    },
    "head_fovea_odd_strides": {
        "head": config(
            strides=[7, 13, 30], base_edge_list=[16, 32, 64], scale_ranges=[[1, 40], [20, 80], [60, 1000]]
        ),
        "boxes": "crowded",
        "image": [120, 168],
    },
    "head_fovea_loss_options": {
        "head": config(
            loss_cls={"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.5, "alpha": 0.3, "loss_weight": 0.5},
            loss_bbox={"type": "SmoothL1Loss", "beta": 0.5, "loss_weight": 2.0},
        ),
    },
    "head_fovea_eighty_classes": {
        "head": config(num_classes=80, test_cfg=test_config(nms_pre=60, max_per_img=100, score_thr=0.2)),
        "boxes": "crowded",
        "image": [104, 136],
    },
    "head_fovea_few_detections": {
        "head": config(test_cfg=test_config(nms_pre=1000, min_bbox_size=20, score_thr=0.45, max_per_img=100)),
    },
    "head_fovea_no_detections": {"head": config(test_cfg=test_config(score_thr=0.9999))},
}


def draw_parameter(rng, name, shape):
    """Values under which scores, distances, offsets and gradients are of ordinary size."""
    if name.startswith("conv_reg"):
        # Logarithms of distances around 0: one base edge.
        return normal(rng, *shape, std=0.04 if name.endswith("weight") else 0.15)
    if name == "conv_cls.bias":
        return normal(rng, *shape, std=0.2, mean=-1.5)
    if "conv_offset" in name:
        return normal(rng, *shape, std=0.3)
    if ".gn." in name:
        return normal(rng, *shape, std=0.2, mean=1.0) if name.endswith("weight") else normal(rng, *shape, std=0.1)
    if name.endswith("bias"):
        return normal(rng, *shape, std=0.1)
    fan_in = shape[1] * shape[2] * shape[3]
    return normal(rng, *shape, std=(2.0 / fan_in) ** 0.5)


def build_fovea(meta):
    return MODELS.build(ConfigDict({"train_cfg": None, **meta["head"]}))


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
        "source": "mmdet.models.dense_heads.FoveaHead",
        "layout": LAYOUT,
    }
    inputs = {}
    for key, value in build_fovea(meta).state_dict().items():
        inputs[f"param/{key}"] = draw_parameter(rng, key, value.shape)
    for level, (h, w) in enumerate(sizes):
        inputs[f"feat/{level}"] = normal(rng, 2, head["in_channels"], h, w)
    for index, image_meta in enumerate(metas):
        drawn = draw_boxes(boxes, rng, index, image_meta["img_shape"])
        inputs[f"gt/{index}/bboxes"] = drawn
        inputs[f"gt/{index}/labels"] = integers(rng, 0, head["num_classes"], len(drawn))
    return Case(name, meta, inputs)


def forward_and_loss(head, feats, truths, metas):
    """Training mode: outputs, targets, losses, gradients."""
    found = {}
    head.train()
    outputs = head(feats)
    for key, levels in zip(("cls_score", "bbox_pred"), outputs):
        found.update({f"train/{key}/{i}": level for i, level in enumerate(levels)})

    sizes = [f.shape[-2:] for f in feats]
    points = head.prior_generator.grid_priors(sizes, dtype=feats[0].dtype, device="cpu")
    found["target/labels"], found["target/bboxes"] = head.get_targets(truths, sizes, points)

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


def run(case, dtype):
    head = build_fovea(case.meta)
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


def check_against_double(case, found):
    """Refuses cases whose integer results or gradients depend on the precision."""
    double = run(case, torch.float64)
    for name, tensor in found.items():
        same = tensor.shape == double[name].shape
        if not same or (not tensor.is_floating_point() and not torch.equal(tensor, double[name])):
            raise Ambiguous(f"{name} differs in f64")
        deforms = case.meta["head"]["with_deform"] or case.meta["head"].get("dcn_on_last_conv", False)
        if not deforms or not name.startswith("grad/"):
            continue
        # The slope of a bilinear sample jumps at whole pixels.
        difference, largest = noise(tensor, double[name])
        if difference > DCN_GRADIENT_NOISE * largest:
            raise Ambiguous(f"{name} differs by {difference:.1e} of {largest:.1e} in f64")


def check(case, found):
    check_against_double(case, found)
    check_ranking(case, found)
    check_suppression(case, found)


NOISE_KINDS = ("train/cls_score", "train/bbox_pred", "target/bboxes", "loss/loss_cls", "loss/loss_bbox", "loss/total",
               "grad/feat", "grad/param", "before_nms/bboxes", "before_nms/scores")  # fmt: skip


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


GROUPS = [
    Group(
        kind="head",
        recipes=RECIPES,
        build=build,
        evaluate=evaluate,
        inputs=("param/*", "feat/*", "gt/*"),
        packages=OPENMMLAB,
        owns=lambda meta: meta["head"]["type"] == "FoveaHead",
        check=check,
    )
]
