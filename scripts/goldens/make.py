"""Makes reference cases for the parity tests.

    python make.py --out DIR --seed N [--groups heads nms ...] [--only GLOB] [--list]

See README.md for the environment and for what each group makes.
"""

import argparse
import fnmatch
import importlib
import zlib
from pathlib import Path

import common

MODULES = (
    "inputs", "augment", "heads", "fovea", "reppoints", "retina", "detectors",
    "backbones", "necks", "ops", "priors", "assigners", "cocoeval",
)  # fmt: skip

# A case whose discrete choices lie within rounding noise is drawn again.
ATTEMPTS = 20


def all_groups(modules=MODULES):
    return [group for module in modules for group in importlib.import_module(module).GROUPS]


def case_seed(recipe, seed, attempt):
    """Differs between recipes, and stays when recipes are added."""
    return zlib.crc32(f"{recipe}/{seed}/{attempt}".encode()) >> 1


def make(group, recipe, options, seed, out):
    """Draws the case until it is unambiguous, then writes it."""
    for attempt in range(ATTEMPTS):
        case = group.build(f"{recipe}_{seed}", options, case_seed(recipe, seed, attempt))
        outputs, notes = group.evaluate(case)
        try:
            group.check(case, outputs)
        except common.Ambiguous as reason:
            print(f"  {case.name}: drawn again ({reason})")
            continue
        common.write(out, group, case, outputs, notes)
        return case.name
    raise SystemExit(f"{recipe}: ambiguous {ATTEMPTS} times")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the cases")
    parser.add_argument("--seed", type=int, default=1, help="every case derives its random numbers from it")
    parser.add_argument("--groups", nargs="+", choices=MODULES, default=MODULES)
    parser.add_argument("--only", default="*", help="pattern of recipe names")
    parser.add_argument("--list", action="store_true", help="print the recipes and stop")
    options = parser.parse_args()
    if not options.list and options.out is None:
        parser.error("--out is needed")

    for group in all_groups(options.groups):
        for recipe, recipe_options in group.recipes.items():
            if not fnmatch.fnmatchcase(recipe, options.only):
                continue
            if options.list:
                print(recipe)
            else:
                print(make(group, recipe, recipe_options, options.seed, options.out), flush=True)


if __name__ == "__main__":
    main()
