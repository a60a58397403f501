#!/usr/bin/env python3
"""Convolutions side by side: Aweigh's kernels against PyTorch's, on the CPU.

    python scripts/bench_conv.py [--threads 1 2] [--rounds 5] [--shapes resnet heads mobile small | all]

Measures each pass (forward, gradient of the input, gradient of the weight) of the
different convolutions of

    resnet  ResNet-50's stem and stages, both styles, 2 images of 512 px
    heads   FCOS on it: pyramid, P6 and P7, towers and predictions at all levels
    mobile  the depthwise convolutions of MobileNetV2, 2 images of 512 px
    small   configs/fcos_r18_bccd.toml, 4 images of 192 x 256

without biases, f32, NCHW. Results are newly allocated in every call. The
processes of the two systems take turns; ratios are medians over the rounds of
Aweigh's time divided by PyTorch's: below 1, Aweigh is faster. GFLOP/s count the
multiplications and additions of a direct convolution.

Needs torch (scripts/goldens/requirements.txt) and cargo, which builds
crates/aweigh-conv/benches/conv.rs. Prints a table, summaries and, last, one line
of JSON.
"""

import itertools
import json
import statistics
import subprocess
import sys
import time

from bench_common import ROOT, Column, Table, at_least_one, benchmark_parser, check_packages, compare, take_turns
from bench_common import time_columns, warn_if_busy

PASSES = ("forward", "input_gradient", "weight_gradient")
# Calls before the measured ones, and how many are measured at least: as in benches/conv.rs.
WARMUP, FEWEST_REPEATS = 1, 3
IMAGE_CHANNELS = 3


# --- shapes ------------------------------------------------------------------------


