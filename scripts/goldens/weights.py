"""Makes the fixtures of aweigh-weights: names and shapes of real networks, and tiny files of torch.save.

    python weights.py --out ../../crates/aweigh-weights/tests/fixtures

A list has a line for each tensor: its name, then its shape. Networks of torchvision and mmdetection are
built without weights; those of Detectron2, Caffe2 and AdelaiDet, which need a compiler, are torchvision's with
the names that detectron2/modeling/backbone/resnet.py, detectron/modeling/ResNet.py and
adet/modeling/fcos/fcos.py give.
"""

import argparse
import collections
import os
import pickle
import re
from pathlib import Path

import mmcv_shim  # noqa: F401  (before mmdet)
import numpy as np
import torch
import torchvision
from mmengine.logging import HistoryBuffer


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def torchvision_lists():
    models, detection = torchvision.models, torchvision.models.detection
    bare = {"weights": None, "weights_backbone": None}
    return {
        "tv_resnet18": models.resnet18(weights=None),
        "tv_resnet50": models.resnet50(weights=None),
        "tv_resnext50_32x4d": models.resnext50_32x4d(weights=None),
        "tv_mobilenet_v2": models.mobilenet_v2(weights=None),
        "tv_fcos_resnet50_fpn": detection.fcos_resnet50_fpn(**bare),
        "tv_retinanet_resnet50_fpn": detection.retinanet_resnet50_fpn(**bare),
        "tv_retinanet_resnet50_fpn_v2": detection.retinanet_resnet50_fpn_v2(**bare),
        "tv_fasterrcnn_resnet50_fpn": detection.fasterrcnn_resnet50_fpn(**bare),
    }


# Base configurations of mmdetection 3.x by their path, with the options that are changed.
MMDET = {
    "mmdet_fcos": "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
    "mmdet_fcos_dcn": "fcos/fcos_r50-dcn-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py",
    "mmdet_fovea_align": "foveabox/fovea_r50_fpn_gn-head-align_4xb4-2x_coco.py",
    "mmdet_reppoints": "reppoints/reppoints-moment_r50_fpn-gn_head-gn_1x_coco.py",
    "mmdet_fsaf": "fsaf/fsaf_r50_fpn_1x_coco.py",
    "mmdet_retinanet": "retinanet/retinanet_r50_fpn_1x_coco.py",
    "mmdet_atss": "atss/atss_r50_fpn_1x_coco.py",
    "mmdet_faster_rcnn": "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
}


def mmdet_lists():
    import mmdet
    from mmdet.models import backbones
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules()
    configs = Path(mmdet.__file__).parent / ".mim" / "configs"
    networks = {"mmdet_mobilenet_v2": backbones.MobileNetV2(out_indices=(7,))}
    for name, path in MMDET.items():
        options = Config.fromfile(configs / path).model
        options.backbone.init_cfg = None
        networks[name] = MODELS.build(options)
    return networks


def detectron2(name):
    """Detectron2's name of a tensor of torchvision's ResNet."""
    name = re.sub(r"^layer(\d)\.", lambda m: f"res{int(m[1]) + 1}.", name)
    name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
    name = re.sub(r"\bbn(\d)", r"conv\1.norm", name)
    return name if name.startswith("res") else f"stem.{name}"


def caffe2(name):
    """Caffe2's blob of a tensor of torchvision's ResNet; none for statistics."""
    part = {"weight": "s", "bias": "b"}.get(name.rsplit(".", 1)[1])
    if name == "conv1.weight":
        return "conv1_w"
    if name.startswith("bn1."):
        return part and f"res_conv1_bn_{part}"
    stage, block, *layer, _ = name.split(".")
    prefix = f"res{int(stage[-1]) + 1}_{block}"
    if layer[0] == "downsample":
        branch, norm = "branch1", layer[1] == "1"
    else:
        branch, norm = f"branch2{'abc'[int(layer[0][-1]) - 1]}", layer[0].startswith("bn")
    if not norm:
        return f"{prefix}_{branch}_w"
    return part and f"{prefix}_{branch}_bn_{part}"


