//! Whole networks by their names.

use std::collections::BTreeMap;

use aweigh_weights::{
    BackboneKind, ChannelOrder, HeadShape, ImportError, Layout, Method, NormKind, Part, Style,
    Tensor, Wanted, recognise,
};

use crate::shared::{below, file, import, listed};

fn check_backbone(list: &str, layout: Layout, network: &str) {
    let import = import(listed(list));
    assert_eq!(
        (import.layout, import.part),
        (layout, Part::Backbone),
        "{list}"
    );
    assert_eq!(import.left_over, [""; 0], "{list}");
    assert!(
        import.summary().starts_with(network),
        "{}",
        import.summary()
    );
}

#[test]
fn backbones_are_recognised() {
    check_backbone(
        "tv_resnet18",
        Layout::Torchvision,
        "ResNet-18, in torchvision's layout",
    );
    check_backbone("tv_resnet50", Layout::Torchvision, "ResNet-50, ");
    check_backbone(
        "tv_resnext50_32x4d",
        Layout::Torchvision,
        "ResNeXt-50 (32x4d), ",
    );
    check_backbone("tv_mobilenet_v2", Layout::Torchvision, "MobileNetV2, ");
    check_backbone(
        "mmdet_mobilenet_v2",
        Layout::Mmdet,
        "MobileNetV2, in mmdetection's",
    );
    check_backbone(
        "d2_resnet50",
        Layout::Detectron2,
        "ResNet-50, in Detectron2's",
    );
    check_backbone("caffe2_resnet50", Layout::Caffe2, "ResNet-50, in Caffe2's");
}

#[test]
fn outputs_of_torchvision_are_explained() {
    let check = |classes: usize, words: &str| {
        let mut tensors = listed("tv_fcos_resnet50_fpn");
        for (part, shape) in [
            ("weight", vec![classes, 256, 3, 3]),
            ("bias", vec![classes]),
        ] {
            let name = format!("head.classification_head.cls_logits.{part}");
            tensors.insert(name, Tensor::filled(shape, 0.0));
        }
        let notes = import(tensors).notes.join("\n");
        assert!(notes.contains(words), "{classes}: {notes}");
    };
    check(91, "class i is COCO's category i");
    check(4, "torchvision counts labels from 0");
}

#[test]
fn all_spellings_give_the_same_backbone() {
    let names = |list: &str| import(listed(list)).tensors.into_keys().collect::<Vec<_>>();
    let torchvision = names("tv_resnet50");
    assert_eq!(torchvision.len(), 265);
    assert_eq!(names("d2_resnet50"), torchvision);
    assert_eq!(names("caffe2_resnet50"), torchvision);
    assert_eq!(names("mmdet_mobilenet_v2"), names("tv_mobilenet_v2"));
}

fn check_detector(list: &str, layout: Layout, expected: &HeadShape) {
    let import = import(listed(list));
    assert_eq!(
        (import.layout, import.part),
        (layout, Part::Detector),
        "{list}"
    );
    assert_eq!(import.left_over, [""; 0], "{list}");
    let architecture = import.architecture.expect("an architecture");
    assert_eq!(architecture.head.as_ref(), Some(expected), "{list}");
    let neck = architecture.neck.expect("a pyramid");
    assert_eq!([neck.in_channels.len(), neck.extra_convs], [3, 2], "{list}");
    assert!(matches!(
        architecture.backbone,
        BackboneKind::ResNet {
            depth: Some(50),
            ..
        }
    ));
}

