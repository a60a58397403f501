"""Whole FCOS, FoveaBox, RepPoints, FSAF and RetinaNet detectors of mmdetection: preprocessing and a few SGD steps."""

import copy

import mmcv_shim  # noqa: F401  (must come before mmdet)
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

import backbones
import fovea
import head_recipes
import reppoints
import retina
from common import OPENMMLAB, Ambiguous, Case, Group, generator, integers, listed, normal, random_boxes, under

LAYOUT = (
    "param/* at the start; image/<i> u8 CHW as decoded (BGR channel order), batch the preprocessed input; losses and "
    "grad_norms one per step (grad norm before clipping); grad0/* some gradients of the first step after clipping; "
    "final/* (head, neck, part of the backbone) parameters and statistics that changed after the last step; "
    "final_output/* head outputs in evaluation mode after the last step"
)
NOTE = (
    "bias_lr_mult and bias_decay_mult apply to every parameter whose name ends in .bias; clip null: no clipping; "
    "the same batch every step; learning rate constant"
)

CAFFE_PIXELS = {
    "type": "DetDataPreprocessor",
    "mean": [102.9801, 115.9465, 122.7717],
    "std": [1.0, 1.0, 1.0],
    "bgr_to_rgb": False,
    "pad_size_divisor": 32,
}
IMAGENET_PIXELS = {
    "type": "DetDataPreprocessor",
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "bgr_to_rgb": True,
    "pad_size_divisor": 32,
}
# Probability of an object at the start of a training, mmdet's bias_prob.
FOREGROUND_PRIOR = 0.01

# How far losses and final outputs (relative to the largest) may move when the
# start moves by 1e-6 (relative) or sums run in another order: above it, the
# steps amplify the rounding of an implementation beyond any tolerance.
LARGEST_LOSS_CHANGE, LARGEST_OUTPUT_CHANGE = 2e-5, 2e-5

SGD = {
    "lr": 0.01,
    "momentum": 0.9,
    "weight_decay": 0.0001,
    "bias_lr_mult": 2.0,
    "bias_decay_mult": 0.0,
    "clip": 35.0,
}


def backbone(depth=18, base_channels=4, style="caffe", frozen_stages=1, norm_trainable=False, **changes):
    return {
        "type": "ResNet",
        "depth": depth,
        "base_channels": base_channels,
        "num_stages": 4,
        "out_indices": [0, 1, 2, 3],
        "frozen_stages": frozen_stages,
        "norm_cfg": {"type": "BN", "requires_grad": norm_trainable},
        "norm_eval": True,
        "style": style,
        **changes,
    }


def neck(backbone, **changes):
    widen = 1 if backbone["depth"] < 50 else 4
    return {
        "type": "FPN",
        "in_channels": [backbone["base_channels"] * widen * 2**stage for stage in range(4)],
        "out_channels": 16,
        "start_level": 1,
        "add_extra_convs": "on_output",
        "num_outs": 5,
        "relu_before_extra_convs": True,
        **changes,
    }


DETECTORS = {
    "FCOSHead": "FCOS",
    "FoveaHead": "FOVEA",
    "RepPointsHead": "RepPointsDetector",
    "FSAFHead": "FSAF",
    "RetinaHead": "RetinaNet",
}


def model(backbone, head=None, pixels=CAFFE_PIXELS, **neck_changes):
    """A detector; the head's train_cfg and test_cfg move to the detector, as in mmdet's configs."""
    head = copy.deepcopy(head or head_recipes.config())
    train, test = head.pop("train_cfg", None), head.pop("test_cfg")
    return {
        "type": DETECTORS[head["type"]],
        "data_preprocessor": pixels,
        "backbone": backbone,
        "neck": neck(backbone, **neck_changes),
        "bbox_head": head,
        "train_cfg": train,
        "test_cfg": test,
    }


def reppoints_model(head, **neck_changes):
    """P6 from C5, and GroupNorm in the neck as in the head."""
    neck = {
        "add_extra_convs": "on_input",
        "relu_before_extra_convs": False,
        "norm_cfg": head["norm_cfg"],
        **neck_changes,
    }
    return model(backbone(style="pytorch", norm_trainable=True), head, IMAGENET_PIXELS, **neck)


def plain_model(head, body=None, **neck_changes):
    """P6 from C5, no norm in the neck."""
    neck = {"add_extra_convs": "on_input", "relu_before_extra_convs": False, **neck_changes}
    body = body or backbone(style="pytorch", norm_trainable=True)
    return model(body, head, IMAGENET_PIXELS, **neck)


