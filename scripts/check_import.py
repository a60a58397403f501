#!/usr/bin/env python3
"""Imported detectors beside the originals: the same detections, at full size.

    python scripts/check_import.py [--aweigh target/release/aweigh] [--cases fcos_tv ...]

    fcos_tv      torchvision's fcos_resnet50_fpn
    retina_tv    torchvision's retinanet_resnet50_fpn
    fcos_mm      mmdetection's FCOS-R50 (caffe, GN head, centre sampling, norm_on_bbox)
    reppoints_mm mmdetection's RepPoints-R50 (moment, GN)

Each original gets random weights from a seed, spread so that a good number of
different detections come out, and is saved as its library saves checkpoints.
`aweigh import` makes a model file of it, `aweigh predict --model` finds objects on
one picture of 800 x 1333 pixels, which neither has to resize, and so does the
original. Prints a table with the largest differences of boxes (pixels) and scores,
and fails if a detection has no partner. `aweigh export --layout` then writes the
model back under the original's names, and every tensor must be the original's, bit
for bit.

Needs the packages of scripts/goldens/requirements.txt and a release build of
`aweigh`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench_common import check_packages

HEIGHT, WIDTH = 800, 1333
# Two implementations sum in other orders. Distances to the sides of a box are a factor times a
# stride of up to 128, and scores near a threshold or near each other may change places.
BOX_TOLERANCE = 0.05
SCORE_TOLERANCE = 1e-4
COCO_MEAN = (123.675, 116.28, 103.53)


# --- originals ---------------------------------------------------------------------


class Case(NamedTuple):
    model: object
    # Model and picture to (label, score, corners) of each detection.
    run: Callable
    # Writes the checkpoint to a path.
    save: Callable
    # Label to COCO's category id.
    category: Callable
    # The name of the layout for `aweigh export`.
    layout: str


def spread(model, heads, run):
    """Random weights with which the layers `heads` have outputs of a mean and a deviation.

    `run` runs the model, on any picture.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    state = model.state_dict()
    for name, value in state.items():
        if not value.is_floating_point():
            continue
        if name.endswith("running_var") or name.endswith(("bn3.weight", "gn.weight")):
            value.uniform_(0.5, 1.0, generator=generator)
        elif value.dim() == 4:
            fan_in = value[0].numel()
            value.normal_(0, (1.6 / fan_in) ** 0.5, generator=generator)
        if name.endswith("bn3.weight"):
            value.mul_(0.3)
    for name in heads:
        state[f"{name}.bias"].zero_()
    model.load_state_dict(state)
    model.eval()
    outputs = {name: [] for name in heads}
    hooks = [
        model.get_submodule(name).register_forward_hook(lambda _, __, y, name=name: outputs[name].append(y.flatten()))
        for name in heads
    ]
    run(model)
    for hook in hooks:
        hook.remove()
    for name, (mean, deviation) in heads.items():
        layer = model.get_submodule(name)
        layer.weight.data.mul_(deviation / torch.cat(outputs[name]).std())
        layer.bias.data.fill_(mean)
    return model


def torchvision_model(name, heads):
    import torchvision

    model = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None)
    return spread(model, heads, lambda model: run_torchvision(model, noise()))


def run_torchvision(model, picture):
    import torch

    with torch.no_grad():
        found = model([torch.from_numpy(picture).permute(2, 0, 1).float() / 255])[0]
    rows = zip(found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist())
    return [(label, score, box) for box, score, label in rows]


def mmdet_config(path):
    from mmengine.hub import get_config

    return get_config(f"mmdet::{path}")


def mmdet_model(config, heads):
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules()
    config.model.backbone.init_cfg = None
    return spread(MODELS.build(config.model), heads, lambda model: run_mmdet(model, noise()))


def run_mmdet(model, picture):
    import numpy
    import torch
    from mmdet.structures import DetDataSample

    # mmdetection reads pictures as BGR.
    image = torch.from_numpy(numpy.ascontiguousarray(picture[:, :, ::-1])).permute(2, 0, 1)
    sample = DetDataSample(
        metainfo={"img_shape": (HEIGHT, WIDTH), "ori_shape": (HEIGHT, WIDTH), "scale_factor": (1.0, 1.0)}
    )
    with torch.no_grad():
        found = model.test_step({"inputs": [image], "data_samples": [sample]})[0].pred_instances
    rows = zip(found.bboxes.tolist(), found.scores.tolist(), found.labels.tolist())
    return [(label, score, box) for box, score, label in rows]


def save_mmdet(model, config, path):
    import torch
    from mmdet.datasets import CocoDataset

    meta = {"cfg": config.pretty_text, "dataset_meta": {"classes": CocoDataset.METAINFO["classes"]}}
    torch.save({"meta": meta, "state_dict": model.state_dict()}, path)


def torchvision_case(name, heads):
    import torch

    model = torchvision_model(name, heads)
    return Case(model, run_torchvision, lambda path: torch.save(model.state_dict(), path), lambda label: label, "torchvision")


