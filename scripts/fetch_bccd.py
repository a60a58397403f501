#!/usr/bin/env python3
"""Fetches BCCD (blood cells) and converts it from Pascal VOC to COCO's layout.

    python3 scripts/fetch_bccd.py [--out datasets/bccd] [--source CHECKOUT]

Gives images/ and annotations/instances_{train,val,trainval,test}.json with 205,
87, 292 and 72 images of 640 x 480 and 4,886 boxes of three classes. Needs Python's
standard library only. The dataset's licence is MIT
(https://github.com/Shenggan/BCCD_Dataset).

Boxes become [xmin, ymin, xmax - xmin, ymax - ymin]; two boxes without area are
left out. Images are numbered by file name, boxes by image and order in the file.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path
from xml.etree import ElementTree

REPOSITORY = "https://github.com/Shenggan/BCCD_Dataset"
ARCHIVE = REPOSITORY + "/archive/refs/heads/master.zip"
CLASSES = ("WBC", "RBC", "Platelets")
SPLITS = ("train", "val", "trainval", "test")

# Of the converted files, and of the list "sha256  file name" of all images by name.
SHA256 = {
    "train": "22df8bdabfb1c39482c9053ee4ce1c70d8a90293c4a4638ce68cb1efddbad019",
    "val": "0a372ba5261f8059b8ac5e49b5c532b26b5ee7c942fdbc1ba6090f7c02a7527f",
    "trainval": "90e4e0b68be01ce86e716af8c00ecb7561cac085fffb77d2e1d310ac61106f74",
    "test": "bf38ba15817d952b1a5309bb408bc6cdd0dc4fe14f6bbfc25623b782b4a9cb8e",
    "images": "ab73ed237b5367bf5f8e6a81753d23c16469e375c88b66fc25f4d705a79c1a2a",
}


def download(folder):
    """The dataset's folder inside the unpacked archive."""
    print(f"downloading {ARCHIVE}")
    with urllib.request.urlopen(ARCHIVE) as response:
        archive = zipfile.ZipFile(io.BytesIO(response.read()))
    archive.extractall(folder)
    return next(Path(folder).iterdir())


def read_splits(voc):
    """The image names of each split."""
    lists = {split: voc / "ImageSets" / "Main" / f"{split}.txt" for split in SPLITS}
    return {split: sorted(path.read_text().split()) for split, path in lists.items()}


def read_boxes(path):
    """Size of the image and (category id, box) of every object with an area."""
    root = ElementTree.parse(path).getroot()
    width, height = (int(root.findtext(f"size/{side}")) for side in ("width", "height"))
    boxes = []
    for item in root.iter("object"):
        name = item.findtext("name")
        if name not in CLASSES:
            raise SystemExit(f"{path}: class '{name}' is none of {', '.join(CLASSES)}")
        x1, y1, x2, y2 = (float(item.findtext(f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax"))
        if x2 > x1 and y2 > y1:
            boxes.append((CLASSES.index(name) + 1, [x1, y1, x2 - x1, y2 - y1]))
    return width, height, boxes


def convert(voc, splits):
    """COCO documents of all splits; ids are the same in each."""
    names = sorted(set().union(*splits.values()))
    images, annotations, next_id = {}, {}, 1
    for image_id, name in enumerate(names, start=1):
        width, height, boxes = read_boxes(voc / "Annotations" / f"{name}.xml")
        images[name] = {"id": image_id, "file_name": f"{name}.jpg", "width": width, "height": height}
        annotations[name] = []
        for category, box in boxes:
            area = box[2] * box[3]
            annotation = {"id": next_id, "image_id": image_id, "category_id": category}
            annotations[name].append({**annotation, "bbox": box, "area": area, "iscrowd": 0})
            next_id += 1
    return {
        split: {
            "info": {"description": f"BCCD {split}", "url": REPOSITORY},
            "licenses": [{"id": 1, "name": "MIT License", "url": ""}],
            "images": [images[name] for name in members],
            "annotations": [annotation for name in members for annotation in annotations[name]],
            "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)],
        }
        for split, members in splits.items()
    }


def write(voc, folder):
    """Annotations and images in COCO's layout."""
    documents = convert(voc, read_splits(voc))
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    for split, document in documents.items():
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))
        print(f"{split}: {len(document['images'])} images, {len(document['annotations'])} boxes")
    used = {image["file_name"] for document in documents.values() for image in document["images"]}
    for name in sorted(used):
        shutil.copyfile(voc / "JPEGImages" / name, folder / "images" / name)


def differing(folder):
    """The parts whose checksum is not the expected one."""
    found = {split: sha256(folder / "annotations" / f"instances_{split}.json") for split in SPLITS}
    lines = "".join(f"{sha256(path)}  {path.name}\n" for path in sorted((folder / "images").iterdir()))
    found["images"] = hashlib.sha256(lines.encode()).hexdigest()
    return [part for part, checksum in SHA256.items() if found[part] != checksum]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("datasets/bccd"))
    parser.add_argument("--source", type=Path, help="a checkout of the repository, instead of downloading")
    options = parser.parse_args()
    if options.out.exists():
        raise SystemExit(f"{options.out} exists already; move it away first")

    options.out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the destination, so that the final rename cannot leave half a dataset.
    with tempfile.TemporaryDirectory(dir=options.out.parent) as temporary:
        checkout = options.source or download(Path(temporary) / "archive")
        made = Path(temporary) / "bccd"
        write(checkout / "BCCD", made)
        wrong = differing(made)
        os.replace(made, options.out)
    print(f"written to {options.out}")
    if wrong:
        print(f"not as expected: {', '.join(wrong)}; the dataset has changed since this script was written")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
