#!/usr/bin/env bash
# Fetches ImageNet weights of backbones and makes model files of them:
#
#   scripts/fetch_weights.sh [NAME ...]
#
# NAME is resnet18, resnet34, resnet50, resnet101, resnext50_32x4d,
# resnext101_32x8d or mobilenet_v2 (torchvision) or resnext101_32x4d or
# resnext101_64x4d (OpenMMLab): RGB, mean and standard deviation of ImageNet; or
# resnet50_caffe, resnet50_msra, resnet101_caffe or resnet101_msra (OpenMMLab's
# conversions of Detectron's and Detectron2's weights; BGR in 0..255, style
# caffe); or resnext101_32x8d_fair (OpenMMLab's conversion of Detectron2's; BGR,
# style pytorch). Without arguments resnet50.
#
# The file name on the server ends in the first 8 hexadecimal digits of the file's
# SHA-256, which is checked. `aweigh import` then writes weights/NAME.safetensors,
# with the normalisation of the weights; $WEIGHTS_DIR is another folder, $AWEIGH
# another aweigh than the one of this checkout or of the path.
set -euo pipefail

root=$(dirname "$0")/..
directory=${WEIGHTS_DIR:-$root/weights}
torchvision=${TORCHVISION_URL:-https://download.pytorch.org/models}
openmmlab=${OPENMMLAB_URL:-https://download.openmmlab.com/pretrain/third_party}

url_of() {
    case $1 in
        resnet18) echo "$torchvision/resnet18-f37072fd.pth" ;;
        resnet34) echo "$torchvision/resnet34-b627a593.pth" ;;
        resnet50) echo "$torchvision/resnet50-0676ba61.pth" ;;
        resnet101) echo "$torchvision/resnet101-63fe2227.pth" ;;
        resnext50_32x4d) echo "$torchvision/resnext50_32x4d-7cdf4587.pth" ;;
        resnext101_32x8d) echo "$torchvision/resnext101_32x8d-8ba56ff5.pth" ;;
        mobilenet_v2) echo "$torchvision/mobilenet_v2-b0353104.pth" ;;
        resnext101_32x4d) echo "$openmmlab/resnext101_32x4d-a5af3160.pth" ;;
        resnext101_64x4d) echo "$openmmlab/resnext101_64x4d-ee2c6f71.pth" ;;
        resnet50_caffe) echo "$openmmlab/resnet50_caffe-788b5fa3.pth" ;;
        resnet101_caffe) echo "$openmmlab/resnet101_caffe-3ad79236.pth" ;;
        resnet50_msra) echo "$openmmlab/resnet50_msra-5891d200.pth" ;;
        resnet101_msra) echo "$openmmlab/resnet101_msra-6cc46731.pth" ;;
        resnext101_32x8d_fair) echo "$openmmlab/resnext101_32x8d-1516f1aa.pth" ;;
        *)
            echo "unknown weights '$1'; $0 lists the known ones at its beginning" >&2
            return 2 ;;
    esac
}

normalization_of() {
    case $1 in
        *_caffe) echo detectron ;;
        *_msra) echo detectron2 ;;
        *_fair) echo detectron2-x101 ;;
        *) echo torchvision ;;
    esac
}

sha256_of() {
    if command -v sha256sum > /dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}

find_aweigh() {
    if [ -n "${AWEIGH:-}" ]; then echo "$AWEIGH"
    elif [ -x "$root/target/release/aweigh" ]; then echo "$root/target/release/aweigh"
    elif command -v aweigh > /dev/null; then echo aweigh
    else
        echo "aweigh is needed to import weights: cargo build --release, or name it in \$AWEIGH" >&2
        return 1
    fi
}

fetch() {
    local name=$1 url expected partial found
    url=$(url_of "$name")
    if [ -f "$directory/$name.safetensors" ]; then
        echo "$name: there already"
        return
    fi
    echo "$name: $url"
    expected=${url##*-}
    expected=${expected%.pth}
    partial=$directory/$name.pth
    curl --fail --location --output "$partial" "$url"
    found=$(sha256_of "$partial")
    if [ "${found:0:8}" != "$expected" ]; then
        rm "$partial"
        echo "$url: SHA-256 begins with ${found:0:8}, expected $expected" >&2
        exit 1
    fi
    "$aweigh" import "$partial" --normalization "$(normalization_of "$name")" \
        --out "$directory/$name.safetensors"
    rm "$partial"
}

command -v curl > /dev/null || { echo "curl is needed" >&2; exit 1; }
[ $# -gt 0 ] || set -- resnet50
# All names are checked before anything is fetched.
for name in "$@"; do url_of "$name" > /dev/null; done
aweigh=$(find_aweigh)
mkdir -p "$directory"
for name in "$@"; do fetch "$name"; done