#[test]
fn detectors_are_recognised() {
    let fcos = HeadShape {
        method: Method::Fcos,
        num_classes: 80,
        anchors: 1,
        in_channels: 256,
        feat_channels: 256,
        stacked_convs: [4, 4],
        norm: NormKind::Group,
        deformable: false,
    };
    let with = |method, norm| HeadShape {
        method,
        norm,
        ..fcos.clone()
    };
    let retina = HeadShape {
        anchors: 9,
        ..with(Method::Retina, NormKind::None)
    };
    let of_91 = |head: &HeadShape| HeadShape {
        num_classes: 91,
        ..head.clone()
    };
    check_detector("mmdet_fcos", Layout::Mmdet, &fcos);
    check_detector("adelaidet_fcos", Layout::AdelaiDet, &fcos);
    check_detector(
        "tv_fcos_resnet50_fpn",
        Layout::TorchvisionFcos,
        &of_91(&fcos),
    );
    check_detector(
        "tv_retinanet_resnet50_fpn",
        Layout::TorchvisionRetina,
        &of_91(&retina),
    );
    let group = HeadShape {
        norm: NormKind::Group,
        ..of_91(&retina)
    };
    check_detector(
        "tv_retinanet_resnet50_fpn_v2",
        Layout::TorchvisionRetina,
        &group,
    );
    check_detector("mmdet_retinanet", Layout::Mmdet, &retina);
    check_detector(
        "mmdet_fsaf",
        Layout::Mmdet,
        &with(Method::Fsaf, NormKind::None),
    );
    let reppoints = HeadShape {
        stacked_convs: [3, 3],
        ..with(Method::RepPoints, NormKind::Group)
    };
    check_detector("mmdet_reppoints", Layout::Mmdet, &reppoints);
    let deformable = HeadShape {
        deformable: true,
        ..fcos.clone()
    };
    check_detector("mmdet_fcos_dcn", Layout::Mmdet, &deformable);
    let fovea = HeadShape {
        stacked_convs: [2, 4],
        deformable: true,
        ..with(Method::Fovea, NormKind::Group)
    };
    check_detector("mmdet_fovea_align", Layout::Mmdet, &fovea);
}

#[test]
fn deformable_stages_are_seen() {
    let import = import(listed("mmdet_fcos_dcn"));
    let BackboneKind::ResNet { deformable, .. } = import.architecture.expect("known").backbone
    else {
        panic!("another backbone");
    };
    let stages: Vec<_> = deformable
        .iter()
        .map(|s| (s.stage, s.offset_channels))
        .collect();
    assert_eq!(stages, [(1, 27), (2, 27), (3, 27)]);
}

#[test]
fn names_of_detectors_become_mmdetections() {
    let own = |list: &str| import(listed(list)).tensors;
    let shapes = |tensors: &BTreeMap<String, Tensor>| -> Vec<(String, Vec<usize>)> {
        tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shape.clone()))
            .collect()
    };
    let mut expected = own("mmdet_fcos");
    // mmdetection leaves the biases of convolutions with a norm out where it can.
    for tower in ["cls_convs", "reg_convs"] {
        for i in 0..4 {
            let name = format!("bbox_head.{tower}.{i}.conv.bias");
            expected
                .entry(name)
                .or_insert_with(|| Tensor::filled(vec![256], 0.0));
        }
    }
    assert_eq!(shapes(&own("adelaidet_fcos")), shapes(&expected));
    let torchvision = own("tv_fcos_resnet50_fpn");
    let names = |tensors: &BTreeMap<String, Tensor>| tensors.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&torchvision), names(&expected));
    let retina = own("tv_retinanet_resnet50_fpn");
    assert_eq!(names(&retina), names(&own("mmdet_retinanet")));
}

#[test]
fn older_spellings_are_read() {
    let retina = listed("tv_retinanet_resnet50_fpn");
    let old = retina.clone().into_iter().map(|(name, tensor)| {
        let mut name = name;
        for block in ["inner_blocks", "layer_blocks"] {
            for i in 0..3 {
                name = name.replace(&format!("{block}.{i}.0."), &format!("{block}.{i}."));
            }
        }
        for i in 0..4 {
            name = name.replace(&format!(".conv.{i}.0."), &format!(".conv.{}.", 2 * i));
        }
        (name, tensor)
    });
    assert_eq!(import(old.collect()).tensors, import(retina).tensors);

    let fcos = listed("mmdet_fcos");
    let old = fcos.clone().into_iter().map(|(name, tensor)| {
        let name = name.replace("bbox_head.conv_", "bbox_head.fcos_");
        (name, tensor)
    });
    assert_eq!(import(old.collect()).tensors, import(fcos).tensors);
}