def mmdet_case(path, heads):
    # Registers its operators; before anything of mmdetection.
    import mmcv_shim  # noqa: F401
    from mmdet.datasets import CocoDataset

    config = mmdet_config(path)
    model = mmdet_model(config, heads)
    # Ids of COCO's categories have gaps.
    ids = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
    assert len(ids) == len(CocoDataset.METAINFO["classes"])
    return Case(model, run_mmdet, lambda file: save_mmdet(model, config, file), lambda label: ids[label], "mmdet")


CASES = {
    "fcos_tv": lambda: torchvision_case(
        "fcos_resnet50_fpn",
        {
            "head.classification_head.cls_logits": (-5.0, 1.5),
            "head.regression_head.bbox_reg": (2.0, 1.0),
        },
    ),
    "retina_tv": lambda: torchvision_case(
        "retinanet_resnet50_fpn",
        {
            "head.classification_head.cls_logits": (-6.0, 1.5),
            "head.regression_head.bbox_reg": (0.0, 0.3),
        },
    ),
    "fcos_mm": lambda: mmdet_case(
        "fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py",
        {"bbox_head.conv_cls": (-6.0, 1.5), "bbox_head.conv_reg": (2.0, 1.0)},
    ),
    "reppoints_mm": lambda: mmdet_case(
        "reppoints/reppoints-moment_r50_fpn-gn_head-gn_1x_coco.py",
        {"bbox_head.reppoints_cls_out": (-6.0, 1.5)},
    ),
}


# --- ours --------------------------------------------------------------------------


def run_aweigh(binary, folder, checkpoint, picture):
    model = folder / "model.safetensors"
    report = subprocess.run(
        [binary, "import", checkpoint, "--out", model, "--force"], check=True, capture_output=True, text=True
    )
    print(report.stdout.splitlines()[0])
    out = folder / "predictions"
    subprocess.run(
        [binary, "-q", "predict", "--model", model, "--score", "0", "--out", out, picture],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    found = json.loads((out / "detections.json").read_text())["annotations"]
    corners = lambda x, y, w, h: [x, y, x + w, y + h]
    return [(d["category_id"], d["score"], corners(*d["bbox"])) for d in found]


def exported_differently(binary, folder, case):
    """Names of tensors that an export does not have as the original has them."""
    import torch
    from safetensors.torch import load_file

    file = folder / "back.safetensors"
    command = [binary, "-q", "export", "--model", folder / "model.safetensors", "--layout", case.layout]
    subprocess.run([*command, "--out", file, "--force"], check=True)
    exported = load_file(file)
    original = {k: v for k, v in case.model.state_dict().items() if not k.endswith("num_batches_tracked")}
    same = lambda name: name in exported and name in original and torch.equal(exported[name], original[name])
    return [name for name in sorted(exported.keys() | original.keys()) if not same(name)]


# --- comparison --------------------------------------------------------------------


def compare(ours, theirs):
    """Largest differences of boxes and scores, and how many detections have no partner."""
    left = list(theirs)
    box_error = score_error = 0.0
    alone = 0
    for category, score, box in ours:
        near = [
            (max(abs(a - b) for a, b in zip(box, other[2])), abs(score - other[1]), other)
            for other in left
            if other[0] == category
        ]
        near = [entry for entry in near if entry[0] <= BOX_TOLERANCE and entry[1] <= SCORE_TOLERANCE]
        if not near:
            alone += 1
            continue
        boxes, scores, partner = min(near, key=lambda entry: entry[:2])
        left.remove(partner)
        box_error, score_error = max(box_error, boxes), max(score_error, scores)
    return box_error, score_error, alone + len(left)


def noise():
    """A picture with structure at every size, `[H, W, 3]`."""
    import numpy
    from PIL import Image

    random = numpy.random.default_rng(0)
    picture = numpy.zeros((HEIGHT, WIDTH, 3))
    for cells in (4, 16, 64, 256):
        small = random.uniform(0, 255, (cells, cells, 3)).astype("uint8")
        picture += numpy.asarray(Image.fromarray(small).resize((WIDTH, HEIGHT), Image.BICUBIC), dtype=float) / 4
    return picture.clip(0, 255).astype("uint8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aweigh", type=Path, default=Path("target/release/aweigh"))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    check_packages("torch", "torchvision", "mmdet")
    from PIL import Image

    sys.path.insert(0, str(Path(__file__).resolve().parent / "goldens"))
    failed = False
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        picture = noise()
        Image.fromarray(picture).save(folder / "picture.png")
        for name in options.cases:
            case = CASES[name]()
            checkpoint = folder / f"{name}.pth"
            case.save(checkpoint)
            theirs = [(case.category(label), score, box) for label, score, box in case.run(case.model, picture)]
            binary = options.aweigh.resolve()
            ours = run_aweigh(binary, folder, checkpoint, folder / "picture.png")
            boxes, scores, alone = compare(ours, theirs)
            rows.append(f"{name:12}  {len(ours):4}  {len(theirs):6}  {alone:5}  {boxes:9.5f}  {scores:9.7f}")
            changed = exported_differently(binary, folder, case)
            if changed:
                print(f"{name}: {len(changed)} tensors are not the original's: {', '.join(changed[:5])}")
            failed |= alone > 0 or not ours or bool(changed)
    print(f"{'case':12}  ours  theirs  alone  boxes, px  scores")
    print("\n".join(rows))
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
