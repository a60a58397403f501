#!/usr/bin/env python3
"""torchvision's FCOS and RetinaNet on a GPU, for comparison with `aweigh bench`.

    python3 scripts/bench_torchvision.py [--size 800x1333] [--batches 1 2 8]

The models of scripts/bench_vs_torch.py: ResNet-50, 80 classes, frozen batch norm,
stem and first stage frozen, SGD with momentum. Each is timed in inference and in a
training step, in 32 bits with and without TF32 in products, and with mixed
precision (bfloat16). Prints a line of JSON for each, with the names of `aweigh
bench`; memory is what PyTorch's allocator holds at most.
"""

import argparse
import json
import statistics
import time

import torch
import torchvision
from bench_common import at_least_one
from bench_vs_torch import torch_step

ARITHMETIC = ({"tf32": False, "amp": False}, {"tf32": True, "amp": False}, {"tf32": True, "amp": True})
MIB = 1024 * 1024


def wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(options, kind, mode, batch, arithmetic):
    """Time and memory of one kind of step."""
    device = torch.device(options.device)
    torch.backends.cuda.matmul.allow_tf32 = arithmetic["tf32"]
    torch.backends.cudnn.allow_tf32 = arithmetic["tf32"]
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    step = torch_step(mode, options.size, batch, kind, device)
    times = []
    for _ in range(options.warmup + options.iterations):
        wait(device)
        start = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=arithmetic["amp"]):
            step()
        wait(device)
        times.append(1000 * (time.perf_counter() - start))
    median = statistics.median(times[options.warmup :])
    memory = torch.cuda.max_memory_reserved(device) / MIB if device.type == "cuda" else None
    return {"step_ms": {"median": median}, "images_per_s": 1000 * batch / median, "device_memory_mib": memory}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=("fcos", "retinanet"), default=["fcos", "retinanet"])
    parser.add_argument("--modes", nargs="+", choices=("infer", "train"), default=["infer", "train"])
    parser.add_argument("--size", default="800x1333", help="SIDE or HEIGHTxWIDTH of the inputs")
    parser.add_argument("--batches", nargs="+", type=at_least_one, default=[1, 2, 8], help="images per step")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the measured ones")
    parser.add_argument("--iterations", type=at_least_one, default=5, help="measured steps")
    options = parser.parse_args()
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    for kind in options.models:
        for mode in options.modes:
            for arithmetic in ARITHMETIC:
                for batch in options.batches:
                    what = {"model": kind, "mode": mode, "size": options.size, "batch": batch, **arithmetic}
                    figures = measure(options, kind, mode, batch, arithmetic)
                    print(json.dumps({**what, **figures, **versions}), flush=True)


if __name__ == "__main__":
    main()
