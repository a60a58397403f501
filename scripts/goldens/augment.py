"""Augmentations of mmdetection, with given draws."""

import itertools
from unittest import mock

import mmcv_shim  # noqa: F401  (must come before mmdet)
import numpy as np
import torch
from mmdet.datasets.transforms import transforms
from mmdet.structures.bbox import HorizontalBoxes

from common import OPENMMLAB, Case, Group, generator, integers, random_boxes, uniform

PHOTOMETRIC = {
    "photometric_all_first": {"mode": 1, "flags": [1, 1, 1, 1, 1]},
    "photometric_all_last": {"mode": 0, "flags": [1, 1, 1, 1, 1]},
    "photometric_levels": {"mode": 0, "flags": [1, 1, 0, 0, 1]},
    "photometric_hue": {"mode": 0, "flags": [0, 0, 0, 1, 0]},
    "photometric_saturation": {"mode": 1, "flags": [0, 0, 1, 0, 0]},
    "photometric_dark": {"mode": 1, "flags": [1, 0, 1, 1, 0], "values": [-32.0, 1.0, 1.5, 18.0]},
    "photometric_grey": {"mode": 0, "flags": [0, 1, 1, 1, 0], "values": [0.0, 1.4, 0.5, -18.0]},
}

CROPS = {
    "min_iou_crop": {"size": [90, 120], "boxes": 3, "min_ious": [0.1, 0.3, 0.5, 0.7, 0.9], "min_crop_size": 0.3},
    "min_iou_crop_wide": {"size": [40, 200], "boxes": 2, "min_ious": [0.1, 0.3], "min_crop_size": 0.1},
    "min_iou_crop_empty": {"size": [64, 64], "boxes": 0, "min_ious": [0.5], "min_crop_size": 0.3},
    "min_iou_crop_many": {"size": [150, 100], "boxes": 8, "min_ious": [0.01, 0.05], "min_crop_size": 0.5},
}

# Crops of a case, each made from numbers of its own, which repeat.
ROUNDS, NUMBERS = 10, 400


def build_photometric(name, options, seed):
    rng = generator(seed)
    values = [uniform(rng, 1, low=low, high=high).item() for low, high in ((-32, 32), (0.5, 1.5), (0.5, 1.5), (-18, 18))]
    swap = torch.randperm(3, generator=rng).tolist()
    meta = {"seed": seed, "values": values, **options, "swap": swap, "source": "mmdet PhotoMetricDistortion",
            "note": "flags of brightness, contrast, saturation, hue, swap; values of the first four; images are RGB"}  # fmt: skip
    image = integers(rng, 0, 256, 24, 32, 3).to(torch.uint8)
    # Grey, black, white and pure colours are the corners of HSV.
    image[0] = integers(rng, 0, 256, 32, 1).to(torch.uint8)
    image[1] = (integers(rng, 0, 2, 32, 3) * 255).to(torch.uint8)
    image[2] = integers(rng, 0, 12, 32, 3).to(torch.uint8)
    return Case(name, meta, {"image": image})


def evaluate_photometric(case):
    meta = case.meta
    transform = transforms.PhotoMetricDistortion()
    draws = (meta["mode"], *meta["flags"], *meta["values"], meta["swap"])
    with mock.patch.object(transform, "_random_flags", lambda: draws):
        bgr = np.ascontiguousarray(case.inputs["image"].numpy()[..., ::-1])
        found = transform.transform({"img": bgr})["img"]
    return {"distorted": torch.from_numpy(np.ascontiguousarray(found[..., ::-1]))}, {}


class Draws:
    """Stands in for numpy's random numbers: takes each from a list of numbers in [0, 1)."""

    def __init__(self, numbers):
        self.numbers = itertools.cycle(numbers.tolist())

    def uniform(self, low=0.0, high=1.0):
        return low + (high - low) * next(self.numbers)

    def choice(self, items):
        return items[int(next(self.numbers) * len(items))]


def build_crop(name, options, seed):
    rng = generator(seed)
    height, width = options["size"]
    meta = {"seed": seed, **options, "source": "mmdet MinIoURandomCrop"}
    boxes = [random_boxes(rng, options["boxes"], height, width, 4.0, 50.0) for _ in range(ROUNDS)]
    numbers = torch.rand(ROUNDS, NUMBERS, generator=rng, dtype=torch.float64)
    # Where nothing is cropped there is little to compare: only one round begins so.
    numbers[1:, 0].clamp_(min=1 / (len(options["min_ious"]) + 2))
    return Case(name, meta, {"boxes": torch.stack(boxes), "numbers": numbers})


def evaluate_crop(case):
    meta, given = case.meta, case.inputs
    height, width = meta["size"]
    transform = transforms.MinIoURandomCrop(meta["min_ious"], meta["min_crop_size"])
    # The image is its own record of where it was cropped.
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, rows], axis=-1).astype(np.int32)
    crops, kept = [], []
    for boxes, numbers in zip(given["boxes"], given["numbers"]):
        results = {"img": image, "gt_bboxes": HorizontalBoxes(boxes.clone()), "gt_bboxes_labels": np.arange(len(boxes))}
        with mock.patch.object(transforms, "random", Draws(numbers)):
            results = transform.transform(results)
        first, last = results["img"][0, 0], results["img"][-1, -1]
        crops.append([int(first[1]), int(first[0]), int(last[1]) + 1, int(last[0]) + 1])
        places = torch.full((len(boxes), 4), -1.0)
        places[results["gt_bboxes_labels"]] = results["gt_bboxes"].tensor
        kept.append(places)
    return {"crops": torch.tensor(crops), "kept": torch.stack(kept)}, {"dropped": "boxes of -1"}


GROUPS = [
    Group(
        kind="photometric",
        recipes=PHOTOMETRIC,
        build=build_photometric,
        evaluate=evaluate_photometric,
        inputs=("image",),
        packages=OPENMMLAB,
    ),
    Group(
        kind="min_iou_crop",
        recipes=CROPS,
        build=build_crop,
        evaluate=evaluate_crop,
        inputs=("boxes", "numbers"),
        packages=OPENMMLAB,
    ),
]