def shape(batch, channels, size, kernel=3, stride=1, groups=1):
    """A square kernel with the padding that keeps the size; `channels` in and out, `size` one side or two."""
    height, width = size if isinstance(size, tuple) else (size, size)
    channels_in, channels_out = channels
    options = f"{kernel}x{kernel}" + (f" s{stride}" if stride > 1 else "") + (f" g{groups}" if groups > 1 else "")
    return {
        "name": f"{batch} x {channels_in:4} x {height:3} x {width:3} -> {channels_out:4}  {options}",
        "batch": batch,
        "channels_in": channels_in,
        "channels_out": channels_out,
        "input": [height, width],
        "kernel": [kernel, kernel],
        "stride": [stride, stride],
        "padding": [kernel // 2, kernel // 2],
        "groups": groups,
        # Nothing is learned before the image.
        "passes": [name for name in PASSES if channels_in != IMAGE_CHANNELS or name != "input_gradient"],
    }


def resnet_shapes():
    """ResNet-50 at 2 x 512 px: a stage's first block halves the map in its 1x1 (Caffe) or its 3x3 (PyTorch)."""
    yield shape(2, (IMAGE_CHANNELS, 64), 512, kernel=7, stride=2)
    before, side = 64, 128
    for width in (64, 128, 256, 512):
        wide, stride = 4 * width, 1 if width == 64 else 2
        for first_stride in (1, stride):
            yield shape(2, (before, width), side, kernel=1, stride=first_stride)
        if stride > 1:
            yield shape(2, (width, width), side, stride=stride)
        yield shape(2, (before, wide), side, kernel=1, stride=stride)
        side //= stride
        yield shape(2, (width, width), side)
        yield shape(2, (width, wide), side, kernel=1)
        yield shape(2, (wide, width), side, kernel=1)
        before = wide


def heads_shapes():
    """FPN and FCOS on C3 to C5 of 2 x 512 px, 80 classes; P6 from P5 or from C5."""
    for channels, side in ((512, 64), (1024, 32), (2048, 16)):
        yield shape(2, (channels, 256), side, kernel=1)
    for channels, side in ((256, 16), (2048, 16), (256, 8)):
        yield shape(2, (channels, 256), side, stride=2)
    for side in (64, 32, 16, 8, 4):
        # Pyramid and towers; classes, boxes, centerness.
        for channels in (256, 80, 4, 1):
            yield shape(2, (256, channels), side)


def mobile_shapes():
    """MobileNetV2's depthwise convolutions at 2 x 512 px."""
    for channels, side in ((32, 256), (144, 128), (192, 64), (384, 32), (576, 32), (960, 16)):
        yield shape(2, (channels, channels), side, groups=channels)
    for channels, side in ((96, 256), (144, 128), (192, 64), (576, 32)):
        yield shape(2, (channels, channels), side, stride=2, groups=channels)


def small_shapes():
    """ResNet-18 with a quarter of its channels, FPN and FCOS on three levels of 4 x 192 x 256 px."""
    yield shape(4, (IMAGE_CHANNELS, 16), (192, 256), kernel=7, stride=2)
    yield shape(4, (16, 16), (48, 64))
    for channels, size in ((32, (24, 32)), (64, (12, 16)), (128, (6, 8))):
        before, larger = channels // 2, (2 * size[0], 2 * size[1])
        yield shape(4, (before, channels), larger, stride=2)
        yield shape(4, (before, channels), larger, kernel=1, stride=2)
        yield shape(4, (channels, channels), size)
        yield shape(4, (channels, 64), size, kernel=1)
        for predicted in (64, 3, 4, 1):
            yield shape(4, (64, predicted), size)


SETS = {"resnet": resnet_shapes, "heads": heads_shapes, "mobile": mobile_shapes, "small": small_shapes}


def shapes_of(name):
    """The shapes of a set, each once."""
    return list({made["name"]: made for made in SETS[name]()}.values())


def gflops(made):
    """Billions of multiplications and additions of one pass."""
    (height, width), (kernel, _), (stride, _) = made["input"], made["kernel"], made["stride"]
    pixels = -(-height // stride) * -(-width // stride)
    taps = kernel * kernel * made["channels_in"] // made["groups"]
    return 2e-9 * made["batch"] * made["channels_out"] * pixels * taps


# --- PyTorch, in its own process -----------------------------------------------------


def torch_pass(made, name):
    """A function that computes one pass."""
    import torch

    groups, taps = made["groups"], made["kernel"]
    x = torch.randn(made["batch"], made["channels_in"], *made["input"])
    weight = torch.randn(made["channels_out"], made["channels_in"] // groups, *taps)
    stride, padding = made["stride"], made["padding"]

    def forward():
        return torch.nn.functional.conv2d(x, weight, None, stride, padding, 1, groups)

    if name == "forward":
        return forward
    grad = torch.randn_like(forward())
    mask = [name == "input_gradient", name == "weight_gradient", False]

    def backward():
        return torch.ops.aten.convolution_backward(
            grad, x, weight, None, stride, padding, [1, 1], False, [0, 0], groups, mask
        )

    return backward


def median_ms(call, budget_ms):
    """The median of calls within a budget of time, and how many they were."""
    for _ in range(WARMUP):
        call()
    begin, times = time.perf_counter(), []
    while len(times) < FEWEST_REPEATS or 1000 * (time.perf_counter() - begin) < budget_ms:
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times), len(times)


def torch_worker(options):
    """Reads shapes and prints times as benches/conv.rs does."""
    import torch

    torch.set_num_threads(options.threads[0])
    torch.manual_seed(0)
    with torch.inference_mode():
        for line in sys.stdin:
            made = json.loads(line)
            for name in made["passes"]:
                ms, repeats = median_ms(torch_pass(made, name), options.budget_ms)
                print(json.dumps({"name": made["name"], "pass": name, "ms": ms, "repeats": repeats}), flush=True)


# --- the comparison ------------------------------------------------------------------


def build():
    """Has Cargo build Aweigh's side; the path of the program."""
    command = ["cargo", "bench", "-p", "aweigh-conv", "--no-default-features", "--bench", "conv"]
    command += ["--no-run", "--message-format=json"]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    except FileNotFoundError:
        raise SystemExit("cargo is not installed: give the built benches/conv.rs as --binary") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"'{' '.join(command)}' failed with code {error.returncode}") from None
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    programs = [each["executable"] for each in messages if each.get("target", {}).get("name") == "conv"]
    if not any(programs):
        raise SystemExit(f"'{' '.join(command)}' built no program named conv")
    return next(filter(None, programs))


def measure(options, kind, threads):
    """One row per shape and pass of a set."""
    shapes = shapes_of(kind)
    budget = ["--budget-ms", str(options.budget_ms)]
    ours = [str(ROOT / options.binary), "--algorithm", options.algorithm, *budget]
    theirs = [sys.executable, __file__, "--worker", "--threads", str(threads), *budget]
    text = "".join(f"{json.dumps(made)}\n" for made in shapes)
    found = take_turns({"aweigh": ours, "torch": theirs}, options.rounds, threads, text)
    wanted = [(made, name) for made in shapes for name in made["passes"]]
    for index, (made, name) in enumerate(wanted):
        for each in found.values():
            for lines in each:
                if [(line["name"], line["pass"]) for line in lines] != [(m["name"], n) for m, n in wanted]:
                    raise SystemExit(f"{kind}: a process did not print one line for each shape and pass")
        row = compare({system: [lines[index]["ms"] for lines in each] for system, each in found.items()})
        work = gflops(made)
        rates = {f"{system}_gflops_per_s": 1000 * work / row[f"{system}_ms"] for system in found}
        yield {"set": kind, "shape": made["name"], "threads": threads, "pass": name, **row, **rates}


def summaries(rows):
    """Geometric means of the ratios, and ratios of the sums, per set, number of threads and pass."""
    groups = dict.fromkeys((row["set"], row["threads"]) for row in rows)
    for (kind, threads), name in itertools.product(groups, PASSES):
        members = [row for row in rows if (row["set"], row["threads"], row["pass"]) == (kind, threads, name)]
        yield {
            "set": kind,
            "threads": threads,
            "pass": name,
            "shapes": len(members),
            "ratio_mean": statistics.geometric_mean(row["time_ratio"] for row in members),
            "ratio_largest": max(row["time_ratio"] for row in members),
            "ratio_of_sums": sum(row["aweigh_ms"] for row in members) / sum(row["torch_ms"] for row in members),
        }


def print_summaries(made):
    columns = [Column("set", "set", 6), Column("threads", "threads", 0, 0), Column("pass", "pass", 15)]
    columns += [Column("shapes", "shapes", 0, 0), Column("geometric mean", "ratio_mean", 0, 2)]
    columns += [Column("largest", "ratio_largest", 0, 2), Column("of the sums", "ratio_of_sums", 0, 2)]
    print("\nratios")
    table = Table(columns)
    for row in made:
        table.print_row(row)


def main():
    parser = benchmark_parser(__doc__, rounds=5)
    parser.add_argument("--binary", help="benches/conv.rs, built; without it, cargo builds it")
    parser.add_argument("--threads", type=at_least_one, nargs="+", default=[1, 2])
    parser.add_argument("--shapes", nargs="+", choices=[*SETS, "all"], default=["all"])
    parser.add_argument("--algorithm", choices=("fast", "exact"), default="fast", help="Aweigh's")
    parser.add_argument("--budget-ms", type=at_least_one, default=100, help="for each pass of a shape in a process")
    options = parser.parse_args()
    if options.worker:
        return torch_worker(options)

    check_packages("torch")
    options.binary = options.binary or build()
    warn_if_busy()
    columns = [Column("shape", "shape", 40), Column("threads", "threads", 0, 0), Column("pass", "pass", 15)]
    columns += [*time_columns("torch", digits=3), Column("aweigh GFLOP/s", "aweigh_gflops_per_s", 0, 1)]
    table, rows = Table([*columns, Column("torch GFLOP/s", "torch_gflops_per_s", 0, 1)]), []
    for kind in SETS if "all" in options.shapes else options.shapes:
        for threads in options.threads:
            for row in measure(options, kind, threads):
                rows.append(row)
                table.print_row(row)
    summary = list(summaries(rows))
    print_summaries(summary)
    print(json.dumps({"rounds": options.rounds, "algorithm": options.algorithm, "rows": rows, "summary": summary}))


if __name__ == "__main__":
    main()
