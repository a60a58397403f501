#!/usr/bin/env python3
"""Deformable convolution side by side: Aweigh against torchvision, on the CPU.

    python scripts/bench_deform_conv.py [--rounds 5] [--threads 1 2]

Measures `deform_conv2d` (v1, 3x3, as many channels out as in, batch 1) forward,
and forward plus backward with gradients of input, offset and weight. Every
measurement is a process of its own, and the two systems take turns, so that
neither profits from a warm cache or suffers from a machine that slows down. The
figure is the median over the rounds of Aweigh's time divided by torchvision's:
below 1, Aweigh is faster.

Needs torch and torchvision (scripts/goldens/requirements.txt) and
`cargo build --release -p aweigh-deform-conv --example time_deform_conv`. Prints
a table and, last, one line of JSON.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PASSES = ("forward", "forward_backward")
# Batch, channels, height, width: P3 of a 512 px image, P3 of an image whose
# shorter side is 800 px, and a small layer.
SHAPES = ((1, 256, 64, 64), (1, 256, 100, 152), (1, 64, 64, 64))


# --- torchvision, in its own process -------------------------------------------


def seconds(step, warmup, runs):
    for _ in range(warmup):
        step()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


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
    print(json.dumps({name: seconds(step, options.warmup, options.runs) for name, step in steps}))


# --- the comparison -------------------------------------------------------------


def run(command, threads):
    """The medians that a measuring process prints, in seconds per pass."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    environment = {**os.environ, **{name: str(threads) for name in names}}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise SystemExit(f"{' '.join(map(str, command))}\nfailed with code {done.returncode}:\n{done.stderr.strip()}")
    return {name: statistics.median(times) for name, times in json.loads(lines[-1]).items()}


def commands(options, shape, threads):
    shape = [str(size) for size in shape]
    ours = [str(ROOT / options.binary), *shape, str(options.runs)]
    theirs = [sys.executable, __file__, "--worker", "--shape", *shape, "--threads", str(threads)]
    theirs += ["--runs", str(options.runs), "--warmup", str(options.warmup)]
    return {"aweigh": ours, "torchvision": theirs}


def compare(options, shape, threads):
    """One row per pass: medians of both systems and of the ratio of each round."""
    rounds = []
    for _ in range(options.rounds):
        systems = commands(options, shape, threads)
        rounds.append({system: run(command, threads) for system, command in systems.items()})
    rows = []
    for name in PASSES:
        times = {system: [each[system][name] for each in rounds] for system in rounds[0]}
        ratios = [ours / theirs for ours, theirs in zip(times["aweigh"], times["torchvision"])]
        rows.append(
            {
                "shape": list(shape),
                "threads": threads,
                "pass": name,
                "aweigh_ms": 1000 * statistics.median(times["aweigh"]),
                "torchvision_ms": 1000 * statistics.median(times["torchvision"]),
                "ratio": statistics.median(ratios),
                "ratios": ratios,
            }
        )
    return rows


def print_row(row):
    shape = " x ".join(map(str, row["shape"]))
    print(
        f"{shape:18} {row['threads']:7} {row['pass']:16} {row['aweigh_ms']:10.1f} {row['torchvision_ms']:15.1f} "
        f"{row['ratio']:7.2f}",
        flush=True,
    )


def check_requirements(options):
    for package in ("torch", "torchvision"):
        if importlib.util.find_spec(package) is None:
            raise SystemExit(
                f"{package} is not installed for {sys.executable}: install scripts/goldens/requirements.txt into a "
                "virtual environment and run this script with its python"
            )
    if not (ROOT / options.binary).is_file():
        raise SystemExit(
            f"{options.binary} does not exist: build it with "
            "'cargo build --release -p aweigh-deform-conv --example time_deform_conv'"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--binary", default="target/release/examples/time_deform_conv", help="relative to the repository"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each system per row")
    parser.add_argument("--runs", type=int, default=5, help="measured calls of a process")
    parser.add_argument("--warmup", type=int, default=2, help="torchvision's calls before them")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--shape", type=int, nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return torch_worker(options)

    check_requirements(options)
    print("shape              threads pass              aweigh ms  torchvision ms   ratio")
    rows = []
    for shape in SHAPES:
        for threads in options.threads:
            for row in compare(options, shape, threads):
                rows.append(row)
                print_row(row)
    print(json.dumps({"rounds": options.rounds, "rows": rows}))


if __name__ == "__main__":
    main()
