"""ResNets and ResNeXts: torchvision's full ones with weights from a formula, mmdetection's narrow ones with stored weights.
Narrow MobileNetV2s of both."""

from copy import deepcopy

import mmcv_shim  # noqa: F401  (must come before mmdet)
import numpy as np
import torch
import torchvision
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules

from common import OPENMMLAB, TORCHVISION, Ambiguous, Case, Group, generator, noise, normal, under

register_all_modules(init_default_scope=True)

LEVELS = ("c2", "c3", "c4", "c5")

FORMULA = (
    "u(name, i) for element i (row-major) of tensor `name` with seed s: h = FNV-1a-64 of the UTF-8 name (offset basis "
    "0xcbf29ce484222325, prime 0x100000001b3); state = (h + s*0x9E3779B97F4A7C15 + (i+1)*0x9E3779B97F4A7C15) mod 2^64; "
    "z = state; z = (z ^ (z>>30))*0xBF58476D1CE4E5B9; z = (z ^ (z>>27))*0x94D049BB133111EB; z = z ^ (z>>31); "
    "u = (z>>40) / 2^24. Values (computed in f64, rounded to f32): 4-d weights: (2u-1)*sqrt(6/fan_in), fan_in = "
    "in_channels_per_group*kh*kw; fc.weight: (2u-1)*0.05; 1-d `weight` (norm scale): 0.3+0.6u; `bias`: (2u-1)*0.2; "
    'running_mean: (2u-1)*0.2; running_var: 0.5+u; input image: tensor name "input", value (2u-1)*2'
)
GOLDEN_GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def fnv1a(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def unit(name, count, seed):
    """`u` of FORMULA for the first `count` elements, in f64."""
    start = np.uint64((fnv1a(name) + seed * GOLDEN_GAMMA) & MASK)
    with np.errstate(over="ignore"):
        z = start + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN_GAMMA)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2.0**24


def formula_tensor(name, shape, seed):
    u = torch.from_numpy(unit(name, int(np.prod(shape)), seed)).reshape(shape)
    if name == "input":
        value = (2 * u - 1) * 2
    elif len(shape) == 4:
        value = (2 * u - 1) * (6 / (shape[1] * shape[2] * shape[3])) ** 0.5
    elif name == "fc.weight":
        value = (2 * u - 1) * 0.05
    elif name.endswith(".weight"):
        value = 0.3 + 0.6 * u
    elif name.endswith("running_var"):
        value = 0.5 + u
    else:
        value = (2 * u - 1) * 0.2
    return value.float()


FORMULA_RECIPES = {
    "resnet18": {"model": "resnet18", "input_shape": [1, 3, 75, 53]},
    "resnet34": {"model": "resnet34", "input_shape": [2, 3, 64, 64]},
    "resnet50": {"model": "resnet50", "input_shape": [1, 3, 56, 72]},
    "resnet101": {"model": "resnet101", "input_shape": [1, 3, 64, 64]},
    "resnext50_32x4d": {"model": "resnext50_32x4d", "input_shape": [1, 3, 56, 40]},
    "resnext101_32x8d": {"model": "resnext101_32x8d", "input_shape": [1, 3, 40, 56]},
    "resnext101_64x4d": {"model": "resnext101_64x4d", "input_shape": [1, 3, 40, 40]},
}
PROBES = ("bn1.running_var", "bn1.weight", "conv1.weight", "layer1.0.conv1.weight")


def build_formula(name, options, seed):
    meta = {
        "model": options["model"],
        "seed": seed,
        "input_shape": options["input_shape"],
        "mode": "eval",
        "source": f"torchvision.models.{options['model']}",
        "weights": FORMULA,
        "note": "names are torchvision state_dict names; probe/* are the first 8 elements of some tensors, to check "
        "the formula; logits_f64 is the classifier output of the same model in f64",
    }
    return Case(name, meta, {})


def torchvision_levels(model, x):
    x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    levels = []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        x = stage(x)
        levels.append(x)
    return levels


