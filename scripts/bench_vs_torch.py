#!/usr/bin/env python3
"""FCOS with a ResNet-50 side by side: Aweigh against torchvision, on the CPU.

    python scripts/bench_vs_torch.py [--rounds 3] [--threads 2] [--sizes 320 512]

Measures a training step (forward, backward, SGD) of two images and the
inference of one. Every measurement is a process of its own, and the two systems
take turns, so that neither profits from a warm cache or suffers from a machine
that slows down. The figure is the median over the rounds of Aweigh's time
divided by torchvision's: below 1, Aweigh is faster. Memory is the largest
resident size of the process (VmHWM), its ratio likewise.

torchvision is set up like configs/fcos_r50.toml: 80 classes, frozen batch norm,
stem and first stage frozen, SGD with momentum, the same square inputs.

Needs torch and torchvision (scripts/goldens/requirements.txt) and a release
build of the `aweigh` binary. Prints a table and, last, one line of JSON.
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
BATCH = {"train": 2, "infer": 1}
CLASSES = 80
BOXES_PER_IMAGE = 8
KIB_PER_MIB = 1024


# --- torchvision, in its own process -------------------------------------------


def torch_model(size):
    """FCOS as torchvision builds it with pretrained weights, but with random ones.

    `fcos_resnet50_fpn(weights=None)` would train every layer and use ordinary
    batch norm, which is another amount of work.
    """
    from torchvision.models.detection import FCOS
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
    return FCOS(pyramid, CLASSES, min_size=size, max_size=size)


def torch_targets(count, size):
    import torch

    corner = torch.rand(count, BOXES_PER_IMAGE, 2) * size * 0.6
    side = torch.rand(count, BOXES_PER_IMAGE, 2) * size * 0.3 + 8
    boxes = torch.cat([corner, corner + side], dim=2)
    labels = torch.randint(0, CLASSES, (count, BOXES_PER_IMAGE))
    return [{"boxes": box, "labels": label} for box, label in zip(boxes, labels)]


def torch_step(mode, size, batch):
    """A function that does one step; its state lives in the closure."""
    import torch

    torch.manual_seed(0)
    model = torch_model(size)
    images = list(torch.rand(batch, 3, size, size))
    if mode == "infer":
        model.eval()

        def infer():
            with torch.inference_mode():
                model(images)

        return infer

    model.train()
    targets = torch_targets(batch, size)
    trainable = [p for p in model.parameters() if p.requires_grad]
    # A tiny rate keeps the random network finite; the work does not depend on it.
    optimizer = torch.optim.SGD(trainable, lr=1e-6, momentum=0.9, weight_decay=1e-4)

    def train():
        optimizer.zero_grad(set_to_none=True)
        sum(model(images, targets).values()).backward()
        optimizer.step()

    return train


def peak_rss_mib():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / KIB_PER_MIB
    raise SystemExit("no VmHWM in /proc/self/status: the memory figure needs Linux")


def torch_worker(options):
    import torch

    torch.set_num_threads(options.threads)
    step = torch_step(options.mode, options.size, options.batch)
    for _ in range(options.warmup):
        step()
    times = []
    for _ in range(options.iterations):
        start = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - start))
    print(json.dumps({"step_ms": {"median": statistics.median(times)}, "peak_rss_mib": peak_rss_mib()}))


# --- the comparison -------------------------------------------------------------


def run(command, threads):
    """The last line of JSON that a measuring process prints, as (ms, MiB)."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "AWEIGH_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise SystemExit(f"{' '.join(map(str, command))}\nfailed with code {done.returncode}:\n{done.stderr.strip()}")
    result = json.loads(lines[-1])
    return result["step_ms"]["median"], result["peak_rss_mib"]


def commands(options, size, mode):
    batch = str(BATCH[mode])
    ours = [options.binary, "bench", "--config", options.config, "--size", str(size), "--batch", batch, "--mode", mode]
    theirs = [sys.executable, __file__, "--worker", "--size", str(size), "--batch", batch, "--mode", mode]
    theirs += ["--threads", str(options.threads), "--iterations", str(options.iterations)]
    return {"aweigh": ours, "torchvision": theirs + ["--warmup", str(options.warmup)]}


def compare(options, size, mode):
    """One row: medians of both systems and of the ratio of each round."""
    times, memory = {"aweigh": [], "torchvision": []}, {"aweigh": [], "torchvision": []}
    for _ in range(options.rounds):
        for system, command in commands(options, size, mode).items():
            milliseconds, mebibytes = run(command, options.threads)
            times[system].append(milliseconds)
            memory[system].append(mebibytes)
    ratios = [ours / theirs for ours, theirs in zip(times["aweigh"], times["torchvision"])]
    peaks = {system: max(values) for system, values in memory.items()}
    return {
        "mode": mode,
        "size": size,
        "batch": BATCH[mode],
        "aweigh_ms": statistics.median(times["aweigh"]),
        "torchvision_ms": statistics.median(times["torchvision"]),
        "time_ratio": statistics.median(ratios),
        "time_ratios": ratios,
        "aweigh_peak_rss_mib": peaks["aweigh"],
        "torchvision_peak_rss_mib": peaks["torchvision"],
        "memory_ratio": peaks["aweigh"] / peaks["torchvision"],
    }


def print_row(row):
    print(
        f"{row['mode']:6} {row['size']:5} {row['batch']:6} {row['aweigh_ms']:11.1f} {row['torchvision_ms']:15.1f} "
        f"{row['time_ratio']:7.2f} {row['aweigh_peak_rss_mib']:12.0f} {row['torchvision_peak_rss_mib']:16.0f} "
        f"{row['memory_ratio']:7.2f}",
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
        raise SystemExit(f"{options.binary} does not exist: build it with 'cargo build --release -p aweigh-cli'")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/aweigh", help="relative to the repository")
    parser.add_argument("--config", default="configs/fcos_r50.toml")
    parser.add_argument("--sizes", type=int, nargs="+", default=[320, 512], help="sides of the square inputs")
    parser.add_argument("--modes", nargs="+", choices=BATCH, default=list(BATCH))
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each system per row")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=5, help="measured steps of a torchvision process")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--mode", choices=BATCH, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return torch_worker(options)

    check_requirements(options)
    print("mode    size  batch   aweigh ms  torchvision ms   ratio   aweigh MiB  torchvision MiB   ratio")
    rows = []
    for mode in options.modes:
        for size in options.sizes:
            rows.append(compare(options, size, mode))
            print_row(rows[-1])
    print(json.dumps({"threads": options.threads, "rounds": options.rounds, "rows": rows}))


if __name__ == "__main__":
    main()
