#!/usr/bin/env bash
# Fetches COCO 2017 for detection and unpacks it as the configurations expect:
#
#   scripts/fetch_coco.sh [annotations] [val2017] [train2017]
#
# Without arguments all three parts (252 MB, 816 MB, 19.3 GB). They go to
# datasets/coco, or to $COCO_DIR. An interrupted download continues where it
# stopped; an archive is removed once it has been checked and unpacked.
# Annotations: CC BY 4.0. Images: Flickr, each with its own licence.
set -euo pipefail

site=${COCO_URL:-http://images.cocodataset.org}
directory=${COCO_DIR:-$(dirname "$0")/../datasets/coco}

# Sets path, md5 and size (bytes) of a part.
describe() {
    case $1 in
        annotations)
            path=annotations/annotations_trainval2017.zip
            md5=f4bbac642086de4f52a3fdda2de5fa2c size=252907541 ;;
        val2017)
            path=zips/val2017.zip
            md5=442b8da7639aecaf257c1dceb8ba8c80 size=815585330 ;;
        train2017)
            path=zips/train2017.zip
            md5=cced6f7f71b7629ddf16f17bbcfab6b2 size=19336861798 ;;
        *)
            echo "unknown part '$1': annotations, val2017 or train2017" >&2
            exit 2 ;;
    esac
}

md5_of() {
    if command -v md5sum > /dev/null; then md5sum "$1" | cut -d ' ' -f 1; else md5 -q "$1"; fi
}

fetch() {
    local part=$1 archive found
    describe "$part"
    if [ -d "$directory/$part" ]; then
        echo "$part: there already"
        return
    fi
    archive=$directory/$(basename "$path")
    echo "$part: $size bytes from $site/$path"
    if [ ! -f "$archive" ] || [ "$(wc -c < "$archive")" -lt "$size" ]; then
        curl --fail --location --continue-at - --output "$archive" "$site/$path"
    fi
    found=$(md5_of "$archive")
    if [ "$found" != "$md5" ]; then
        echo "$archive: MD5 is $found, expected $md5; remove it and try again" >&2
        exit 1
    fi
    unpack "$part" "$archive"
    rm "$archive"
}

# Unpacks beside the destination and renames, so that a folder is complete or absent.
unpack() {
    local part=$1 archive=$2 temporary=$directory/.unpacking
    rm -rf "$temporary"
    mkdir "$temporary"
    if [ "$part" = annotations ]; then
        unzip -q "$archive" 'annotations/instances_*' -d "$temporary"
    else
        unzip -q "$archive" -d "$temporary"
    fi
    mv "$temporary/$part" "$directory/$part"
    rmdir "$temporary"
}

for tool in curl unzip; do
    command -v "$tool" > /dev/null || { echo "$tool is needed" >&2; exit 1; }
done
[ $# -gt 0 ] || set -- annotations val2017 train2017
# All names are checked before anything is fetched.
for part in "$@"; do describe "$part"; done
mkdir -p "$directory"
for part in "$@"; do fetch "$part"; done
