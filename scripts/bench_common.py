"""What the benchmarks share: processes that take turns, tables, and the check of what they need.

Every measurement is a process of its own, and the two systems take turns, so that neither profits
from a warm cache or suffers from a machine that slows down. The figure is the median over the
rounds of Aweigh's time divided by the other system's: below 1, Aweigh is faster. Memory is the
largest resident size of a process in any round (VmHWM), its ratio that of these sizes.
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
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
KIB_PER_MIB = 1024
# Processes that run or wait, averaged over the last minute.
BUSY = 0.5
# Each is read by one of the libraries that are measured, before its first thread starts.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "AWEIGH_THREADS")


# --- what is needed --------------------------------------------------------------


def check_packages(*names):
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise SystemExit(
                f"{name} is not installed for {sys.executable}: install scripts/goldens/requirements.txt into a "
                "virtual environment and run this script with its python"
            )


def check_binary(path, build):
    """`path` is relative to the repository, `build` the command that makes it."""
    if not (ROOT / path).is_file():
        raise SystemExit(f"{path} does not exist: build it with '{build}'")


def check_aweigh(path):
    check_binary(path, "cargo build --release -p aweigh-cli")


def warn_if_busy():
    """Says so when other work runs: threads that wait for each other then lose more than their share."""
    load = os.getloadavg()[0]
    if load > BUSY:
        print(f"warning: the machine is busy (load {load:.1f}), so the figures mean little", file=sys.stderr)


def benchmark_parser(description, rounds):
    """A parser with the options of every benchmark."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=at_least_one, default=rounds, help="measurements of each system per row")
    made.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return made


def add_step_options(made, modes):
    """The options of benchmarks that time whole steps."""
    made.add_argument("--binary", default="target/release/aweigh", help="relative to the repository")
    made.add_argument("--modes", nargs="+", choices=("train", "infer"), default=list(modes))
    made.add_argument("--threads", type=at_least_one, default=2)
    made.add_argument("--iterations", type=at_least_one, default=5, help="measured steps of a process")
    made.add_argument("--warmup", type=int, default=2, help="steps before them")
    made.add_argument("--mode", help=argparse.SUPPRESS)


def at_least_one(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected a number of at least 1")
    return number


# --- in a measuring process ------------------------------------------------------


def milliseconds(step, warmup, iterations):
    """The time of each of `iterations` calls, after `warmup` others."""
    for _ in range(warmup):
        step()
    times = []
    for _ in range(iterations):
        start = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - start))
    return times


def peak_rss_mib():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / KIB_PER_MIB
    raise SystemExit("no VmHWM in /proc/self/status: the memory figure needs Linux")


def time_step(step, options, **more):
    """Prints the time of a step and the memory of the process as `aweigh bench` does."""
    times = milliseconds(step, options.warmup, options.iterations)
    print(json.dumps({"step_ms": {"median": statistics.median(times)}, "peak_rss_mib": peak_rss_mib(), **more}))


# --- the comparison --------------------------------------------------------------


def run(command, threads, text=None):
    """The JSON objects that a measuring process prints, one a line; `text` is its standard input."""
    environment = {**os.environ, **{name: str(threads) for name in THREAD_VARIABLES}}
    done = subprocess.run(
        command, env=environment, cwd=ROOT, input=text or "", capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise SystemExit(f"{' '.join(map(str, command))}\nfailed with code {done.returncode}:\n{done.stderr.strip()}")
    return [json.loads(line) for line in lines]


def take_turns(commands, rounds, threads, text=None):
    """What the process of each system printed, round by round; `commands` are one per system."""
    found = {system: [] for system in commands}
    for _ in range(rounds):
        for system, command in commands.items():
            found[system].append(run(command, threads, text))
    return found


def compare(times):
    """A row's times: each system's median, and the ratio of the first to the second in each round."""
    ours, theirs = times.values()
    ratios = [first / second for first, second in zip(ours, theirs)]
    medians = {f"{system}_ms": statistics.median(values) for system, values in times.items()}
    return {**medians, "time_ratio": statistics.median(ratios), "time_ratios": ratios}


def compare_steps(commands, options):
    """A row's times and memory for processes that print both, and what they printed last."""
    found = take_turns(commands, options.rounds, options.threads)
    found = {system: [lines[-1] for lines in each] for system, each in found.items()}
    times = {system: [result["step_ms"]["median"] for result in each] for system, each in found.items()}
    peaks = {system: max(result["peak_rss_mib"] for result in each) for system, each in found.items()}
    ours, theirs = peaks.values()
    memory = {f"{system}_peak_rss_mib": peak for system, peak in peaks.items()}
    last = {system: each[-1] for system, each in found.items()}
    return {**compare(times), **memory, "memory_ratio": ours / theirs}, last


def aweigh_step(options, config, size, batch, mode, changes=()):
    """The command that times a step of Aweigh; `size` is one side or HEIGHTxWIDTH."""
    command = [str(ROOT / options.binary), "bench", "--config", config, "--size", str(size), "--batch", str(batch)]
    command += ["--mode", mode, "--warmup", str(options.warmup), "--repeats", str(options.iterations)]
    return command + [part for change in changes for part in ("--set", change)]


def worker_step(script, options, mode, *more):
    """The command that times a step of the other system: the script itself, in its role as a worker."""
    command = [sys.executable, script, "--worker", "--mode", mode, "--threads", str(options.threads)]
    return command + ["--warmup", str(options.warmup), "--iterations", str(options.iterations), *more]


# --- tables ----------------------------------------------------------------------


class Column(NamedTuple):
    """A column of a table; without `digits` it holds text, on the left."""

    heading: str
    key: str
    width: int = 0
    digits: int | None = None

    def cell(self, value):
        width = max(self.width, len(self.heading))
        if self.digits is None:
            return f"{value:<{width}}"
        return f"{value if isinstance(value, str) else format(value, f',.{self.digits}f'):>{width}}"


class Table:
    """Prints rows (dictionaries) as they come, below headings."""

    def __init__(self, columns):
        self.columns = columns
        self.print_cells(column.cell(column.heading) for column in columns)

    def print_row(self, row):
        self.print_cells(column.cell(row[column.key]) for column in self.columns)

    @staticmethod
    def print_cells(cells):
        print("  ".join(cells).rstrip(), flush=True)


def time_columns(other, digits=1):
    """The columns of `compare`."""
    return [
        Column("aweigh ms", "aweigh_ms", 9, digits),
        Column(f"{other} ms", f"{other}_ms", 9, digits),
        Column("ratio", "time_ratio", 5, 2),
    ]


def step_columns(other):
    """The columns of `compare_steps`."""
    return [
        *time_columns(other),
        Column("aweigh MiB", "aweigh_peak_rss_mib", 7, 0),
        Column(f"{other} MiB", f"{other}_peak_rss_mib", 7, 0),
        Column("ratio", "memory_ratio", 5, 2),
    ]
