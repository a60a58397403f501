#!/usr/bin/env python3
"""FCOS with a ResNet-50 side by side: Aweigh against torchvision, on the CPU.

    python scripts/bench_vs_torch.py [--rounds 3] [--threads 2] [--sizes 320 800x1333]

Measures a training step (forward, backward, SGD) of two images and the
inference of one. The processes of the two systems take turns; ratios are medians
over the rounds of Aweigh's figure divided by torchvision's: below 1, Aweigh is
faster or smaller.

torchvision is set up like configs/fcos_r50.toml: 80 classes, frozen batch norm,
stem and first stage frozen, SGD with momentum, inputs of the same size.

Needs torch and torchvision (scripts/goldens/requirements.txt) and a release
build of the `aweigh` binary. Prints a table and, last, one line of JSON.
"""

import argparse
import json

from bench_common import Column, Table, add_step_options, aweigh_step, benchmark_parser, check_aweigh, check_packages
from bench_common import compare_steps, step_columns, time_step, warn_if_busy, worker_step

BATCH = {"train": 2, "infer": 1}
CLASSES = 80
BOXES_PER_IMAGE = 8


def sides(size):
    """Height and width of `SIDE` or `HEIGHTxWIDTH`."""
    height, _, width = size.partition("x")
    return int(height), int(width or height)


# --- torchvision, in its own process -------------------------------------------


def torch_model(kind, height, width):
    """FCOS or RetinaNet as torchvision builds it with pretrained weights, but with random ones.

    `fcos_resnet50_fpn(weights=None)` would train every layer and use ordinary
    batch norm, which is another amount of work.
    """
    from torchvision.models.detection import FCOS, RetinaNet
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.models.resnet import resnet50
    from torchvision.ops import FrozenBatchNorm2d
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    body = resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
    for name, module in body.named_modules():
        if name.endswith("bn3"):
            # Random residual branches at full strength would double the
            # variance in every block.
            module.weight.fill_(0.2)
    pyramid = _resnet_fpn_extractor(body, 3, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))
    return {"fcos": FCOS, "retinanet": RetinaNet}[kind](pyramid, CLASSES, min_size=min(height, width), max_size=max(height, width))


def torch_targets(count, height, width, device):
    import torch

    size = torch.tensor([width, height])
    corner = torch.rand(count, BOXES_PER_IMAGE, 2) * size * 0.6
    side = torch.rand(count, BOXES_PER_IMAGE, 2) * size * 0.3 + 8
    boxes = torch.cat([corner, corner + side], dim=2)
    labels = torch.randint(0, CLASSES, (count, BOXES_PER_IMAGE))
    return [{"boxes": box.to(device), "labels": label.to(device)} for box, label in zip(boxes, labels)]


def torch_step(mode, size, batch, kind="fcos", device="cpu"):
    """A function that does one step; its state lives in the closure."""
    import torch

    torch.manual_seed(0)
    height, width = sides(size)
    model = torch_model(kind, height, width).to(device)
    images = list(torch.rand(batch, 3, height, width).to(device))
    if mode == "infer":
        model.eval()

        def infer():
            with torch.inference_mode():
                model(images)

        return infer

    model.train()
    targets = torch_targets(batch, height, width, device)
    trainable = [p for p in model.parameters() if p.requires_grad]
    # A tiny rate keeps the random network finite; the work does not depend on it.
    optimizer = torch.optim.SGD(trainable, lr=1e-6, momentum=0.9, weight_decay=1e-4)

    def train():
        optimizer.zero_grad(set_to_none=True)
        sum(model(images, targets).values()).backward()
        optimizer.step()

    return train


def torch_worker(options):
    import torch

    torch.set_num_threads(options.threads)
    time_step(torch_step(options.mode, options.size, options.batch), options)


# --- the comparison -------------------------------------------------------------


def measure(options, size, mode):
    """One row of the table."""
    batch = BATCH[mode]
    theirs = worker_step(__file__, options, mode, "--size", size, "--batch", str(batch))
    ours = aweigh_step(options, options.config, size, batch, mode)
    row, _ = compare_steps({"aweigh": ours, "torchvision": theirs}, options)
    return {"mode": mode, "size": size, "batch": batch, **row}


def main():
    parser = benchmark_parser(__doc__, rounds=3)
    add_step_options(parser, modes=BATCH)
    parser.add_argument("--config", default="configs/fcos_r50.toml")
    parser.add_argument("--sizes", nargs="+", default=["320", "512"], help="SIDE or HEIGHTxWIDTH of the inputs")
    parser.add_argument("--size", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return torch_worker(options)

    check_packages("torch", "torchvision")
    check_aweigh(options.binary)
    warn_if_busy()
    columns = [Column("mode", "mode", 5), Column("size", "size", 8), Column("batch", "batch", 5, 0)]
    table, rows = Table(columns + step_columns("torchvision")), []
    for mode in options.modes:
        for size in options.sizes:
            rows.append(measure(options, size, mode))
            table.print_row(rows[-1])
    print(json.dumps({"threads": options.threads, "rounds": options.rounds, "rows": rows}))


if __name__ == "__main__":
    main()