#[test]
fn prefixes_are_found() {
    let check = |prefix: &str, list: &str| {
        let plain = import(listed(list));
        let import = import(below(prefix, listed(list)));
        assert_eq!(import.prefix, format!("{prefix}"), "{list}");
        assert_eq!(import.tensors, plain.tensors, "{list}");
    };
    for prefix in [
        "module.",
        "module.pre.",
        "model.",
        "encoder.",
        "img_backbone.",
        "student.backbone.",
    ] {
        check(prefix, "tv_resnet18");
    }
    check("model.", "mmdet_retinanet");
    check("module.", "tv_fcos_resnet50_fpn");
    check("module.", "adelaidet_fcos");
    check("backbone.bottom_up.", "d2_resnet50");
}

#[test]
fn of_copies_one_is_taken() {
    let mut tensors = below("encoder_q.", listed("tv_resnet18"));
    tensors.extend(below("encoder_k.", listed("tv_resnet18")));
    tensors.insert("queue".to_owned(), Tensor::filled(vec![4], 0.0));
    let import = import(tensors);
    assert_eq!(import.prefix, "encoder_q.");
    assert_eq!(import.left_over, [""; 0]);
    let reasons: Vec<_> = import.skipped.iter().map(|s| s.reason.as_str()).collect();
    assert!(
        reasons.contains(&"another copy of the network"),
        "{reasons:?}"
    );
    assert!(reasons.contains(&"not the backbone's"), "{reasons:?}");

    let mut tensors = below("left.", listed("tv_resnet18"));
    tensors.extend(below("right.", listed("tv_resnet18")));
    let error = recognise(file(tensors), Wanted::Model).expect_err("two networks");
    assert!(error.to_string().contains("`left.`, `right.`"), "{error}");
}

#[test]
fn what_has_no_place_is_left_over() {
    let mut tensors = listed("tv_resnet18");
    tensors.insert(
        "layer1.0.se.fc1.weight".to_owned(),
        Tensor::filled(vec![1], 0.0),
    );
    tensors.insert("ema_conv1_weight".to_owned(), Tensor::filled(vec![1], 0.0));
    tensors.insert("head.weight".to_owned(), Tensor::filled(vec![1], 0.0));
    let import = import(tensors);
    assert_eq!(import.left_over, ["layer1.0.se.fc1.weight"]);
    let skipped: Vec<_> = import.skipped.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(
        skipped,
        ["ema_conv1_weight", "fc.bias", "fc.weight", "head.weight"]
    );
}

#[test]
fn what_a_layout_lacks_is_filled() {
    let fcos = import(listed("tv_fcos_resnet50_fpn"));
    let filled: Vec<_> = fcos.filled.iter().map(|f| f.name.as_str()).collect();
    let expected = [0, 1, 2, 3, 4].map(|level| format!("bbox_head.scales.{level}.scale"));
    assert_eq!(filled, expected);
    assert_eq!(
        fcos.tensors["bbox_head.scales.0.scale"],
        Tensor::filled(vec![1], 1.0)
    );
    let caffe2 = import(listed("caffe2_resnet50"));
    assert_eq!(caffe2.filled.len(), 2 * 53);
    assert_eq!(
        caffe2.tensors["bn1.running_var"],
        Tensor::filled(vec![64], 1.0)
    );
}

#[test]
fn scales_are_vectors_of_one() {
    let import = import(listed("mmdet_fcos"));
    assert_eq!(import.tensors["bbox_head.scales.0.scale"].shape, [1]);
}

