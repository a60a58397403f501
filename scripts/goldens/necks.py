"""Feature pyramids of mmdetection and torchvision."""

import mmcv_shim  # noqa: F401  (must come before mmdet)
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from common import OPENMMLAB, TORCHVISION, Case, Group, generator, listed, merge_noise, noise, normal, under

register_all_modules(init_default_scope=True)

NOTE = "grad/* are gradients of the sum over levels of sum(output * upstream)"

CHANNELS = [6, 8, 10, 12]
EVEN = [[24, 16], [12, 8], [6, 4], [3, 2]]
ODD = [[25, 17], [13, 9], [7, 5], [4, 3]]
# Maps whose sizes are not the half of the level below, rounded up or not.
UNEVEN = [[21, 30], [10, 16], [6, 7], [2, 4]]


def mm(out_channels=8, num_outs=5, start_level=1, **changes):
    return {"out_channels": out_channels, "start_level": start_level, "num_outs": num_outs, **changes}


def group_norm(groups):
    return {"type": "GN", "num_groups": groups, "requires_grad": True}


MM_RECIPES = {
    "fpn_mm_on_input": {"config": mm(add_extra_convs="on_input"), "sizes": ODD},
    "fpn_mm_true": {"config": mm(add_extra_convs=True, out_channels=6), "sizes": EVEN},
    "fpn_mm_on_output_relu": {"config": mm(add_extra_convs="on_output", relu_before_extra_convs=True), "sizes": UNEVEN},
    "fpn_mm_on_lateral_relu_six": {
        "config": mm(add_extra_convs="on_lateral", relu_before_extra_convs=True, num_outs=6, start_level=0),
        "sizes": EVEN,
    },
    "fpn_mm_on_lateral_start2": {"config": mm(add_extra_convs="on_lateral", num_outs=4, start_level=2), "sizes": ODD},
    "fpn_mm_gn_on_output": {
        "config": mm(out_channels=12, add_extra_convs="on_output", norm_cfg=group_norm(3)),
        "sizes": UNEVEN,
    },
    "fpn_mm_gn_pool": {"config": mm(norm_cfg=group_norm(8), num_outs=5, start_level=0), "sizes": ODD},
    "fpn_mm_no_extra": {"config": mm(num_outs=3, add_extra_convs="on_output"), "sizes": EVEN},
    "fpn_mm_pool_two": {"config": mm(num_outs=5, start_level=1), "sizes": UNEVEN},
    "fpn_mm_one_input_level": {
        "config": mm(num_outs=3, start_level=3, add_extra_convs="on_input", out_channels=4),
        "sizes": ODD,
    },
}
TV_RECIPES = {
    "fpn_tv_pool": {"extra_blocks": "tv_pool", "sizes": ODD},
    "fpn_tv_p6p7_on_p5": {"extra_blocks": "tv_p6p7_on_p5", "sizes": UNEVEN},
    "fpn_tv_p6p7_on_c5": {"extra_blocks": "tv_p6p7_on_c5", "sizes": EVEN},
}


# torchvision's cases do not name their width, for their weights tell it.
TV_CHANNELS = 8


def build_model(meta):
    if "mmdet_config" in meta:
        return MODELS.build({"type": "FPN", **meta["mmdet_config"]})
    return TorchvisionPyramid(meta["in_channels"], TV_CHANNELS, meta["extra_blocks"])


class TorchvisionPyramid(FeaturePyramidNetwork):
    """Takes and gives lists; the dictionary keys of torchvision do not matter here."""

    def __init__(self, channels, out_channels, extra):
        blocks = {
            "tv_pool": LastLevelMaxPool,
            "tv_p6p7_on_p5": lambda: LastLevelP6P7(out_channels, out_channels),
            "tv_p6p7_on_c5": lambda: LastLevelP6P7(channels[-1], out_channels),
        }
        super().__init__(channels, out_channels, extra_blocks=blocks[extra]())

    def forward(self, levels):
        return list(super().forward({str(i): level for i, level in enumerate(levels)}).values())


def draw_parameter(rng, name, shape):
    if name.endswith("bias"):
        return normal(rng, *shape, std=0.15)
    if len(shape) == 1:
        return normal(rng, *shape, std=0.2, mean=1.0)
    return normal(rng, *shape, std=(1.3 / (shape[1] * shape[2] * shape[3])) ** 0.5)


def build(name, options, seed):
    rng = generator(seed)
    if "config" in options:
        meta = {"mmdet_config": {"in_channels": CHANNELS, **options["config"]}, "source": "mmdet.models.necks.FPN"}
        meta["note"] = NOTE
    else:
        meta = {"extra_blocks": options["extra_blocks"], "source": "torchvision.ops.FeaturePyramidNetwork"}
        meta["note"] = "LastLevelP6P7 takes P6 from C5 when its in and out channels differ, else from P5. " + NOTE
    meta.update({"seed": seed, "in_channels": CHANNELS, "sizes": options["sizes"]})
    model = build_model(meta)
    inputs = {f"input/{i}": normal(rng, 2, c, h, w) for i, (c, (h, w)) in enumerate(zip(CHANNELS, options["sizes"]))}
    for key, value in model.state_dict().items():
        inputs[f"param/{key}"] = draw_parameter(rng, key, value.shape)
    with torch.no_grad():
        shapes = [level.shape for level in model(listed(inputs, "input"))]
    inputs.update({f"upstream/{i}": normal(rng, *shape) for i, shape in enumerate(shapes)})
    return Case(name, meta, inputs)


def run(case, dtype):
    model = build_model(case.meta)
    model.load_state_dict(under(case.inputs, "param"))
    model.to(dtype)
    levels = [x.to(dtype, copy=True).requires_grad_() for x in listed(case.inputs, "input")]
    outputs = model(levels)
    sum((o * u.to(dtype)).sum() for o, u in zip(outputs, listed(case.inputs, "upstream"))).backward()
    found = {f"output/{i}": output for i, output in enumerate(outputs)}
    # Levels below start_level get no gradient.
    found.update({f"grad/input/{i}": x.grad for i, x in enumerate(levels) if x.grad is not None})
    found.update({f"grad/param/{n}": p.grad for n, p in model.named_parameters() if p.grad is not None})
    return {name: tensor.detach() for name, tensor in found.items()}


def evaluate(case):
    single, double = run(case, torch.float32), run(case, torch.float64)
    kinds = ("output/", "grad/input/", "grad/param/")
    found = {
        kind.rstrip("/"): merge_noise(noise(single[n], double[n]) for n in single if n.startswith(kind))
        for kind in kinds
    }
    return single, {"max_abs_difference_f32_vs_f64_and_max_abs_value": found}


INPUTS = ("param/*", "input/*", "upstream/*")
GROUPS = [
    Group("fpn", MM_RECIPES, build, evaluate, INPUTS, OPENMMLAB, owns=lambda meta: "mmdet_config" in meta),
    Group("fpn", TV_RECIPES, build, evaluate, INPUTS, TORCHVISION, owns=lambda meta: "extra_blocks" in meta),
]
