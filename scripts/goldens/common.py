"""What every generator shares: cases, random numbers, the file format.

A *case* is a flat NAME.safetensors with NAME.json beside it. Its tensors are
inputs (drawn from a seed) and outputs (computed by the reference library from
the inputs and the options in the JSON). Keeping the two apart lets `verify.py`
take the inputs of an existing case and check that this environment computes
the same outputs.
"""

import fnmatch
import importlib.metadata
import json
import platform
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

# Sums in one thread have one order, so a case does not depend on the machine's
# number of cores.
torch.set_num_threads(1)

# mmdet's own calls, which its users can do nothing about.
warnings.filterwarnings("ignore", message="torch.meshgrid")


class Ambiguous(Exception):
    """A discrete choice of the case lies within rounding noise.

    Such a case would fail a correct implementation; it is drawn again.
    """


@dataclass
class Case:
    """Options and tensors of one case; `files` are JSON documents beside it."""

    name: str
    meta: dict
    inputs: dict
    files: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """One kind of case: how to draw its inputs and how to compute its outputs.

    `recipes` maps a recipe's name to the options of `build(name, options,
    seed)`; `evaluate(case)` gives the output tensors and further JSON keys;
    `check(case, outputs)` raises `Ambiguous` when rounding decides a result.
    `inputs` are the patterns of the input tensors' names, `packages` the
    libraries whose versions the JSON records, `owns` tells the group's own
    cases from others of the same kind.
    """

    kind: str
    recipes: dict
    build: Callable
    evaluate: Callable
    inputs: tuple
    packages: tuple
    owns: Callable = lambda meta: True
    check: Callable = lambda case, outputs: None

    def is_input(self, name):
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.inputs)


OPENMMLAB = ("torch", "numpy", "torchvision", "mmcv", "mmdet", "mmengine", "pycocotools", "safetensors", "PIL")
TORCHVISION = ("torch", "numpy", "torchvision", "safetensors", "PIL")

_DISTRIBUTION = {"PIL": "pillow", "faster_coco_eval": "faster-coco-eval"}


def version(package):
    if package == "mmcv":
        return _mmcv_version()
    return importlib.metadata.version(_DISTRIBUTION.get(package, package))


def _mmcv_version():
    try:
        return importlib.metadata.version("mmcv")
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.version("mmcv-lite") + " (lite, operators by mmcv_shim.py)"


def generator(seed):
    """A random generator of its own for each case."""
    return torch.Generator().manual_seed(seed)


def normal(rng, *shape, std=1.0, mean=0.0):
    return torch.randn(shape, generator=rng) * std + mean


def uniform(rng, *shape, low=0.0, high=1.0):
    return torch.rand(shape, generator=rng) * (high - low) + low


def integers(rng, low, high, *shape):
    """Integers in `low..high` (exclusive), as int64."""
    return torch.randint(low, high, shape, generator=rng)


def random_boxes(rng, count, height, width, smallest=2.0, largest=60.0):
    """Boxes inside the image, x1 y1 x2 y2; sides from `smallest` to `largest`."""
    sides = smallest + (largest - smallest) * torch.rand(count, 2, generator=rng) ** 2
    centers = torch.rand(count, 2, generator=rng) * torch.tensor([float(width), float(height)])
    boxes = torch.cat([centers - sides / 2, centers + sides / 2], dim=1)
    limit = torch.tensor([width, height, width, height], dtype=torch.float32)
    return torch.minimum(boxes.clamp(min=0), limit)


def noise(single, double):
    """Largest difference of f32 and f64 runs and the largest value, as a pair."""
    if single.shape != double.shape:
        return [float("inf"), single.abs().max().item() if single.numel() else 0.0]
    if single.numel() == 0:
        return [0.0, 0.0]
    difference = (single.double() - double.double()).abs().max().item()
    return [difference, single.abs().max().item()]


def merge_noise(pairs):
    """The noise of several tensors of one kind."""
    pairs = list(pairs)
    return [max((p[0] for p in pairs), default=0.0), max((p[1] for p in pairs), default=0.0)]


def write(out, group, case, outputs, notes):
    """Writes NAME.safetensors, NAME.json and the documents beside them."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().contiguous().clone() for name, value in {**case.inputs, **outputs}.items()}
    save_file(tensors, out / f"{case.name}.safetensors")
    for key, document in case.files.items():
        (out / f"{case.name}.{key}.json").write_text(json.dumps(document))

    meta = {"kind": group.kind, **case.meta, **notes, "name": case.name, "file": f"{case.name}.safetensors"}
    meta["versions"] = {"python": platform.python_version(), **{p: version(p) for p in group.packages}}
    not_finite = [n for n, t in sorted(tensors.items()) if t.is_floating_point() and not t.isfinite().all()]
    if not_finite:
        meta["not_finite"] = {"tensors": not_finite, "note": "the reference itself gives NaN or infinity here"}
    meta["tensors"] = {
        name: {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}
        for name, tensor in sorted(tensors.items())
    }
    (out / f"{case.name}.json").write_text(json.dumps(meta, indent=1))


def read(path, group):
    """An existing case: its inputs as a `Case`, and its stored outputs."""
    path = Path(path)
    meta = json.loads(path.read_text())
    tensors = load_file(path.with_suffix(".safetensors"))
    files = {}
    for key in ("annotations", "detections"):
        document = path.with_suffix(f".{key}.json")
        if document.exists():
            files[key] = json.loads(document.read_text())
    inputs = {name: tensor for name, tensor in tensors.items() if group.is_input(name)}
    outputs = {name: tensor for name, tensor in tensors.items() if not group.is_input(name)}
    return Case(meta["name"], meta, inputs, files), outputs


def under(tensors, prefix):
    """The tensors below `prefix/`, without the prefix."""
    return {name[len(prefix) + 1 :]: t for name, t in tensors.items() if name.startswith(prefix + "/")}


def listed(tensors, prefix):
    """The tensors `prefix/0`, `prefix/1`, ... as a list."""
    found = under(tensors, prefix)
    return [found[str(i)] for i in range(len(found))]
