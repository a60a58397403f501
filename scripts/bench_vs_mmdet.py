#!/usr/bin/env python3
"""Detectors side by side: Aweigh against mmdetection, on the CPU.

    python scripts/bench_vs_mmdet.py [--rounds 3] [--threads 2] [--cases fcos_r50 ...] [--modes train infer]

Measures a training step (forward, losses, backward, clipping, optimizer) or
inference (forward, candidates, NMS) of one model in both. The processes of the
two systems take turns; ratios are medians over the rounds of Aweigh's figure
divided by mmdetection's: below 1, Aweigh is faster or smaller.

mmdetection's models are those of its published configurations, with random
weights and a tiny learning rate; `fcos_r18_bccd` is its FCOS with the options of
configs/fcos_r18_bccd.toml. Inputs are uint8 noise with eight boxes per image,
normalised before the step, as Aweigh's loader does. Where the two configurations
clip gradients differently, both clip. The script refuses to compare models
whose numbers of trained parameters differ.

mmcv's compiled operators are not needed: torchvision computes NMS and deformable
convolution.

Needs the packages of scripts/goldens/requirements.txt and a release build of the
`aweigh` binary. Prints a table and, last, one line of JSON.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench_common import ROOT, Column, Table, add_step_options, aweigh_step, benchmark_parser, check_aweigh
from bench_common import check_packages, compare_steps, step_columns, time_step, warn_if_busy, worker_step

BOXES_PER_IMAGE = 8
INFER_BATCH = 1
# Keeps a random network finite; the work does not depend on it.
LEARNING_RATE = 1e-6
CLIP = 35.0


# --- what is compared -------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A model in both systems: Aweigh's configuration with its changes, mmdetection's from a function."""

    config: str
    theirs: Callable
    changes: tuple = ()
    size: tuple = (320, 320)
    batch: int = 2


def published(path, **optim_wrapper):
    """A configuration that comes with mmdetection, with other options of its optimizer wrapper."""
    from mmengine.hub import get_config

    config = get_config(f"mmdet::{path}")
    config.optim_wrapper.update(optim_wrapper)
    return config


def small_fcos():
    """FCOS as in configs/fcos_r18_bccd.toml."""
    config = published("fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py")
    norm = {"type": "GN", "num_groups": 8, "requires_grad": True}
    config.model.backbone.update(depth=18, base_channels=16, style="pytorch", frozen_stages=-1, norm_cfg=norm)
    config.model.neck.update(in_channels=[16, 32, 64, 128], out_channels=64, num_outs=3, add_extra_convs=False)
    config.model.bbox_head.update(
        num_classes=3,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        strides=[8, 16, 32],
        regress_ranges=[[-1, 48], [48, 96], [96, 1e8]],
        norm_cfg=norm,
    )
    config.optim_wrapper = {
        "type": "OptimWrapper",
        "optimizer": {"type": "AdamW", "weight_decay": 0.05},
        "paramwise_cfg": {"bias_decay_mult": 0.0, "norm_decay_mult": 0.0},
        "clip_grad": {"max_norm": 10},
    }
    return config


COCO = "detector.num_classes=80"
CASES = {
    "fcos_r18_bccd": Case(
        "configs/fcos_r18_bccd.toml", small_fcos, ("detector.num_classes=3",), size=(192, 256), batch=4
    ),
    "fcos_r50": Case(
        "configs/fcos_r50.toml",
        lambda: published("fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py"),
        (COCO,),
    ),
    "fsaf_r50": Case("configs/fsaf_r50.toml", lambda: published("fsaf/fsaf_r50_fpn_1x_coco.py"), (COCO,)),
    "fovea_r50": Case("configs/fovea_r50.toml", lambda: published("foveabox/fovea_r50_fpn_4xb4-1x_coco.py"), (COCO,)),
    "fovea_r50_align": Case(
        "configs/fovea_r101_align_2x.toml",
        lambda: published("foveabox/fovea_r50_fpn_gn-head-align_4xb4-2x_coco.py"),
        (COCO, "detector.backbone.depth=50", f"train.clip_norm={CLIP}"),
    ),
    "reppoints_r50": Case(
        "configs/reppoints_r50.toml",
        lambda: published("reppoints/reppoints-moment_r50_fpn-gn_head-gn_1x_coco.py", clip_grad={"max_norm": CLIP}),
        (COCO,),
    ),
}


# --- mmdetection, in its own process ----------------------------------------------


def import_mmdet():
    """Registers mmdetection's models, with torchvision's operators in place of mmcv's compiled ones."""
    sys.path.insert(0, str(ROOT / "scripts/goldens"))
    import mmcv_shim  # noqa: F401  (must come before mmdet)
    import mmcv.ops.deform_conv
    from mmdet.utils import register_all_modules
    from torchvision.ops import deform_conv2d

    def deform(x, offset, weight, stride, padding, dilation, *_):
        return deform_conv2d(x, offset, weight, None, stride, padding, dilation)

    # The stand-in of the goldens keeps to mmcv's interface, whose backward pass is two calls, and
    # computes everything in each: here torchvision's operator differentiates itself, once.
    mmcv.ops.deform_conv.deform_conv2d = deform
    register_all_modules(init_default_scope=True)