def derived_lists(lists):
    counted = {n: s for n, s in lists["tv_resnet50"].items() if "num_batches" not in n and not n.startswith("fc.")}
    d2 = {detectron2(name): shape for name, shape in counted.items()}
    blobs = {caffe2(name): shape for name, shape in counted.items() if caffe2(name)}
    adet = {f"backbone.bottom_up.{name}": shape for name, shape in d2.items()}
    for level, channels in zip((3, 4, 5), (512, 1024, 2048)):
        adet |= conv(f"backbone.fpn_lateral{level}", 256, channels, 1)
        adet |= conv(f"backbone.fpn_output{level}", 256, 256, 3)
    for level in (6, 7):
        adet |= conv(f"backbone.top_block.p{level}", 256, 256, 3)
    head = "proposal_generator.fcos_head"
    for tower in ("cls_tower", "bbox_tower"):
        for i in range(4):
            adet |= conv(f"{head}.{tower}.{3 * i}", 256, 256, 3)
            adet |= {f"{head}.{tower}.{3 * i + 1}.{part}": (256,) for part in ("weight", "bias")}
    for layer, channels in (("cls_logits", 80), ("bbox_pred", 4), ("ctrness", 1)):
        adet |= conv(f"{head}.{layer}", channels, 256, 3)
    adet |= {f"{head}.scales.{level}.scale": (1,) for level in range(5)}
    return {
        "d2_resnet50": d2,
        "caffe2_resnet50": blobs | {"fc1000_w": (1000, 2048), "fc1000_b": (1000,), "conv1_b": (64,)},
        "adelaidet_fcos": {"pixel_mean": (3, 1, 1), "pixel_std": (3, 1, 1)} | adet,
    }


def conv(name, outputs, inputs, kernel):
    return {f"{name}.weight": (outputs, inputs, kernel, kernel), f"{name}.bias": (outputs,)}


def write_lists(folder):
    networks = torchvision_lists() | mmdet_lists()
    lists = {name: shapes(network) for name, network in networks.items()}
    lists |= derived_lists(lists)
    for name, tensors in lists.items():
        lines = (" ".join([tensor, *map(str, shape)]) for tensor, shape in tensors.items())
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


class Foreign:
    """A class that nobody but this script has."""

    def __init__(self):
        self.weights = [1, 2]


class Hostile:
    def __reduce__(self):
        return os.system, ("true",)


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 1)
        self.bn = torch.nn.BatchNorm2d(2)


def state_dict():
    """Element i of every tensor is i / 8."""
    fill = lambda *shape: torch.arange(int(np.prod(shape)), dtype=torch.float32).reshape(shape) / 8
    return collections.OrderedDict(
        [("conv.weight", fill(2, 1, 1, 1)), ("bn.running_mean", fill(2)), ("bn.num_batches_tracked", torch.tensor(7))]
    )


def checkpoint():
    """What mmengine's runner saves, in small."""
    copy = collections.OrderedDict((f"module.{name}", tensor + 1) for name, tensor in state_dict().items())
    return {
        "meta": {
            "epoch": 12,
            "iter": np.int64(34),
            "cfg": "model = dict(type='FCOS')\n",
            "dataset_meta": {"classes": ("person", "car"), "palette": [(0, 0, 0)]},
            "foreign": Foreign(),
        },
        "message_hub": {"log_scalars": {"loss": HistoryBuffer([1.0, 0.5], [1, 1])}},
        "state_dict": state_dict(),
        "ema_state_dict": copy,
        "optimizer": {"state": {0: {"step": 3, "momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.01}]},
    }


def dtypes():
    values = torch.tensor([[1.5, -2.0], [0.25, 4.0]])
    return {
        "f64": values.double(),
        "f16": values.half(),
        "bf16": values.bfloat16(),
        "transposed": values.t(),
        "expanded": torch.tensor([0.5]).expand(3),
        "flags": torch.tensor([True, False]),
    }


def write_files(folder):
    tiny = Tiny()
    for parameter in tiny.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    files = {
        "checkpoint.pth": checkpoint(),
        "dtypes.pth": dtypes(),
        "whole_module.pth": {"model": tiny},
        "hostile_beside.pth": state_dict() | {"hook": Hostile()},
        "expanded.pth": {"conv1.weight": torch.zeros(1).expand(1 << 30)},
        "object.pth": torch.zeros(2),
    }
    for name, content in files.items():
        torch.save(content, folder / name)
    torch.save(state_dict(), folder / "legacy.pth", _use_new_zipfile_serialization=False)
    (folder / "hostile.pkl").write_bytes(pickle.dumps(Hostile(), protocol=2))
    arrays = {"model": {"conv1_w": np.zeros((1, 3), np.float32)}, "__author__": "Caffe2"}
    (folder / "detectron2.pkl").write_bytes(pickle.dumps(arrays, protocol=2))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    folder = parser.parse_args().out
    for name, write in (("names", write_lists), ("files", write_files)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        write(folder / name)


if __name__ == "__main__":
    main()
