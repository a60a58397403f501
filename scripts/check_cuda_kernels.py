#!/usr/bin/env python3
"""Compiles the deformable convolution's kernels for CUDA, without a GPU.

    pip install 'nvidia-cuda-nvrtc-cu12==12.9.*' 'nvidia-cuda-runtime-cu12==12.9.*' \\
        'nvidia-cuda-cccl-cu12==12.9.*'
    python scripts/check_cuda_kernels.py FOLDER [--target-dir DIR] [--only TEXT] [--failed]

Builds scripts/cuda-source, which writes the CUDA C++ source of every kernel in every
variant to FOLDER/sm_NN/*.cu, and compiles each with NVRTC down to machine code, with
the options of cubecl-cuda 0.11.3. The PTX goes beside the source. Prints a line per
kernel: registers per thread, bytes spilled, shared memory of a block. Exits with 1 if a
kernel does not compile.

Needs cargo and the three wheels above (Linux or Windows, about 120 MB); neither a GPU nor
its driver nor the CUDA toolkit. It shows that kernels are valid CUDA and what they cost
in registers, not that they compute the right numbers: `cargo test` does, on a device.
CubeCL has two compilers for CUDA. This is the one to C++ (feature `cuda-cpp` of cubecl);
the other, to PTX through LLVM, is the default and is not exercised here.

A file is named after the kernel, the tensors' type and vector size, whether there is a
mask, the gradients that are computed, and how the input gradient is added up.
"""

import argparse
import ctypes
import importlib.util
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent / "cuda-source"
KERNELS = PACKAGE.parent.parent / "crates/aweigh-deform-conv/src/cube/kernels"
# As cubecl-cuda names them: architecture-specific from compute capability 9.0 on.
TARGETS = {"sm_80": "sm_80", "sm_90": "sm_90a"}
REGISTERS = re.compile(r"Used (\d+) registers")
SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
LAUNCHED = re.compile(r"#\[cube\([^)\]]*launch.*?\bfn (\w+)", re.DOTALL)
SHARED = re.compile(r"// dynamic shared memory: (\d+) bytes")


# --- NVRTC ---------------------------------------------------------------------


def wheel(module):
    """Folder of an installed wheel of NVIDIA's."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        name = module.split(".")[1].replace("_", "-")
        sys.exit(f"{module} is missing: pip install 'nvidia-{name}-cu12==12.9.*'")
    return Path(next(iter(spec.submodule_search_locations)))


class Nvrtc:
    """NVIDIA's run-time compiler."""

    def __init__(self):
        root = wheel("nvidia.cuda_nvrtc")
        libraries = sorted(root.glob("lib/libnvrtc.so.*")) + sorted(root.glob("bin/nvrtc64_*_0.dll"))
        if not libraries:
            sys.exit(f"no NVRTC library in {root}")
        self.library = ctypes.CDLL(str(libraries[0]))
        folders = [wheel("nvidia.cuda_runtime") / "include", wheel("nvidia.cuda_cccl") / "include"]
        self.options = [f"--include-path={folder}" for folder in folders]
        self.options += ["-lineinfo", "--ptxas-options=-v"]

    def version(self):
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        return f"{major.value}.{minor.value}"

    def text(self, program, what):
        """The log or the PTX of a program."""
        size = ctypes.c_size_t()
        getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(max(size.value, 1))
        getattr(self.library, f"nvrtcGet{what}")(program, buffer)
        return buffer.value.decode(errors="replace")

    def compile(self, source, target):
        """Whether it compiles, the log, and the PTX."""
        program = ctypes.c_void_p()
        self.library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), None, 0, None, None)
        options = [f"--gpu-architecture={target}", *self.options]
        array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        succeeded = self.library.nvrtcCompileProgram(program, len(options), array) == 0
        log = self.text(program, "ProgramLog")
        ptx = self.text(program, "PTX") if succeeded else ""
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        return succeeded, log, ptx


# --- kernels -------------------------------------------------------------------


@dataclass
class Result:
    architecture: str
    name: str
    succeeded: bool
    log: str
    shared: int

    def figures(self):
        registers = REGISTERS.search(self.log)
        spills = SPILLS.search(self.log)
        if registers is None or spills is None:
            return "compiled; no figures in NVRTC's log"
        spilled = int(spills[1]) + int(spills[2])
        return f"{registers[1]:>4} registers {spilled:>5} B spilled {self.shared:>6} B shared"


def write_sources(folder, target_dir):
    """Builds and runs the package that writes the sources."""
    command = ["cargo", "run", "--release", "--locked", "--quiet", "--manifest-path", PACKAGE / "Cargo.toml"]
    if target_dir:
        command += ["--target-dir", target_dir]
    try:
        status = subprocess.run([*command, "--", folder.resolve()]).returncode
    except FileNotFoundError:
        sys.exit("cargo is missing: https://rustup.rs")
    if status != 0:
        sys.exit("not every source was written, see above")


def forgotten(files):
    """Kernels that cuda-source writes no variant of."""
    names = {name for file in KERNELS.glob("*.rs") for name in LAUNCHED.findall(file.read_text())}
    return sorted(name for name in names if not any(file.stem.startswith(f"{name}_") for file in files))


def check(nvrtc, file):
    source = file.read_text()
    architecture = file.parent.name
    succeeded, log, ptx = nvrtc.compile(source, TARGETS[architecture])
    if succeeded:
        file.with_suffix(".ptx").write_text(ptx)
    return Result(architecture, file.stem, succeeded, log.strip(), int(SHARED.match(source)[1]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where sources and PTX go")
    parser.add_argument("--target-dir", help="cargo's target folder (default: scripts/cuda-source/target)")
    parser.add_argument("--only", default="", metavar="TEXT", help="kernels whose file name contains TEXT")
    parser.add_argument("--failed", action="store_true", help="print kernels that do not compile, no others")
    arguments = parser.parse_args()

    nvrtc = Nvrtc()
    for architecture in TARGETS:
        for old in (arguments.folder / architecture).glob("*.*"):
            if old.suffix in (".cu", ".ptx"):
                old.unlink()
    write_sources(arguments.folder, arguments.target_dir)
    files = sorted(arguments.folder.glob("sm_*/*.cu"))
    if missing := forgotten(files):
        sys.exit(f"kernels without a variant in {PACKAGE / 'src/variants.rs'}: {', '.join(missing)}")
    files = [file for file in files if arguments.only in file.stem]
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for result in pool.map(lambda file: check(nvrtc, file), files):
            failed += not result.succeeded
            if not result.succeeded:
                print(f"{result.architecture} {result.name:<56} FAILED\n{result.log}", flush=True)
            elif not arguments.failed:
                print(f"{result.architecture} {result.name:<56} {result.figures()}", flush=True)
    print(f"NVRTC {nvrtc.version()}: {len(files) - failed} of {len(files)} kernels compile")
    return 1 if failed or not files else 0


if __name__ == "__main__":
    sys.exit(main())
