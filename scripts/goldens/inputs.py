"""Network inputs of mmdetection: decode, keep-ratio resize, normalise, pad."""

import cv2
import mmcv
import mmcv_shim  # noqa: F401  (must come before mmdet)
import numpy as np
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor

from common import OPENMMLAB, Case, Group

CAFFE = {"mean": [103.53, 116.28, 123.675], "std": [1.0, 1.0, 1.0], "bgr_to_rgb": False}
TORCHVISION = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "bgr_to_rgb": True}
PNG, JPEG = ".png", ".jpg"


def recipe(size, scale, colours=TORCHVISION, divisor=8, file=PNG, resize="bilinear"):
    """`size` is height and width, or None for one that is drawn; `scale` is the long and the short edge."""
    return {"size": size, "scale": scale, "format": file, "pad_size_divisor": divisor, "resize": resize, **colours}


RECIPES = {
    "input_up": recipe([45, 60], [120, 72], CAFFE),
    "input_down": recipe([120, 91], [100, 53]),
    "input_down_far": recipe([140, 190], [60, 40]),
    # OpenCV halves by another function, to the same numbers.
    "input_half": recipe([64, 96], [48, 32], CAFFE),
    "input_same": recipe([32, 48], [48, 32]),
    "input_one_row": recipe([1, 37], [90, 10]),
    "input_one_column": recipe([50, 1], [80, 7], CAFFE),
    "input_strip": recipe([5, 300], [64, 32]),
    "input_drawn": recipe(None, None),
    "input_jpeg": recipe([96, 128], [96, 64], file=JPEG),
    "input_area_down": recipe([120, 91], [100, 53], resize="area"),
    "input_area_far": recipe([140, 190], [60, 31], CAFFE, resize="area"),
    # OpenCV shrinks by whole numbers, and by two, by other functions.
    "input_area_third": recipe([96, 144], [48, 32], resize="area"),
    "input_area_half": recipe([64, 96], [48, 32], resize="area"),
    "input_area_strip": recipe([5, 300], [64, 32], resize="area"),
}


def build(name, options, seed):
    rng = np.random.default_rng(seed)
    if options["size"] is None:
        height, width = rng.integers(1, 200, 2)
        long, short = sorted(rng.integers(1, 160, 2), reverse=True)
        options = {**options, "size": [int(height), int(width)], "scale": [int(long), int(short)]}
    encoded, file = cv2.imencode(options["format"], picture(rng, *options["size"]))
    assert encoded
    meta = {"seed": seed, **options, "opencv": cv2.__version__, "source": "mmcv imfrombytes, imrescale; DetDataPreprocessor"}
    return Case(name, meta, {"file": torch.from_numpy(file)})


def picture(rng, height, width):
    """Soft colours, with noise on the left half and sharp blocks at the top."""
    small = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int64)
    left = slice(0, (width + 1) // 2)
    pixels[:, left] += rng.integers(-80, 81, pixels[:, left].shape)
    blocks = rng.integers(0, 2, (height // 6 + 1, width // 3 + 1, 1)).repeat(3, 0).repeat(3, 1)
    top = slice(0, height // 3)
    pixels[top] = np.where(blocks[:height, :width][top] == 1, 255 - pixels[top], pixels[top])
    return np.clip(pixels, 0, 255).astype(np.uint8)


def evaluate(case):
    meta = case.meta
    pixels = mmcv.imfrombytes(case.inputs["file"].numpy().tobytes(), backend="cv2")
    # Cases of before `resize` have none.
    interpolation = meta.get("resize", "bilinear")
    resized = mmcv.imrescale(pixels, tuple(meta["scale"]), interpolation=interpolation, backend="cv2")
    colours = {key: meta[key] for key in ("mean", "std", "bgr_to_rgb", "pad_size_divisor")}
    image = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))
    batch = DetDataPreprocessor(**colours)({"inputs": [image], "data_samples": None}, training=False)
    return {"images": batch["inputs"]}, {"resized": list(resized.shape[:2])}


GROUPS = [
    Group(
        kind="network_input",
        recipes=RECIPES,
        build=build,
        evaluate=evaluate,
        inputs=("file",),
        packages=OPENMMLAB,
    )
]
