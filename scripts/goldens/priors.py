"""Points, anchors, valid flags and box coders of mmdetection."""

import mmcv_shim  # noqa: F401  (must come before mmdet)
import torch
from mmdet.models.task_modules.coders import DistancePointBBoxCoder, TBLRBBoxCoder
from mmdet.models.task_modules.prior_generators import AnchorGenerator, MlvlPointGenerator

from common import OPENMMLAB, Case, Group, generator, normal, uniform

NOTE = "point rows are x, y, stride_w, stride_h; max_shape (h, w) is (160, 180) for distance, (150, 170) for tblr"
DISTANCE_LIMIT, TBLR_LIMIT = (160, 180), (150, 170)
ROWS = 50

RECIPES = {
    "priors": {"sizes": [[16, 20], [8, 10], [4, 5], [2, 3], [1, 2]], "strides": [8, 16, 32, 64, 128], "pad": [88, 120]},
    "priors_odd_sizes": {"sizes": [[17, 24], [9, 12], [5, 6], [3, 3], [2, 2]], "strides": [8, 16, 32, 64, 128],
                         "pad": [135, 187]},
    "priors_three_levels": {"sizes": [[7, 3], [4, 2], [2, 1]], "strides": [8, 16, 32], "pad": [33, 17]},
    "priors_from_4": {"sizes": [[12, 25], [6, 13], [3, 7], [2, 4]], "strides": [4, 8, 16, 32], "pad": [48, 64]},
}  # fmt: skip


def build(name, options, seed):
    rng = generator(seed)
    meta = {
        "seed": seed,
        "sizes": options["sizes"],
        "strides": options["strides"],
        "pad_shape": options["pad"],
        "source": "mmdet MlvlPointGenerator, AnchorGenerator, DistancePointBBoxCoder, TBLRBBoxCoder(normalizer 4)",
        "note": NOTE,
    }
    corner = uniform(rng, ROWS, 2, low=-5, high=185)
    center, half = uniform(rng, ROWS, 2, low=0, high=200), uniform(rng, ROWS, 2, low=5, high=75)
    inputs = {
        "distance/points": uniform(rng, ROWS, 2, low=0, high=190),
        # Some distances are negative: boxes turned inside out stay so.
        "distance/pred": normal(rng, ROWS, 4, std=40, mean=40),
        "tblr/boxes": torch.cat([center - half, center + half], dim=1),
        "tblr/priors": torch.cat([corner, corner + uniform(rng, ROWS, 2, low=6, high=34)], dim=1),
        "tblr/pred": uniform(rng, ROWS, 4, low=0, high=5),
    }
    return Case(name, meta, inputs)


def evaluate(case):
    meta, given, found = case.meta, case.inputs, {}
    sizes, strides = meta["sizes"], meta["strides"]
    for offset in (0.0, 0.5):
        levels = MlvlPointGenerator(strides, offset=offset).grid_priors(sizes, device="cpu", with_stride=True)
        found.update({f"points/{offset}/{i}": level for i, level in enumerate(levels)})
    anchors = AnchorGenerator(strides=strides, ratios=[1.0], octave_base_scale=1, scales_per_octave=1)
    found.update({f"anchors/{i}": level for i, level in enumerate(anchors.grid_priors(sizes, device="cpu"))})
    flags = MlvlPointGenerator(strides, offset=0.0).valid_flags(sizes, meta["pad_shape"], device="cpu")
    found.update({f"valid/{i}": level.long() for i, level in enumerate(flags)})

    distance = DistancePointBBoxCoder()
    points, pred = given["distance/points"], given["distance/pred"]
    found["distance/decoded"] = distance.decode(points, pred)
    found["distance/decoded_clipped"] = distance.decode(points, pred, max_shape=DISTANCE_LIMIT)
    tblr = TBLRBBoxCoder(normalizer=4.0)
    priors, pred = given["tblr/priors"], given["tblr/pred"]
    found["tblr/encoded"] = tblr.encode(priors, given["tblr/boxes"])
    found["tblr/decoded"] = tblr.decode(priors, pred)
    found["tblr/decoded_clipped"] = tblr.decode(priors, pred, max_shape=TBLR_LIMIT)
    return found, {}


GROUPS = [
    Group(
        kind="priors_and_coders",
        recipes=RECIPES,
        build=build,
        evaluate=evaluate,
        inputs=("distance/points", "distance/pred", "tblr/boxes", "tblr/priors", "tblr/pred"),
        packages=OPENMMLAB,
    )
]
