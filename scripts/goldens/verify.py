"""Recomputes existing cases from their own inputs and compares every output.

    python verify.py DIR [--only GLOB]

Shows that this environment is equivalent to the one that made the cases.
Integers must be equal; floats may differ by the rounding of another CPU.
"""

import argparse
import fnmatch
import json
import sys
from pathlib import Path

import torch

import common
from make import all_groups

# Other CPUs sum in another order (vector width), which moves f32 results by a
# few units in the last place of the largest addend.
RELATIVE = 1e-5


def compare(stored, computed):
    """Relative difference to the largest magnitude, or a text for a mismatch."""
    if stored.shape != computed.shape:
        return f"shape {tuple(computed.shape)} instead of {tuple(stored.shape)}"
    if not stored.is_floating_point():
        return 0.0 if torch.equal(stored, computed) else "integers differ"
    if stored.numel() == 0:
        return 0.0
    if not torch.equal(stored.isfinite(), computed.isfinite()):
        return "NaN or infinity at other places"
    stored, computed = stored.nan_to_num().double(), computed.nan_to_num().double()
    return ((stored - computed).abs().max() / stored.abs().max().clamp(min=1.0)).item()


def undefined(meta, name):
    """With equal scores mmcv's order is its sort's, which mmcv_shim.py does not copy."""
    return meta["kind"] == "nms" and "digits" in meta["options"] and name.startswith("mmcv_")


def verify(path, groups):
    """The mismatches of one case, or None when no group here owns it."""
    meta = json.loads(path.read_text())
    group = next((g for g in groups if g.kind == meta.get("kind") and g.owns(meta)), None)
    if group is None:
        return None
    case, stored = common.read(path, group)
    stored = {name: tensor for name, tensor in stored.items() if not undefined(meta, name)}
    computed, _ = group.evaluate(case)
    largest, wrong = 0.0, []
    for name, tensor in sorted(stored.items()):
        result = compare(tensor, computed[name]) if name in computed else "not computed here"
        if isinstance(result, str) or result > RELATIVE:
            wrong.append(f"{name}: {result}")
        else:
            largest = max(largest, result)
    print(f"{'FAIL' if wrong else 'ok':4} {case.name}: {len(stored)} outputs, largest difference {largest:.1e}")
    for line in wrong:
        print(f"     {line}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--only", default="*", help="pattern of case names")
    options = parser.parse_args()
    groups = all_groups()
    paths = [p for p in sorted(options.dir.glob("*.json")) if p.with_suffix(".safetensors").exists()]
    results = [verify(p, groups) for p in paths if fnmatch.fnmatchcase(p.stem, options.only)]
    checked = [r for r in results if r is not None]
    differ, others = sum(map(bool, checked)), len(results) - len(checked)
    print(f"{len(checked)} cases checked, {differ} differ, {others} of other groups")
    sys.exit(1 if any(checked) or not checked else 0)


if __name__ == "__main__":
    main()
