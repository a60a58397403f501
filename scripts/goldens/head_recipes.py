"""Options of the FCOS head cases."""


def config(**changes):
    """A plain narrow FCOS head; `None` removes a key, so that mmdet's default holds."""
    head = {
        "type": "FCOSHead",
        "num_classes": 5,
        "in_channels": 16,
        "feat_channels": 16,
        "stacked_convs": 2,
        "strides": [8, 16, 32, 64, 128],
        "norm_cfg": {"type": "GN", "num_groups": 4, "requires_grad": True},
        "loss_cls": {"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "loss_weight": 1.0},
        "loss_bbox": {"type": "IoULoss", "loss_weight": 1.0},
        "loss_centerness": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
        "test_cfg": test_config(),
    }
    head.update(changes)
    return head


def test_config(**changes):
    test = {
        "nms_pre": 100,
        "min_bbox_size": 0,
        "score_thr": 0.05,
        "nms": {"type": "nms", "iou_threshold": 0.5},
        "max_per_img": 30,
    }
    test.update(changes)
    return test


IMPROVED = {
    "loss_bbox": {"type": "GIoULoss", "loss_weight": 1.0},
    "norm_on_bbox": True,
    "centerness_on_reg": True,
    "dcn_on_last_conv": False,
    "center_sampling": True,
    "conv_bias": True,
}

RECIPES = {
    "head_fcos_default": {"head": config()},
    "head_fcos_improved": {"head": config(**IMPROVED)},
    "head_fcos_improved_dcn": {"head": config(**{**IMPROVED, "dcn_on_last_conv": True}), "image": [96, 128]},
    "head_fcos_dcn_no_norm": {
        "head": config(dcn_on_last_conv=True, norm_cfg=None, stacked_convs=1, in_channels=12, feat_channels=8),
        "image": [96, 112],
    },
    "head_fcos_no_norm": {"head": config(norm_cfg=None, num_classes=3, stacked_convs=1)},
    "head_fcos_improved_no_norm_no_bias": {
        "head": config(**{**IMPROVED, "conv_bias": False}, norm_cfg=None, in_channels=12, feat_channels=8),
        "image": [112, 208],
    },
    "head_fcos_deep_wide_input": {
        "head": config(
            in_channels=24,
            feat_channels=8,
            stacked_convs=4,
            num_classes=1,
            norm_cfg={"type": "GN", "num_groups": 2, "requires_grad": True},
        ),
        "image": [101, 143],
    },
    "head_fcos_three_levels": {
        "head": config(strides=[8, 16, 32], regress_ranges=[[-1, 32], [32, 96], [96, 100000000.0]], num_classes=7),
        "image": [120, 168],
    },
    "head_fcos_four_levels_from_4": {
        "head": config(
            **IMPROVED,
            strides=[4, 8, 16, 32],
            in_channels=8,
            feat_channels=8,
            regress_ranges=[[-1, 16], [16, 32], [32, 64], [64, 100000000.0]],
        ),
        "image": [75, 99],
    },
    "head_fcos_single_level": {
        "head": config(strides=[16], regress_ranges=[[-1, 100000000.0]], center_sampling=True),
        "image": [160, 224],
    },
    "head_fcos_radius_half": {
        "head": config(center_sampling=True, center_sample_radius=0.5, norm_on_bbox=True),
        "boxes": "crowded",
    },
    "head_fcos_radius_3_on_reg": {
        "head": config(center_sampling=True, center_sample_radius=3.0, centerness_on_reg=True),
        "boxes": "crowded",
        "image": [144, 144],
    },
    "head_fcos_bounded_ranges": {
        "head": config(regress_ranges=[[-1, 24], [24, 48], [48, 72], [72, 96], [96, 120]]),
        "boxes": "huge",
        "image": [240, 304],
    },
    "head_fcos_ranges_overlap": {
        "head": config(**IMPROVED, regress_ranges=[[-1, 64], [32, 128], [64, 256], [128, 512], [256, 100000000.0]]),
        "boxes": "huge",
    },
    "head_fcos_all_empty": {"head": config(), "boxes": "all_empty"},
    "head_fcos_improved_all_empty": {"head": config(**IMPROVED), "boxes": "all_empty"},
    "head_fcos_improved_one_empty": {"head": config(**IMPROVED), "boxes": "one_empty", "image": [135, 187]},
    "head_fcos_degenerate": {"head": config(), "boxes": "degenerate"},
    "head_fcos_improved_degenerate": {"head": config(**IMPROVED), "boxes": "degenerate", "image": [97, 161]},
    "head_fcos_eighty_classes": {
        "head": config(num_classes=80, test_cfg=test_config(nms_pre=60, max_per_img=100, score_thr=0.2)),
        "boxes": "crowded",
        "image": [104, 136],
    },
    "head_fcos_loss_options": {
        "head": config(
            **{**IMPROVED, "loss_bbox": {"type": "DIoULoss", "loss_weight": 2.0}},
            loss_cls={"type": "FocalLoss", "use_sigmoid": True, "gamma": 1.5, "alpha": 0.4, "loss_weight": 0.5},
            loss_centerness={"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 0.25},
        ),
    },
    "head_fcos_iou_linear": {"head": config(loss_bbox={"type": "IoULoss", "mode": "linear", "loss_weight": 1.0})},
    "head_fcos_few_detections": {
        "head": config(test_cfg=test_config(nms_pre=1000, min_bbox_size=20, score_thr=0.45, max_per_img=100)),
    },
    "head_fcos_no_detections": {"head": config(test_cfg=test_config(score_thr=0.9999))},
}
