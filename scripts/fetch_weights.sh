#!/usr/bin/env bash
# Fetches ImageNet weights of ResNets and ResNeXts:
#
#   scripts/fetch_weights.sh [NAME ...]
#
# NAME is resnet18, resnet34, resnet50, resnet101, resnext50_32x4d or
# resnext101_32x8d (torchvision) or resnext101_32x4d or resnext101_64x4d (OpenMMLab):
# RGB, mean and standard deviation of ImageNet; or resnet50_caffe, resnet50_msra,
# resnet101_caffe or resnet101_msra (OpenMMLab's conversions of Detectron's and
# Detectron2's weights; BGR in 0..255, style caffe); or resnext101_32x8d_fair
# (OpenMMLab's conversion of Detectron2's; BGR, style pytorch).
# Without arguments resnet50. They go to weights/NAME.pth, or to $WEIGHTS_DIR.
#
# The file name on the server ends in the first 8 hexadecimal digits of the file's
# SHA-256, which is checked.
set -euo pipefail

directory=${WEIGHTS_DIR:-$(dirname "$0")/../weights}
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
        resnext101_32x4d) echo "$openmmlab/resnext101_32x4d-a5af3160.pth" ;;
        resnext101_64x4d) echo "$openmmlab/resnext101_64x4d-ee2c6f71.pth" ;;
        # mean [102.9801, 115.9465, 122.7717]
        resnet50_caffe) echo "$openmmlab/resnet50_caffe-788b5fa3.pth" ;;
        resnet101_caffe) echo "$openmmlab/resnet101_caffe-3ad79236.pth" ;;
        # mean [103.53, 116.28, 123.675]
        resnet50_msra) echo "$openmmlab/resnet50_msra-5891d200.pth" ;;
        resnet101_msra) echo "$openmmlab/resnet101_msra-6cc46731.pth" ;;
        # the same mean, std [57.375, 57.12, 58.395]
        resnext101_32x8d_fair) echo "$openmmlab/resnext101_32x8d-1516f1aa.pth" ;;
        *)
            echo "unknown weights '$1'; $0 lists the known ones at its beginning" >&2
            return 2 ;;
    esac
}

sha256_of() {
    if command -v sha256sum > /dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}

fetch() {
    local name=$1 url expected partial found
    url=$(url_of "$name")
    if [ -f "$directory/$name.pth" ]; then
        echo "$name: there already"
        return
    fi
    echo "$name: $url"
    expected=${url##*-}
    expected=${expected%.pth}
    partial=$directory/$name.pth.partial
    curl --fail --location --output "$partial" "$url"
    found=$(sha256_of "$partial")
    if [ "${found:0:8}" != "$expected" ]; then
        rm "$partial"
        echo "$url: SHA-256 begins with ${found:0:8}, expected $expected" >&2
        exit 1
    fi
    mv "$partial" "$directory/$name.pth"
}

command -v curl > /dev/null || { echo "curl is needed" >&2; exit 1; }
[ $# -gt 0 ] || set -- resnet50
# All names are checked before anything is fetched.
for name in "$@"; do url_of "$name" > /dev/null; done
mkdir -p "$directory"
for name in "$@"; do fetch "$name"; done