def deformable(version):
    """A backbone with deformable convolutions in its last three stages."""
    dcn = {"dcn": backbones.dcn(version), "stage_with_dcn": backbones.C3_TO_C5}
    return backbone(50, 2, style="pytorch", norm_trainable=True, **dcn)


# Few and small steps: the slope of a sample jumps at whole pixels, which offsets cross.
DEFORMABLE_TRAINING = {
    "sgd": {**SGD, "lr": 0.0001, "clip": 5.0},
    "steps": 2,
    "images": [[64, 64], [60, 64]],
}


RECIPES = {
    "detector_fcos": {"model": model(backbone())},
    "detector_fcos_improved": {
        "model": model(
            backbone(style="pytorch", norm_trainable=True),
            head_recipes.config(**head_recipes.IMPROVED),
            IMAGENET_PIXELS,
        ),
        "images": [[77, 121], [96, 90]],
    },
    "detector_fcos_r50_on_input": {
        "model": model(backbone(50, 2), head_recipes.config(num_classes=3), add_extra_convs="on_input"),
        "sgd": {**SGD, "clip": 5.0},
    },
    "detector_fcos_improved_dcn": {
        "model": model(
            backbone(50, 2, dcn=backbones.dcn("DCNv2"), stage_with_dcn=backbones.C3_TO_C5),
            head_recipes.config(**{**head_recipes.IMPROVED, "dcn_on_last_conv": True}, num_classes=3),
        ),
        **DEFORMABLE_TRAINING,
    },
    "detector_fcos_unfrozen_no_clip": {
        "model": model(backbone(frozen_stages=-1, norm_trainable=True), relu_before_extra_convs=False),
        "sgd": {**SGD, "clip": None, "lr": 0.002, "bias_lr_mult": 1.0, "bias_decay_mult": 1.0},
        "images": [[64, 96], [60, 96]],
    },
    "detector_fcos_one_empty_train_statistics": {
        "model": model(backbone(norm_trainable=True, norm_eval=False, style="pytorch"), pixels=IMAGENET_PIXELS),
        "empty": [1],
        # A small step: batch statistics of a few values amplify rounding.
        "sgd": {**SGD, "lr": 0.001},
        "images": [[96, 128], [83, 117]],
    },
    "detector_fcos_three_levels": {
        "model": model(
            backbone(),
            head_recipes.config(
                strides=[8, 16, 32], regress_ranges=[[-1, 32], [32, 64], [64, 100000000.0]], norm_cfg=None
            ),
            # Without norms the head needs inputs of ordinary size.
            IMAGENET_PIXELS,
            num_outs=3,
        ),
        "sgd": {**SGD, "lr": 0.001, "momentum": 0.8, "weight_decay": 0.01},
        "steps": 3,
    },
    "detector_fovea": {"model": plain_model(fovea.config(norm_cfg=fovea.GROUPS_OF_4))},
    "detector_fovea_align_one_empty": {
        "model": plain_model(fovea.align()),
        "sgd": {**SGD, "lr": 0.001},
        "steps": 3,
        "empty": [1],
        "images": [[96, 128], [64, 70]],
    },
    "detector_fovea_dcn": {
        "model": plain_model(fovea.config(norm_cfg=fovea.GROUPS_OF_4), deformable("DCNv2")),
        **DEFORMABLE_TRAINING,
    },
    "detector_reppoints_dcn": {
        "model": plain_model(reppoints.config(), deformable("DCN"), norm_cfg=fovea.GROUPS_OF_4),
        **DEFORMABLE_TRAINING,
    },
    "detector_fsaf_dcn": {
        "model": plain_model(retina.fsaf(norm_cfg=retina.GROUPS_OF_4), deformable("DCN")),
        **DEFORMABLE_TRAINING,
    },
    "detector_reppoints": {"model": reppoints_model(reppoints.config())},
    "detector_reppoints_minmax_one_empty": {
        "model": reppoints_model(reppoints.config(transform_method="minmax", center_init=False)),
        "empty": [0],
        "images": [[64, 90], [96, 120]],
    },
    "detector_reppoints_grid": {"model": reppoints_model(reppoints.grid()), "sgd": {**SGD, "lr": 0.001}},
    "detector_reppoints_25_points": {
        "model": reppoints_model(reppoints.config(num_points=25, norm_cfg=None), norm_cfg=None),
        "sgd": {**SGD, "clip": 1.0},
        "steps": 3,
    },
    "detector_fsaf": {"model": plain_model(retina.fsaf()), "sgd": {**SGD, "clip": 10.0}},
    "detector_fsaf_paper_one_empty": {
        "model": plain_model(retina.fsaf(**retina.regions(neg_scale=0.5))),
        "empty": [1],
        "images": [[96, 128], [64, 70]],
    },
    "detector_retina": {
        "model": plain_model(retina.retina(stacked_convs=1)),
        "sgd": {**SGD, "lr": 0.001},
        "images": [[64, 96], [60, 90]],
    },
    "detector_retina_gn": {
        "model": plain_model(retina.retina(norm_cfg=retina.GROUPS_OF_4, num_classes=3)),
        "sgd": {**SGD, "bias_lr_mult": 1.0, "bias_decay_mult": 1.0},
        "empty": [0],
        "images": [[64, 90], [96, 120]],
    },
}


