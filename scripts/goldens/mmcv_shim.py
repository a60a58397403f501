"""Stands in for mmcv's compiled operators, so that no C++ build is needed.

`mmcv-lite` ships the Python half of `mmcv.ops` but not the extension module
`mmcv._ext` behind it. mmdet imports every operator when it is imported, while
the heads, backbones and necks used here call only these of them on a CPU:
non-maximum suppression and its soft variant, deformable convolution v1 and v2.
Importing this module registers an `mmcv._ext` with those; any other operator
raises when it is *called*.

It must be imported before mmdet or mmcv.ops.
"""

import sys
import types
from importlib.machinery import ModuleSpec

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


def _deform(x, offset, mask, weight, keywords):
    """Deformable convolution by torchvision, whose layout of offsets and masks is mmcv's."""
    version1 = "dH" in keywords
    pairs = (("dH", "dW"), ("padH", "padW"), ("dilationH", "dilationW"))
    if not version1:
        pairs = (("stride_h", "stride_w"), ("pad_h", "pad_w"), ("dilation_h", "dilation_w"))
    stride, padding, dilation = (tuple(keywords[key] for key in pair) for pair in pairs)
    return torchvision.ops.deform_conv2d(x, offset, weight, None, stride, padding, dilation, mask)


def _deform_gradients(x, offset, mask, weight, upstream, keywords):
    """Gradients of x, offset, weight and, with a mask, the mask.

    At whole-pixel sample positions torchvision's gradient of the offset is
    another one-sided derivative than mmcv's.
    """
    tensors = [x, offset, weight] + ([] if mask is None else [mask])
    with torch.enable_grad():
        tensors = [tensor.detach().requires_grad_() for tensor in tensors]
        x, offset, weight, *masks = tensors
        out = _deform(x, offset, masks[0] if masks else None, weight, keywords)
        return torch.autograd.grad(out, tensors, upstream)


def deform_conv_forward(x, weight, offset, output, columns, ones, **keywords):
    output.copy_(_deform(x, offset, None, weight, keywords))


def deform_conv_backward_input(x, offset, upstream, grad_x, grad_offset, weight, columns, **keywords):
    found = _deform_gradients(x, offset, None, weight, upstream, keywords)
    grad_x.copy_(found[0])
    grad_offset.copy_(found[1])


def deform_conv_backward_parameters(x, offset, upstream, grad_weight, columns, ones, **keywords):
    # The convolution is linear in its weight, whose value does not matter here.
    weight = torch.zeros_like(grad_weight)
    grad_weight.copy_(_deform_gradients(x, offset, None, weight, upstream, keywords)[2])


def modulated_deform_conv_forward(x, weight, bias, ones, offset, mask, output, columns, **keywords):
    out = _deform(x, offset, mask, weight, keywords)
    output.copy_(out + bias.reshape(1, -1, 1, 1) if keywords["with_bias"] else out)


def modulated_deform_conv_backward(
    x, weight, bias, ones, offset, mask, columns, grad_x, grad_weight, grad_bias, grad_offset, grad_mask, upstream,
    **keywords,
):  # fmt: skip
    found = _deform_gradients(x, offset, mask, weight, upstream, keywords)
    for gradient, value in zip((grad_x, grad_offset, grad_weight, grad_mask), found):
        gradient.copy_(value)
    if keywords["with_bias"]:
        grad_bias.copy_(upstream.sum(dim=(0, 2, 3)))


OPERATORS = (
    nms,
    softnms,
    deform_conv_forward,
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    modulated_deform_conv_forward,
    modulated_deform_conv_backward,
)


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
        # mmengine looks for it before it builds an optimizer; without a loader it counts as missing.
        extension.__spec__ = ModuleSpec("mmcv._ext", loader=None)
        for operator in OPERATORS:
            setattr(extension, operator.__name__, operator)
        sys.modules["mmcv._ext"] = extension


install()
