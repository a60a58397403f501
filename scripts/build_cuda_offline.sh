#!/usr/bin/env bash
# Builds aweigh for NVIDIA GPUs with LLVM from PyPI, where GitHub's releases, from which the build
# would download it, cannot be reached (behind a mirror, in a container without internet):
#
#   scripts/build_cuda_offline.sh [ARGUMENTS OF cargo build ...]
#
# for instance `scripts/build_cuda_offline.sh --features mpi`. LLVM goes to target/llvm, 0.6 GB, or
# to $AWEIGH_LLVM; a second run finds it there. Needs cargo, a C++ compiler and Python's pip; neither
# a GPU nor CUDA. Linux on x86-64 or 64-bit ARM.
#
# The build's own download is a stripped LLVM of the same version, 23.1; these wheels are LLVM's
# static libraries as the MLC project builds them, with the targets that GPUs need in the second.
set -euo pipefail
cd "$(dirname "$0")/.."

llvm=${AWEIGH_LLVM:-$PWD/target/llvm}
mkdir -p "$llvm/tracel"
llvm=$(cd "$llvm" && pwd)

# The version that tracel-llvm-bundler looks for; another one needs other wheels.
wanted=$(sed -n '/^name = "tracel-llvm-bundler"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
if [ "$wanted" != 23.1.0-4 ]; then
    echo "Cargo.lock has tracel-llvm-bundler $wanted; these wheels are for 23.1.0-4" >&2
    exit 1
fi
root=$llvm/tracel/tracel-llvm-$wanted

if [ ! -e "$root/.tracel-llvm-installed" ]; then
    # The two wheels share one folder, into which pip does not install the second after the first.
    rm -rf "$llvm/wheels"
    ${PYTHON:-python3} -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --require-hashes --target "$llvm/wheels" --requirement /dev/stdin <<'WHEELS'
mlc-llvm-static==23.1.1.post0 \
    --hash=sha256:dcfec888abfaa418be77d41af585805f31463584cf9c90582992c00f392c1ac5 \
    --hash=sha256:3d4b1b30cea531ffa5956fa14ff4ffb0b1ed61284bf31eac3ebb752fb308b71d
mlc-llvm-static-extra-targets==23.1.1.post0 \
    --hash=sha256:c36e834d9a4e9cf9759f27fece65711ece7a2fc2b5a96dbb15d66f5e9e787929 \
    --hash=sha256:b1ddc694cf75bb1502b64c1898b15915362450453b637534886519e20e3d5522
WHEELS
    ln -sfn "$llvm/wheels/mlc_llvm_static/static" "$root"
    # What says that the download is complete.
    touch "$root/.tracel-llvm-installed"
fi

# Where the build looks for it; nothing else of the build reads this variable.
export XDG_DATA_HOME=$llvm
cargo build --release -p aweigh-cli --features cuda "$@"