def draw_parameter(rng, name, shape):
    """Backbone with ordinary activations, neck and head as at the start of a training."""
    if name.startswith("backbone.") or ".conv_offset." in name:
        return backbones.draw_parameter(rng, name, shape)
    if name.endswith("moment_transfer"):
        return normal(rng, *shape, std=0.1)
    if name.endswith("retina_reg.bias"):
        return normal(rng, *shape, std=0.02, mean=0.25)
    if name.endswith(("conv_cls.bias", "reppoints_cls_out.bias", "retina_cls.bias")):
        return torch.full(shape, FOREGROUND_PRIOR).logit()
    if name.endswith((".gn.weight", ".scale")):
        return torch.ones(shape)
    if name.endswith("bias"):
        return normal(rng, *shape, std=0.02)
    fan_in = shape[1] * shape[2] * shape[3]
    return normal(rng, *shape, std=0.05 if name.startswith("bbox_head.") else fan_in**-0.5)


def build_model(meta):
    return MODELS.build(ConfigDict(copy.deepcopy(meta["model"])))


def build(name, options, seed):
    rng = generator(seed)
    meta = {
        "seed": seed,
        "model": options["model"],
        "sgd": options.get("sgd", SGD),
        "steps": options.get("steps", 5),
        "source": "mmdet detector with torch.optim.SGD and clip_grad_norm_",
        "layout": LAYOUT,
        "note": NOTE,
    }
    inputs = {}
    for key, value in build_model(meta).state_dict().items():
        if not key.endswith("num_batches_tracked"):
            inputs[f"param/{key}"] = draw_parameter(rng, key, value.shape)
    shapes = options.get("images", [[96, 117], [83, 128]])
    batch = [-(-max(sides) // 32) * 32 for sides in zip(*shapes)]
    meta["img_metas"] = [
        # DetDataPreprocessor notes the size rounded up per image; batch_input_shape is the common one.
        {"img_shape": [h, w], "pad_shape": [-(-h // 32) * 32, -(-w // 32) * 32], "batch_input_shape": batch}
        for h, w in shapes
    ]
    classes = meta["model"]["bbox_head"]["num_classes"]
    for index, (height, width) in enumerate(shapes):
        inputs[f"image/{index}"] = integers(rng, 0, 256, 3, height, width).to(torch.uint8)
        count = 0 if index in options.get("empty", []) else 4
        inputs[f"gt/{index}/bboxes"] = random_boxes(rng, count, height, width, smallest=20.0, largest=90.0)
        inputs[f"gt/{index}/labels"] = integers(rng, 0, classes, count)
    return Case(name, meta, inputs)


def samples(case):
    made = []
    for index, meta in enumerate(case.meta["img_metas"]):
        truth = InstanceData(
            bboxes=case.inputs[f"gt/{index}/bboxes"].clone(), labels=case.inputs[f"gt/{index}/labels"].clone()
        )
        made.append(DetDataSample(metainfo={"img_shape": tuple(meta["img_shape"])}, gt_instances=truth))
    return made


def optimizer(detector, sgd):
    groups = []
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            bias = name.endswith(".bias")
            groups.append(
                {
                    "params": [parameter],
                    "lr": sgd["lr"] * (sgd["bias_lr_mult"] if bias else 1.0),
                    "weight_decay": sgd["weight_decay"] * (sgd["bias_decay_mult"] if bias else 1.0),
                }
            )
    return torch.optim.SGD(groups, lr=sgd["lr"], momentum=sgd["momentum"])


def stored_gradient(name):
    head = ("conv_", "scales.", "reppoints_", "moment_", "retina_")
    prefixes = ("neck.", *(f"bbox_head.{part}" for part in head))
    return name.startswith(prefixes) or name == "backbone.layer2.0.conv1.weight"


def stored_final(name):
    return name.startswith(("bbox_head.", "neck.", "backbone.layer2.0.")) or name == "backbone.layer4.1.conv1.weight"


def clip_gradients(parameters, limit):
    """The norm before clipping; an infinite limit leaves the gradients alone."""
    return torch.nn.utils.clip_grad_norm_(parameters, float("inf") if limit is None else limit).item()


def train(case, perturbation=0.0):
    """The outputs of the case and the losses of each step."""
    meta, found, history, grad_norms = case.meta, {}, [], []
    detector = build_model(meta)
    start = {k: v * (1 + perturbation) for k, v in under(case.inputs, "param").items()}
    # Batch norm's counters of batches are not part of a case.
    missing = detector.load_state_dict(start, strict=False)
    assert not missing.unexpected_keys and all(k.endswith("num_batches_tracked") for k in missing.missing_keys)
    detector.train()
    steps = optimizer(detector, meta["sgd"])
    for step in range(meta["steps"]):
        data = {"inputs": listed(case.inputs, "image"), "data_samples": samples(case)}
        data = detector.data_preprocessor(data, training=True)
        found.setdefault("batch", data["inputs"])
        check_metas(meta["img_metas"], data["data_samples"])
        losses = detector.loss(data["inputs"], data["data_samples"])
        # Some heads give a term for every level, and figures that are no losses.
        losses = {
            key: sum(value) if isinstance(value, list) else value for key, value in losses.items() if "loss" in key
        }
        total = sum(losses.values())
        steps.zero_grad()
        total.backward()
        trainable = [p for p in detector.parameters() if p.requires_grad]
        grad_norms.append(clip_gradients(trainable, meta["sgd"]["clip"]))
        if step == 0:
            named = {n: p for n, p in detector.named_parameters() if p.requires_grad and stored_gradient(n)}
            found.update({f"grad0/{n}": p.grad.clone() for n, p in named.items() if p.grad is not None})
        steps.step()
        history.append({**{key: value.item() for key, value in losses.items()}, "total": total.item()})

    found["grad_norms"] = torch.tensor(grad_norms, dtype=torch.float64)
    found["losses"] = torch.tensor([h["total"] for h in history], dtype=torch.float64)
    for name, value in detector.state_dict().items():
        if stored_final(name) and name in start and not torch.equal(value, start[name]):
            found[f"final/{name}"] = value.clone()
    detector.eval()
    with torch.no_grad():
        outputs = detector.bbox_head(detector.extract_feat(found["batch"]))
    for key, levels in zip(("cls_score", "bbox_pred", "centerness"), outputs):
        found.update({f"final_output/{key}/{i}": level for i, level in enumerate(levels)})
    return {name: t.detach() for name, t in found.items()}, history, detector


def check_metas(metas, data_samples):
    """The JSON's sizes are derived by hand; the preprocessor's word is final."""
    for meta, sample in zip(metas, data_samples):
        for key in ("img_shape", "pad_shape", "batch_input_shape"):
            assert tuple(meta[key]) == tuple(getattr(sample, key)), (key, meta[key], getattr(sample, key))


def loss_changes(history, other):
    return [abs(a["total"] - b["total"]) for a, b in zip(history, other)]


def evaluate(case):
    outputs, history, detector = train(case)
    _, moved, _ = train(case, perturbation=1e-6)
    notes = {
        "loss_change_when_parameters_move_by_1e-6_relative": loss_changes(history, moved),
        "loss_history": history,
        "trainable": [n for n, p in detector.named_parameters() if p.requires_grad],
    }
    return outputs, notes


def check(case, outputs):
    """Trains again from slightly other parameters and with other convolution kernels."""
    _, history, _ = train(case)
    with torch.backends.mkldnn.flags(enabled=False):
        others = [train(case)]
    others += [train(case, perturbation) for perturbation in (1e-6, -1e-6)]
    for found, other, _ in others:
        if max(loss_changes(history, other)) > LARGEST_LOSS_CHANGE:
            raise Ambiguous("rounding grows in the losses")
        for name, value in outputs.items():
            limit = LARGEST_OUTPUT_CHANGE * max(value.abs().max().item(), 1.0)
            if name.startswith("final_output/") and (found[name] - value).abs().max() > limit:
                raise Ambiguous(f"rounding grows in {name}")


GROUPS = [
    Group(
        kind="detector",
        recipes=RECIPES,
        build=build,
        evaluate=evaluate,
        inputs=("param/*", "image/*", "gt/*"),
        packages=OPENMMLAB,
        owns=lambda meta: meta["model"]["type"] in DETECTORS.values(),
        check=check,
    )
]
