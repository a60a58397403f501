#!/usr/bin/env python3
"""Loading of training batches side by side: Aweigh's loader against PyTorch's DataLoader.

    python scripts/bench_loader.py [--rounds 3] [--workers 1 2] [--cases plain ...] [--short-edge 512]

Both decode the pictures of one dataset (`--config`, blood cells if not said
otherwise), resize them, flip half of them, normalise them and put them into
batches, with the same number of workers; `photometric` distorts brightness,
contrast, saturation and hue besides. PyTorch's runs the pipeline of mmdetection
(OpenCV, its data preprocessor for normalisation and padding). The processes of the
two systems take turns; ratios are medians over the rounds of Aweigh's time divided
by PyTorch's: below 1, Aweigh is faster.

Needs the packages of scripts/goldens/requirements.txt and a release build of the
`aweigh` binary. Prints a table and, last, one line of JSON.
"""

import itertools
import json
import os
import statistics
import sys
import tomllib

from bench_common import ROOT, Column, Table, at_least_one, benchmark_parser, check_aweigh, check_packages
from bench_common import compare, peak_rss_mib, run, time_columns, warn_if_busy

BATCH = 4
# As many figures of as many batches as `aweigh bench --mode data` takes, with its queue.
PREFETCH = 2
GROUP = 8
CHANGES = {
    "plain": (),
    "photometric": ("data.augment.photometric={}",),
}


# --- what PyTorch does -------------------------------------------------------------


def pipeline(case, edges):
    steps = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "with_bbox": True},
        {"type": "Resize", "scale": edges, "keep_ratio": True},
        {"type": "RandomFlip", "prob": 0.5},
    ]
    if case == "photometric":
        # After the resize, as in Aweigh.
        steps.append({"type": "PhotoMetricDistortion"})
    return [*steps, {"type": "PackDetInputs"}]


def worker(options):
    import cv2
    import torch

    # mmcv's compiled operators are not needed.
    sys.path.insert(0, str(ROOT / "scripts/goldens"))
    import mmcv_shim  # noqa: F401
    from mmdet.datasets import CocoDataset
    from mmdet.models import DetDataPreprocessor
    from mmdet.utils import register_all_modules
    from mmengine.dataset import pseudo_collate
    from torch.utils.data import DataLoader

    register_all_modules()
    cv2.setNumThreads(0)
    data = json.loads(options.data)
    names = [c["name"] for c in json.loads((ROOT / data["annotations"]).read_text())["categories"]]
    dataset = CocoDataset(
        ann_file=str(ROOT / data["annotations"]),
        data_prefix={"img": str(ROOT / data["images"])},
        metainfo={"classes": tuple(names)},
        pipeline=pipeline(options.case, tuple(data["edges"])),
    )
    preprocess = DetDataPreprocessor(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True, pad_size_divisor=32
    )

    def collate(samples):
        # In the worker, as Aweigh normalises in its own.
        torch.set_num_threads(1)
        return preprocess(pseudo_collate(samples), training=True)

    loader = DataLoader(
        dataset,
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=options.count,
        prefetch_factor=PREFETCH,
        persistent_workers=True,
        collate_fn=collate,
    )
    endless = itertools.chain.from_iterable(itertools.repeat(loader))
    queue = options.count * PREFETCH
    times = group_times(endless, queue, GROUP * (queue + 1), options.repeats)
    print(json.dumps({"step_ms": {"median": statistics.median(times)}, "peak_rss_mib": peak_rss_mib()}))
    # The workers are in the middle of an epoch that nobody waits for.
    sys.stdout.flush()
    os._exit(0)


def group_times(batches, queue, group, repeats):
    """Milliseconds of a batch, in means over groups; those that wait already come before the first."""
    import time

    for _ in range(queue):
        next(batches)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(group):
            next(batches)
        times.append(1000 * (time.perf_counter() - start) / group)
    return times


# --- the comparison ----------------------------------------------------------------


def parser():
    made = benchmark_parser(__doc__, rounds=3)
    made.add_argument("--binary", default="target/release/aweigh", help="relative to the repository")
    made.add_argument("--config", default="configs/fcos_r18_bccd.toml", help="relative to the repository")
    made.add_argument("--cases", nargs="+", choices=CHANGES, default=list(CHANGES))
    made.add_argument("--workers", nargs="+", type=at_least_one, default=[1, 2])
    made.add_argument("--short-edge", type=at_least_one, default=512)
    made.add_argument("--repeats", type=at_least_one, default=5, help="figures of a process")
    made.add_argument("--case")
    made.add_argument("--count", type=int)
    made.add_argument("--data")
    return made


def commands(options, case, count, data):
    short, long = sorted(data["edges"])
    ours = [str(ROOT / options.binary), "bench", "--config", options.config, "--mode", "data"]
    ours += ["--batch", str(BATCH), "--repeats", str(options.repeats)]
    changes = (
        f"data.workers={count}",
        f"data.prefetch={count * (PREFETCH - 1)}",
        f"data.transform.short_edge={short}",
        f"data.transform.long_edge={long}",
        *CHANGES[case],
    )
    ours += [part for change in changes for part in ("--set", change)]
    theirs = [sys.executable, __file__, "--worker", "--case", case, "--count", str(count)]
    theirs += ["--data", json.dumps(data), "--repeats", str(options.repeats)]
    return {"aweigh": ours, "torch": theirs}


def main():
    options = parser().parse_args()
    check_packages("torch", "mmdet", "cv2")
    if options.worker:
        return worker(options)
    check_aweigh(options.binary)
    warn_if_busy()
    train = tomllib.loads((ROOT / options.config).read_text())["data"]["train"]
    long = (4 * options.short_edge + 2) // 3
    data = {"annotations": train["annotations"], "images": train["images"], "edges": [long, options.short_edge]}
    table = Table([Column("case", "case", 12), Column("workers", "workers", 7, 0), *time_columns("torch", 2)])
    rows = []
    for case, count in itertools.product(options.cases, options.workers):
        times = {"aweigh": [], "torch": []}
        for _ in range(options.rounds):
            for system, command in commands(options, case, count, data).items():
                # One thread each: what is measured are the workers.
                times[system].append(run(command, 1)[-1]["step_ms"]["median"])
        rows.append({"case": case, "workers": count, **compare(times)})
        table.print_row(rows[-1])
    print(json.dumps({"batch": BATCH, "short_edge": options.short_edge, "rows": rows}))
    return None


if __name__ == "__main__":
    main()