def mmdet_model(config):
    """The model with random weights."""
    import torch
    from mmdet.registry import MODELS

    config.model.backbone.init_cfg = None
    config.model.backbone.zero_init_residual = False
    model = MODELS.build(config.model)
    model.init_weights()
    for module in model.backbone.modules():
        if hasattr(module, "norm2"):
            # Random residual branches at full strength would double the variance in every block.
            torch.nn.init.constant_(getattr(module, "norm3", module.norm2).weight, 0.2)
    return model


def mmdet_data(count, size, classes):
    """Noise with boxes, as mmdetection's loader gives it."""
    import torch
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    height, width = size
    sides = torch.tensor([width, height])
    samples = []
    for _ in range(count):
        corner = torch.rand(BOXES_PER_IMAGE, 2) * sides * 0.6
        boxes = torch.cat([corner, corner + torch.rand(BOXES_PER_IMAGE, 2) * sides * 0.3 + 8], dim=1)
        truth = InstanceData(bboxes=boxes, labels=torch.randint(0, classes, (BOXES_PER_IMAGE,)))
        meta = {"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0)}
        samples.append(DetDataSample(metainfo=meta, gt_instances=truth))
    images = [torch.randint(0, 256, (3, height, width), dtype=torch.uint8) for _ in range(count)]
    return {"inputs": images, "data_samples": samples}


def mmdet_step(config, model, mode, batch, size):
    """A function that does one step."""
    import torch
    from mmengine.optim import build_optim_wrapper

    training = mode == "train"
    model.train(training)
    data = model.data_preprocessor(mmdet_data(batch, size, config.model.bbox_head.num_classes), training)
    images, samples = data["inputs"], data["data_samples"]

    def infer():
        with torch.inference_mode():
            model.predict(images, samples)

    if not training:
        return infer
    config.optim_wrapper.optimizer.lr = LEARNING_RATE
    wrapper = build_optim_wrapper(model, config.optim_wrapper)

    def train():
        loss, _ = model.parse_losses(model.loss(images, samples))
        # Backward, clipping, the optimizer's step and zeroing.
        wrapper.update_params(loss)

    return train


def mmdet_worker(options):
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    import_mmdet()
    case = CASES[options.case]
    config = case.theirs()
    model = mmdet_model(config)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    step = mmdet_step(config, model, options.mode, batch_size(case, options.mode), case.size)
    time_step(step, options, trained_parameters=trained)


# --- the comparison -------------------------------------------------------------


def batch_size(case, mode):
    return case.batch if mode == "train" else INFER_BATCH


def trained_parameters(options, case):
    """How many of Aweigh's parameters are trained, from the last line of `aweigh inspect`."""
    command = [str(ROOT / options.binary), "inspect", "--config", case.config]
    command += [part for change in case.changes for part in ("--set", change)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = re.search(r"([\d,]+) of them trained", done.stdout)
    if done.returncode != 0 or found is None:
        raise SystemExit(f"{' '.join(command)}\ndoes not say how many parameters are trained:\n{done.stderr.strip()}")
    return int(found[1].replace(",", ""))


def measure(options, name, mode):
    """One row of the table."""
    case = CASES[name]
    batch, size = batch_size(case, mode), "x".join(map(str, case.size))
    ours = aweigh_step(options, case.config, size, batch, mode, case.changes)
    theirs = worker_step(__file__, options, mode, "--case", name)
    row, last = compare_steps({"aweigh": ours, "mmdet": theirs}, options)
    trained = {"Aweigh": trained_parameters(options, case), "mmdetection": last["mmdet"]["trained_parameters"]}
    if len(set(trained.values())) > 1:
        raise SystemExit(f"{name}: not the same model: {trained} trained parameters")
    return {"case": name, "mode": mode, "size": size, "batch": batch, **row}


def main():
    parser = benchmark_parser(__doc__, rounds=3)
    add_step_options(parser, modes=["train"])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return mmdet_worker(options)

    check_packages("torch", "torchvision", "mmengine", "mmcv", "mmdet")
    check_aweigh(options.binary)
    warn_if_busy()
    columns = [Column("case", "case", 15), Column("mode", "mode", 5), Column("size", "size", 7)]
    table, rows = Table([*columns, Column("batch", "batch", 5, 0), *step_columns("mmdet")]), []
    for mode in options.modes:
        for name in options.cases:
            rows.append(measure(options, name, mode))
            table.print_row(rows[-1])
    print(json.dumps({"threads": options.threads, "rounds": options.rounds, "rows": rows}))


if __name__ == "__main__":
    main()
