"""Stands in for mmcv's compiled operators, so that no C++ build is needed.

`mmcv-lite` ships the Python half of `mmcv.ops` but not the extension module
`mmcv._ext` behind it. mmdet imports every operator when it is imported, while
the heads, backbones and necks used here call only two of them on a CPU:
non-maximum suppression and its soft variant. Importing this module registers
an `mmcv._ext` with those two; any other operator raises when it is *called*.

It must be imported before mmdet or mmcv.ops.
"""

import sys
import types

import torch
import torchvision

SOFT_NMS_LINEAR, SOFT_NMS_GAUSSIAN = 1, 2


def nms(boxes, scores, iou_threshold, offset):
    """Greedy NMS by torchvision.

    mmcv drops a box under the same condition (IoU greater than the
    threshold); the two differ only in the order of equal scores, where
    torchvision keeps the first index.
    """
    if offset != 0:
        raise NotImplementedError("offset 1 (boxes with the old '+1') is not used by mmdet 3")
    return torchvision.ops.nms(boxes, scores, iou_threshold)


def softnms(boxes, scores, dets, iou_threshold, sigma, min_score, method, offset):
    """Soft NMS as mmcv's CPU operator computes it: selection by swapping.

    Fills `dets` (x1, y1, x2, y2, decayed score) and returns the kept indices.
    The arithmetic stays in f32 because decayed scores feed later comparisons.
    """
    boxes, scores = boxes.clone(), scores.clone()
    areas = (boxes[:, 2] - boxes[:, 0] + offset) * (boxes[:, 3] - boxes[:, 1] + offset)
    order = torch.arange(len(boxes))
    live, i = len(boxes), 0
    while i < live:
        # Boxes without area make NaN, which mmcv's comparison never replaces
        # when it comes first and never selects otherwise.
        rivals = scores[i:live].nan_to_num(nan=-1.0)
        best = i if scores[i].isnan() else i + int(torch.argmax(rivals))
        swap = torch.tensor([i, best])
        for array in (boxes, scores, areas, order):
            array[swap] = array[swap.flip(0)]
        dets[i, :4], dets[i, 4] = boxes[i], scores[i]

        rest = slice(i + 1, live)
        low = torch.maximum(boxes[i, :2], boxes[rest, :2])
        high = torch.minimum(boxes[i, 2:], boxes[rest, 2:])
        overlap = (high - low + offset).clamp(min=0).prod(dim=1)
        iou = overlap / (areas[i] + areas[rest] - overlap)
        if method == SOFT_NMS_LINEAR:
            decay = torch.where(iou >= iou_threshold, 1 - iou, torch.ones_like(iou))
        elif method == SOFT_NMS_GAUSSIAN:
            decay = torch.exp(-(iou * iou) / sigma)
        else:
            decay = (iou < iou_threshold).to(iou.dtype)
        scores[rest] *= decay

        # A dropped box is overwritten by the last live one, which is then
        # examined in its place: the order of equal scores depends on it.
        j = i + 1
        while j < live:
            if scores[j] < min_score:
                live -= 1
                for array in (boxes, scores, areas, order):
                    array[j] = array[live]
            else:
                j += 1
        i += 1
    return order[:live]


def _missing(name):
    def operator(*_args, **_kwargs):
        raise NotImplementedError(f"mmcv operator '{name}' needs a compiled mmcv")

    return operator


class _Extension(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _missing(name)


def install():
    """Registers the stand-in unless a compiled extension is there."""
    try:
        import mmcv._ext  # noqa: F401
    except ImportError:
        extension = _Extension("mmcv._ext")
        extension.nms, extension.softnms = nms, softnms
        sys.modules["mmcv._ext"] = extension


install()