def evaluate_formula(case):
    seed = case.meta["seed"]
    model = getattr(torchvision.models, case.meta["model"])(weights=None).eval()
    weights = {
        name: formula_tensor(name, tuple(value.shape), seed)
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    model.load_state_dict(weights, strict=False)
    image = formula_tensor("input", tuple(case.meta["input_shape"]), seed)
    with torch.no_grad():
        single = torchvision_levels(model, image)
        model.double()
        double = torchvision_levels(model, image.double())
        logits = model(image.double())
    outputs = {"input": image, "logits_f64": logits, **dict(zip(LEVELS, single))}
    outputs.update({f"probe/{name}": weights[name].flatten()[:8] for name in PROBES})
    return outputs, {"noise": level_noise(single, double)}


def level_noise(single, double):
    pairs = zip(LEVELS, map(noise, single, double))
    return {level: {"f32_vs_f64_max_abs": pair[0], "max_abs": pair[1]} for level, pair in pairs}


GN = {"type": "GN", "num_groups": 2, "requires_grad": True}
C3_TO_C5 = [False, True, True, True]


def dcn(version, deform_groups=1, **options):
    return {"type": version, "deform_groups": deform_groups, **options}


STORED_RECIPES = {
    "narrow_r18_train": {"config": {"depth": 18, "base_channels": 6}, "mode": "train"},
    "narrow_r18_batch_statistics": {
        "config": {"depth": 18, "base_channels": 6, "norm_eval": False},
        "mode": "train",
        "input": [2, 3, 96, 64],
    },
    "narrow_r18_gn": {"config": {"depth": 18, "base_channels": 6, "norm_cfg": GN}, "mode": "train"},
    "narrow_r18_all_frozen": {"config": {"depth": 18, "base_channels": 6, "frozen_stages": 4}, "mode": "train"},
    "narrow_r34_frozen3_batch_statistics": {
        "config": {"depth": 34, "base_channels": 3, "frozen_stages": 3, "norm_eval": False},
        "mode": "train",
        "input": [3, 3, 75, 107],
    },
    "narrow_r34_frozen0": {"config": {"depth": 34, "base_channels": 4, "frozen_stages": 0}, "mode": "train"},
    "narrow_r34_caffe_eval": {"config": {"depth": 34, "base_channels": 5, "style": "caffe"}, "mode": "eval"},
    "narrow_r50_pytorch_frozen2": {
        "config": {"depth": 50, "base_channels": 4, "style": "pytorch", "frozen_stages": 2},
        "mode": "train",
        "input": [1, 3, 81, 63],
    },
    "narrow_r50_caffe_norm_not_trainable": {
        "config": {
            "depth": 50,
            "base_channels": 4,
            "style": "caffe",
            "frozen_stages": 1,
            "norm_cfg": {"type": "BN", "requires_grad": False},
            "norm_eval": True,
        },
        "mode": "train",
        "input": [2, 3, 64, 48],
    },
    "narrow_r50_gn_frozen1": {
        "config": {"depth": 50, "base_channels": 4, "frozen_stages": 1, "norm_cfg": GN},
        "mode": "train",
        "input": [2, 3, 48, 80],
    },
    "narrow_r50_batch_statistics_eval": {
        "config": {"depth": 50, "base_channels": 4, "norm_eval": False},
        "mode": "eval",
        "input": [2, 3, 33, 97],
    },
    "narrow_r101_caffe_frozen1": {
        "config": {"depth": 101, "base_channels": 2, "style": "caffe", "frozen_stages": 1},
        "mode": "train",
        "input": [1, 3, 64, 64],
    },
    "narrow_r101_pytorch_eval": {"config": {"depth": 101, "base_channels": 2}, "mode": "eval", "input": [1, 3, 64, 48]},
    "narrow_resnext50": {
        "config": {
            "type": "ResNeXt",
            "depth": 50,
            "base_channels": 4,
            "groups": 4,
            "base_width": 1,
            "frozen_stages": 1,
        },
        "mode": "train",
    },
    "narrow_resnext50_batch_statistics": {
        "config": {
            "type": "ResNeXt",
            "depth": 50,
            "base_channels": 4,
            "groups": 2,
            "base_width": 2,
            "norm_eval": False,
        },
        "mode": "train",
        "input": [2, 3, 64, 48],
    },
    "narrow_resnext101_caffe_eval": {
        "config": {
            "type": "ResNeXt",
            "depth": 101,
            "base_channels": 2,
            "groups": 4,
            "base_width": 1,
            "style": "caffe",
        },
        "mode": "eval",
        "input": [1, 3, 64, 48],
    },
    "narrow_r50_dcnv1": {
        "config": {"depth": 50, "base_channels": 4, "dcn": dcn("DCN"), "stage_with_dcn": C3_TO_C5},
        "mode": "train",
        "input": [1, 3, 96, 96],
    },
    "narrow_r50_dcnv2": {
        "config": {
            "depth": 50,
            "base_channels": 4,
            "frozen_stages": 1,
            "dcn": dcn("DCNv2", fallback_on_stride=False),
            "stage_with_dcn": C3_TO_C5,
        },
        "mode": "train",
        "input": [2, 3, 48, 64],
    },
    "narrow_r50_dcnv2_groups_caffe": {
        "config": {
            "depth": 50,
            "base_channels": 2,
            "style": "caffe",
            "dcn": dcn("DCNv2", deform_groups=2),
            "stage_with_dcn": [True, False, True, False],
        },
        "mode": "train",
        "input": [2, 3, 96, 96],
    },
    "narrow_r50_dcnv1_fallback": {
        "config": {
            "depth": 50,
            "base_channels": 2,
            "dcn": dcn("DCN", deform_groups=4, fallback_on_stride=True),
            "stage_with_dcn": C3_TO_C5,
        },
        "mode": "train",
        "input": [1, 3, 96, 96],
    },
    "narrow_r50_dcnv1_frozen2_dilated": {
        "config": {
            "depth": 50,
            "base_channels": 4,
            "frozen_stages": 2,
            "strides": [1, 2, 2, 1],
            "dilations": [1, 1, 1, 2],
            "dcn": dcn("DCN"),
            "stage_with_dcn": C3_TO_C5,
        },
        "mode": "train",
        "input": [1, 3, 59, 75],
    },
    "narrow_resnext50_dcnv2": {
        "config": {
            "type": "ResNeXt",
            "depth": 50,
            "base_channels": 2,
            "groups": 4,
            "base_width": 1,
            "dcn": dcn("DCNv2", fallback_on_stride=True),
            "stage_with_dcn": C3_TO_C5,
        },
        "mode": "train",
        "input": [1, 3, 96, 64],
    },
}

# Around a whole pixel the slope of a bilinear sample jumps: where f32 and f64 fall on different sides of one, their
# gradients differ by more than rounding. (Batch statistics of few values amplify rounding so much that this happens in
# most cases; the recipes with deformable convolution have running statistics.)
LARGEST_GRADIENT_NOISE = 5e-6
# How far batch statistics may carry the rounding of an input, and how many inputs are tried.
LARGEST_GRADIENT_CHANGE, MOVED_INPUTS = 1e-2, 10

# Channels of 8 to 32; the last convolution never has fewer than 1280, so that most cases end before it.
MOBILENET_RECIPES = {
    "narrow_mnv2_tv_train": {
        "torchvision": {"width_mult": 0.1, "norm_layer": "BatchNorm2d", "taps": [3, 6]},
        "mode": "train",
        "input": [2, 3, 48, 48],
    },
    "narrow_mnv2_tv_eval": {
        "torchvision": {"width_mult": 0.1, "norm_layer": "BatchNorm2d", "taps": [3, 6, 13, 18]},
        "mode": "eval",
        "input": [1, 3, 33, 47],
    },
    "narrow_mnv2_tv_frozen": {
        "torchvision": {"width_mult": 0.2, "norm_layer": "FrozenBatchNorm2d", "taps": [1, 3, 6], "frozen": 2},
        "mode": "train",
        "input": [2, 3, 40, 32],
    },
    "narrow_mnv2_mm_train": {
        "config": {"widen_factor": 0.1, "out_indices": [1, 2, 4]},
        "mode": "train",
        "input": [2, 3, 40, 48],
    },
    "narrow_mnv2_mm_norm_eval_frozen1": {
        "config": {"widen_factor": 0.1, "out_indices": [1, 2, 4, 6], "frozen_stages": 1, "norm_eval": True},
        "mode": "train",
        "input": [2, 3, 34, 46],
    },
    "narrow_mnv2_mm_gn_frozen3": {
        "config": {
            "widen_factor": 0.1,
            "out_indices": [3, 5],
            "frozen_stages": 3,
            "norm_cfg": {"type": "GN", "num_groups": 2, "requires_grad": True},
        },
        "mode": "train",
        "input": [2, 3, 48, 32],
    },
}

STORED_NOTE = (
    "grad/* are gradients of sum over levels of sum(c_i * upstream/c_i) (train mode only); after/* are running "
    "statistics after the forward pass where they changed (momentum 0.1, unbiased variance); mmdet's defaults hold for "
    "options not named (norm_eval true: running statistics in training too); style pytorch puts stride 2 in the 3x3 "
    "convolution, caffe in the first 1x1; frozen_stages n freezes the stem and stages 1..n (their norms in eval mode); "
    "group norms are named gn1, gn2, ... instead of bn1, bn2, ...; dcn makes the 3x3 convolutions of the stages in "
    "stage_with_dcn deformable; its fallback_on_stride true leaves the first of them plain (ResNet) or changes nothing "
    "(ResNeXt)"
)


MOBILENET_NOTE = (
    "taps are the elements of torchvision's `features` whose outputs are c2, c3, ...; frozen is how many of the first "
    "ones are not trained; out_indices, frozen_stages and norm_eval are mmdetection's (defaults: (1, 2, 4, 7), -1, "
    "false); tensors behind the last output are left out; " + STORED_NOTE[: STORED_NOTE.index(";")]
)


def draw_parameter(rng, name, shape):
    """Weights under which activations keep their size through the depth."""
    if name.endswith("running_var"):
        return 0.5 + 0.5 * normal(rng, *shape).abs()
    if "conv_offset" in name:
        # Offsets of up to a few pixels.
        return normal(rng, *shape, std=0.5 if len(shape) == 1 else (0.2 / (shape[1] * shape[2] * shape[3])) ** 0.5)
    if len(shape) == 4:
        fan_in = shape[1] * shape[2] * shape[3]
        return normal(rng, *shape, std=(2 / fan_in) ** 0.5)
    if name.endswith("weight"):
        # Some activations of a MobileNetV2 are to be beyond 6.
        mobile = name.startswith("features.") or "_conv." in name
        return normal(rng, *shape, std=0.1, mean=0.8 if mobile else 0.6)
    return normal(rng, *shape, std=0.2)


class Tapped(torch.nn.Module):
    """A network of torchvision that returns the outputs of some elements of `features`."""

    def __init__(self, width_mult, norm_layer, taps, frozen=0):
        super().__init__()
        norms = {"BatchNorm2d": torch.nn.BatchNorm2d, "FrozenBatchNorm2d": torchvision.ops.FrozenBatchNorm2d}
        whole = torchvision.models.MobileNetV2(width_mult=width_mult, norm_layer=norms[norm_layer])
        self.features, self.taps = whole.features[: taps[-1] + 1], taps
        for parameter in self.features[:frozen].parameters():
            parameter.requires_grad = False

    def forward(self, x):
        levels = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.taps:
                levels.append(x)
        return levels


def build_network(meta):
    if "torchvision" in meta:
        return Tapped(**meta["torchvision"])
    # mmdet takes keys out of the dictionary of `dcn`.
    return MODELS.build({"type": "ResNet", **deepcopy(meta["mmdet_config"])})


def build_stored(name, options, seed):
    rng = generator(seed)
    meta = {
        "seed": seed,
        "mmdet_config": options["config"],
        "mode": options["mode"],
        "source": f"mmdet.models.backbones.{options['config'].get('type', 'ResNet')}",
        "note": STORED_NOTE,
    }
    return stored_case(name, meta, options, rng)


def stored_case(name, meta, options, rng):
    """The case with an image, weights for all tensors that its outputs depend on, and gradients of its outputs."""
    model = build_network(meta)
    inputs = {"input": normal(rng, *options.get("input", [2, 3, 48, 64]))}
    for key, value in model.state_dict().items():
        if not key.endswith("num_batches_tracked") and not behind_last_output(key, meta):
            inputs[f"param/{key}"] = draw_parameter(rng, key, value.shape)
    if options["mode"] == "train":
        with torch.no_grad():
            shapes = [level.shape for level in model(inputs["input"])]
        inputs.update({f"upstream/{level}": normal(rng, *shape) for level, shape in zip(LEVELS, shapes)})
    return Case(name, meta, inputs)


def build_mobilenet(name, options, seed):
    meta = {"seed": seed, "mode": options["mode"], "note": MOBILENET_NOTE}
    if "torchvision" in options:
        meta |= {"torchvision": options["torchvision"], "source": "torchvision.models.MobileNetV2"}
    else:
        config = {"type": "MobileNetV2", **options["config"]}
        meta |= {"mmdet_config": config, "source": "mmdet.models.backbones.MobileNetV2"}
    return stored_case(name, meta, options, generator(seed))


def behind_last_output(name, meta):
    """Whether a tensor of mmdetection's MobileNetV2, which builds all stages, has no part in the outputs."""
    config = meta.get("mmdet_config", {})
    if config.get("type") != "MobileNetV2":
        return False
    stages = [f"layer{i}." for i in range(1, 8)] + ["conv2."]
    return name.startswith(tuple(stages[config["out_indices"][-1] + 1 :]))


def stored_gradient(name):
    """A sample of the parameters, to keep the file small: every block is represented."""
    if name.startswith("features.") or "_conv." in name or name.startswith(("conv1.conv.", "conv1.bn.", "conv1.gn.")):
        # A shift before batch statistics has no gradient but rounding: no shifts of projections.
        early = name.startswith(("features.0.", "features.1.", "features.2.", "conv1.", "layer1.", "layer2.0."))
        shift = ("conv.1.1.bias", "depthwise_conv.bn.bias", "depthwise_conv.gn.bias")
        depthwise = ("conv.1.0.weight", "depthwise_conv.conv.weight", *shift)
        return (early and name.endswith("weight")) or name.endswith(depthwise)
    first = name.startswith(("conv1.", "bn1.", "gn1.", "layer1.0.", "layer2.0."))
    every_block = (".bn2.weight", ".gn2.weight", ".conv2.conv_offset.weight")
    return first or name.endswith(every_block) or name in ("layer3.1.conv2.weight", "layer4.0.conv1.weight")


def run_stored(case, dtype):
    model = build_network(case.meta)
    start = under(case.inputs, "param")
    model.load_state_dict(start, strict=False)
    model.to(dtype).train(case.meta["mode"] == "train")
    image = case.inputs["input"].to(dtype, copy=True).requires_grad_()
    levels = model(image)
    found = dict(zip(LEVELS, levels))
    if case.meta["mode"] == "train":
        sum((c * case.inputs[f"upstream/{name}"].to(dtype)).sum() for name, c in found.items()).backward()
        found["grad/input"] = image.grad
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and stored_gradient(name):
                found[f"grad/param/{name}"] = parameter.grad
    for name, value in model.named_buffers():
        if name in start and not torch.equal(value, start[name].to(dtype)):
            found[f"after/{name}"] = value
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    return {name: tensor.detach() for name, tensor in found.items()}, frozen


def evaluate_stored(case):
    outputs, frozen = run_stored(case, torch.float32)
    double, _ = run_stored(case, torch.float64)
    names = [name for name in LEVELS if name in outputs]
    levels = level_noise([outputs[name] for name in names], [double[name] for name in names])
    return outputs, {"frozen_parameters": frozen, "noise": levels}


def check_stored(case, outputs):
    config = case.meta.get("mmdet_config", {})
    if "dcn" in config:
        refuse_other_gradients(case, outputs, torch.float64, LARGEST_GRADIENT_NOISE)
    if has_batch_statistics(case):
        # Statistics of few values: a ReLU that changes sides moves gradients by a tenth.
        rng = generator(case.meta["seed"])
        for _ in range(MOVED_INPUTS):
            factor = 1 + 3e-7 * normal(rng, *case.inputs["input"].shape)
            moved = Case(case.name, case.meta, {**case.inputs, "input": case.inputs["input"] * factor})
            refuse_other_gradients(moved, outputs, torch.float32, LARGEST_GRADIENT_CHANGE)


def has_batch_statistics(case):
    if case.meta["mode"] != "train":
        return False
    if "torchvision" in case.meta:
        return case.meta["torchvision"]["norm_layer"] == "BatchNorm2d"
    config = case.meta["mmdet_config"]
    by_default = config.get("type") != "MobileNetV2"
    return not config.get("norm_eval", by_default) and config.get("norm_cfg", {}).get("type", "BN") == "BN"


def refuse_other_gradients(case, outputs, dtype, limit):
    """Compares with another run, whose gradients differ by rounding only (relative to the largest)."""
    other, _ = run_stored(case, dtype)
    for name in (name for name in outputs if name.startswith("grad/")):
        difference, largest = noise(outputs[name], other[name])
        if difference > limit * largest:
            raise Ambiguous(f"{name} differs by {difference:.1e} of {largest:.1e} between runs")


GROUPS = [
    Group(
        kind="resnet_formula",
        recipes=FORMULA_RECIPES,
        build=build_formula,
        evaluate=evaluate_formula,
        inputs=(),
        packages=TORCHVISION,
    ),
    Group(
        kind="resnet_stored",
        recipes=STORED_RECIPES,
        build=build_stored,
        evaluate=evaluate_stored,
        inputs=("param/*", "input", "upstream/*"),
        packages=OPENMMLAB,
        check=check_stored,
    ),
    Group(
        kind="mobilenet_stored",
        recipes=MOBILENET_RECIPES,
        build=build_mobilenet,
        evaluate=evaluate_stored,
        inputs=("param/*", "input", "upstream/*"),
        packages=OPENMMLAB,
        check=check_stored,
    ),
]
