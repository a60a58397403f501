use super::*;
use aweigh_backbone::{ConvBias, NormConfig};
use aweigh_testkit::device;
use burn::tensor::Int;

fn config(source: PointSource, num_points: usize) -> RepPointsHeadConfig {
    RepPointsHeadConfig {
        num_classes: 7,
        tower: TowerConfig {
            in_channels: 8,
            feat_channels: 16,
            stacked_convs: 1,
            norm: Some(NormConfig::GroupNorm { groups: 4 }),
            conv_bias: ConvBias::Auto,
            last_dcn: None,
        },
        point_feat_channels: 12,
        num_points,
        gradient_mul: 0.1,
        source,
        transform: BoxTransform::Moment { mul: 0.01 },
    }
}

fn maps() -> Vec<Tensor<4>> {
    let map = |[h, w]: [usize; 2]| Tensor::zeros([2, 8, h, w], &device());
    [[4, 6], [2, 3], [1, 1]].map(map).to_vec()
}

fn values(x: &Tensor<4>) -> Vec<f32> {
    x.clone().into_data().iter::<f32>().collect()
}

#[test]
fn every_cell_has_its_points_and_boxes() {
    for num_points in [9, 25] {
        let out = config(PointSource::Center, num_points)
            .init(&device())
            .forward(maps());
        assert_eq!(out.cls_score[1].dims(), [2, 7, 2, 3]);
        assert_eq!(out.pts_init[0].dims(), [2, 2 * num_points, 4, 6]);
        assert_eq!(out.pts_refine[2].dims(), [2, 2 * num_points, 1, 1]);
        assert_eq!(out.bbox_init[1].dims(), [2, 4, 2, 3]);
        assert_eq!(out.bbox_refine[1].dims(), [2, 4, 2, 3]);
    }
}

#[test]
fn without_features_predictions_are_where_they_start() {
    let check = |source, spread: f32| {
        let mut config = config(source, 9);
        config.transform = BoxTransform::Minmax;
        let out = config.init(&device()).forward(maps());
        for boxes in [&out.bbox_init[0], &out.bbox_refine[0]] {
            let (low, high) = (boxes.clone().narrow(1, 0, 2), boxes.clone().narrow(1, 2, 2));
            assert_eq!(values(&low), [-spread; 96], "{source:?}");
            assert_eq!(values(&high), [spread; 96], "{source:?}");
        }
        // The logit of a probability of 0.01.
        let logits = values(&out.cls_score[0]);
        assert!(logits.iter().all(|x| (x + 4.595_12).abs() < 1e-5));
    };
    check(PointSource::Center, 0.0);
    check(PointSource::Grid(4.0), 2.0);
    check(PointSource::Box(4.0), 2.0);
}

#[test]
fn the_second_stage_trains_the_first_with_part_of_its_gradient() {
    let device = device().autodiff();
    let mut head = config(PointSource::Center, 9).init(&device);
    let x = Tensor::<1, Int>::arange(0..2 * 8 * 20, &device);
    let x = x.float().sin().reshape([2, 8, 4, 5]);
    let [whole, half] = [1.0, 0.5].map(|gradient_mul| {
        head.gradient_mul = gradient_mul;
        let out = head.forward(vec![x.clone()]);
        let gradients = (out.cls_score[0].clone().square().sum() * 1e4).backward();
        let weight = head.reppoints_pts_init_out.weight.val();
        values(&weight.grad(&gradients).expect("a gradient").inner())
    });
    assert!(whole.iter().any(|g| g.abs() > 1e-3), "{whole:?}");
    for (whole, half) in whole.iter().zip(half) {
        // The same sums, of terms half as large.
        assert!((0.5 * whole - half).abs() <= 1e-5 * (1.0 + whole.abs()));
    }
}

#[test]
fn the_layer_table_counts_the_parameters_of_the_module() {
    let check = |source, num_points, transform| {
        let mut config = config(source, num_points);
        config.transform = transform;
        let layers = config.layers(&[[8, 8], [4, 4]]);
        let params: usize = layers.iter().map(|layer| layer.params).sum();
        assert_eq!(params, config.init(&device()).num_params(), "{config:?}");
    };
    check(PointSource::Center, 9, BoxTransform::Moment { mul: 0.01 });
    check(PointSource::Grid(4.0), 25, BoxTransform::PartialMinmax);
    check(PointSource::Box(4.0), 9, BoxTransform::Minmax);
}

#[test]
#[should_panic(expected = "16 points are not an odd square")]
fn points_form_an_odd_square() {
    let _ = config(PointSource::Center, 16).init(&device());
}