#[test]
fn pixels_are_normalised_as_the_layout_does() {
    let check = |tensors, expected: Option<(f32, ChannelOrder, Option<Style>)>| {
        let import = import(tensors);
        let found = import.normalization.or(import.usual_normalization);
        let found = found.map(|n| (n.mean[0], n.order, n.style));
        assert_eq!(found, expected);
    };
    let (rgb, bgr) = (ChannelOrder::Rgb, ChannelOrder::Bgr);
    let torchvision = Some((123.675, rgb, Some(Style::Pytorch)));
    check(listed("tv_resnet50"), torchvision);
    check(listed("tv_mobilenet_v2"), torchvision);
    check(listed("tv_fcos_resnet50_fpn"), torchvision);
    check(
        listed("d2_resnet50"),
        Some((103.53, bgr, Some(Style::Caffe))),
    );
    check(
        listed("caffe2_resnet50"),
        Some((102.9801, bgr, Some(Style::Caffe))),
    );
    // The configuration says it, which is not read here.
    check(listed("mmdet_fcos"), None);

    let pixels = |values: [f32; 3]| Tensor::new(vec![3, 1, 1], values.to_vec());
    let mut stated = listed("adelaidet_fcos");
    stated.insert("pixel_mean".to_owned(), pixels([100.0, 110.0, 120.0]));
    stated.insert("pixel_std".to_owned(), pixels([57.375, 57.12, 58.395]));
    check(stated, Some((100.0, bgr, None)));

    // A conversion from Detectron under torchvision's names.
    let mut folded = listed("tv_resnet50");
    folded.insert("bn1.running_mean".to_owned(), Tensor::filled(vec![64], 0.0));
    folded.insert("bn1.running_var".to_owned(), Tensor::filled(vec![64], 1.0));
    check(folded, Some((103.53, bgr, Some(Style::Caffe))));
}

#[test]
fn detectors_of_others_are_named() {
    let check = |list: &str, detector: &str, layers: usize| {
        let error = recognise(file(listed(list)), Wanted::Model).expect_err("not ours");
        assert!(
            matches!(error, ImportError::OtherDetector { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(detector), "{error}");
        let backbone = recognise(file(listed(list)), Wanted::Backbone).expect("a backbone");
        assert_eq!(backbone.tensors.len(), layers, "{list}");
        assert_eq!(backbone.left_over, [""; 0]);
    };
    check("mmdet_atss", "ATSS", 265);
    check("mmdet_faster_rcnn", "Faster R-CNN", 265);
    check("tv_fasterrcnn_resnet50_fpn", "Faster R-CNN", 265);
}

#[test]
fn the_backbone_of_a_detector_is_taken_alone() {
    for list in ["mmdet_retinanet", "tv_fcos_resnet50_fpn", "adelaidet_fcos"] {
        let backbone = recognise(file(listed(list)), Wanted::Backbone).expect("a backbone");
        let whole = import(listed(list)).into_backbone();
        assert_eq!(backbone.part, Part::Backbone);
        assert_eq!(backbone.tensors, whole, "{list}");
    }
}

#[test]
fn unknown_layouts_list_names() {
    let check = |names: &[&str], words: &str| {
        let tensors = names
            .iter()
            .map(|name| ((*name).to_owned(), Tensor::filled(vec![1], 0.0)));
        let error = recognise(file(tensors.collect()), Wanted::Model).expect_err("unknown");
        assert!(error.to_string().contains(words), "{error}");
    };
    check(
        &["blocks.0.attn.qkv.weight", "cls_token"],
        "`blocks.0.attn.qkv.weight`, `cls_token`",
    );
    let swin = [
        "backbone.patch_embed.weight",
        "bbox_head.conv_cls.weight",
        "bbox_head.conv_reg.weight",
    ];
    check(&swin, "`backbone.patch_embed.weight`");
    check(
        &[
            "backbone.conv1.weight",
            "backbone.layer1.0.conv1.weight",
            "bbox_head.foo.weight",
        ],
        "unknown head",
    );
}

#[test]
fn two_tensors_of_one_name_are_refused() {
    let mut tensors = listed("tv_resnet18");
    for name in [
        "layer2.0.conv2_offset.bias",
        "layer2.0.conv2.conv_offset.bias",
    ] {
        tensors.insert(name.to_owned(), Tensor::filled(vec![18], 0.0));
    }
    let error = recognise(file(tensors), Wanted::Model).expect_err("one name");
    let words = "`layer2.0.conv2.conv_offset.bias` and `layer2.0.conv2_offset.bias` are both";
    assert!(error.to_string().contains(words), "{error}");
}
