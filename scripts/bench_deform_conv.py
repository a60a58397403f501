#!/usr/bin/env python3
"""Deformable convolution side by side: Aweigh against torchvision, on the CPU.

    python scripts/bench_deform_conv.py [--rounds 5] [--threads 1 2]

Measures `deform_conv2d` (v1, 3x3, as many channels out as in, batch 1) forward,
and forward plus backward with gradients of input, offset and weight. The
processes of the two systems take turns; ratios are medians over the rounds of
Aweigh's time divided by torchvision's: below 1, Aweigh is faster.

Needs torch and torchvision (scripts/goldens/requirements.txt) and
`cargo build --release -p aweigh-deform-conv --example time_deform_conv`. Prints
a table and, last, one line of JSON.
"""

import argparse
import json
import statistics
import sys

from bench_common import ROOT, Column, Table, benchmark_parser, check_binary, check_packages, compare, milliseconds
from bench_common import take_turns, time_columns, warn_if_busy

PASSES = ("forward", "forward_backward")
# Batch, channels, height, width: P3 of a 512 px image, P3 of an image whose
# shorter side is 800 px, and a small layer.
SHAPES = ((1, 256, 64, 64), (1, 256, 100, 152), (1, 64, 64, 64))


# --- torchvision, in its own process -------------------------------------------


def torch_worker(options):
    import torch
    from torchvision.ops import deform_conv2d

    torch.set_num_threads(options.threads[0])
    torch.manual_seed(0)
    batch, channels, height, width = options.shape
    inputs = [
        torch.randn(batch, channels, height, width),
        2 * torch.randn(batch, 18, height, width),
        0.02 * torch.randn(channels, channels, 3, 3),
    ]
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]

    def forward():
        with torch.no_grad():
            deform_conv2d(*inputs, padding=1)

    def training():
        torch.autograd.grad(deform_conv2d(*leaves, padding=1).sum(), leaves)

    steps = zip(PASSES, (forward, training))
    times = {name: milliseconds(step, options.warmup, options.runs) for name, step in steps}
    # Seconds, as Aweigh's example prints.
    print(json.dumps({name: [time / 1000 for time in each] for name, each in times.items()}))


# --- the comparison -------------------------------------------------------------


def commands(options, shape, threads):
    shape = [str(size) for size in shape]
    ours = [str(ROOT / options.binary), *shape, str(options.runs)]
    theirs = [sys.executable, __file__, "--worker", "--shape", *shape, "--threads", str(threads)]
    theirs += ["--runs", str(options.runs), "--warmup", str(options.warmup)]
    return {"aweigh": ours, "torchvision": theirs}


def measure(options, shape, threads):
    """One row per pass."""
    found = take_turns(commands(options, shape, threads), options.rounds, threads)
    for name in PASSES:
        times = {
            system: [1000 * statistics.median(lines[-1][name]) for lines in each] for system, each in found.items()
        }
        yield {"shape": " x ".join(map(str, shape)), "threads": threads, "pass": name, **compare(times)}


def main():
    parser = benchmark_parser(__doc__, rounds=5)
    parser.add_argument(
        "--binary", default="target/release/examples/time_deform_conv", help="relative to the repository"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=5, help="measured calls of a process")
    parser.add_argument("--warmup", type=int, default=2, help="torchvision's calls before them")
    parser.add_argument("--shape", type=int, nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return torch_worker(options)

    check_packages("torch", "torchvision")
    check_binary(options.binary, "cargo build --release -p aweigh-deform-conv --example time_deform_conv")
    warn_if_busy()
    columns = [Column("shape", "shape", 19), Column("threads", "threads", 0, 0), Column("pass", "pass", 16)]
    table, rows = Table(columns + time_columns("torchvision")), []
    for shape in SHAPES:
        for threads in options.threads:
            for row in measure(options, shape, threads):
                rows.append(row)
                table.print_row(row)
    print(json.dumps({"rounds": options.rounds, "rows": rows}))


if __name__ == "__main__":
    main()
