//! Central differences in f64.

use aweigh_losses::{
    FocalLoss, IouMode, bce_with_logits, diou_loss, giou_loss, iou_loss, sigmoid_focal_loss,
    smooth_l1,
};
use aweigh_testkit::finite_difference;
use burn::tensor::{DType, Tensor};

use crate::support::{differentiate, tensor, values};

/// Step of the differences. Their error is about `step^2 |f'''| + 1e-16 |f| / step`: 1e-10 for
/// losses near 1 whose derivatives are near 1.
const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 2e-9;

fn check<const D: usize, const E: usize>(
    name: &str,
    input: &[f64],
    shape: [usize; D],
    loss: impl Fn(Tensor<D>) -> Tensor<E>,
) {
    let input_tensor = tensor(input, shape, DType::F64);
    let (_, slope) = differentiate(input_tensor, &loss);
    let total = |x: &[f64]| values(loss(tensor(x, shape, DType::F64))).iter().sum();
    let expected = finite_difference(total, input, STEP);
    for (i, (got, expected)) in slope.iter().zip(&expected).enumerate() {
        let error = (got - expected).abs();
        let limit = TOLERANCE * expected.abs().max(1.0);
        assert!(error <= limit, "{name}[{i}]: {got} is not {expected}");
    }
}

const LOGITS: [f64; 8] = [-7.0, -2.5, -0.8, -0.1, 0.3, 1.1, 3.0, 8.0];

#[test]
fn focal() {
    let present = tensor(&[0., 1., 0., 1., 1., 0., 1., 0.], [2, 4], DType::F64);
    let settings = [
        (0.25, 2.0),
        (0.4, 1.5),
        (-1.0, 3.0),
        (0.25, 0.5),
        (0.5, 1.0),
        (0.25, 0.0),
    ];
    for (alpha, gamma) in settings {
        let focal = FocalLoss {
            alpha,
            gamma,
            ..FocalLoss::default()
        };
        let name = format!("focal alpha {alpha} gamma {gamma}");
        check(&name, &LOGITS, [2, 4], |x| {
            sigmoid_focal_loss(x, present.clone(), &focal)
        });
    }
}

#[test]
fn bce() {
    let target = tensor(&[0., 1., 0.2, 0.7, 0.5, 0.9, 1., 0.], [8], DType::F64);
    check("bce", &LOGITS, [8], |x| bce_with_logits(x, target.clone()));
}

/// Pairs that overlap, lie apart and contain each other, with no coordinate, width or height in
/// common: the losses have kinks where those are equal.
const PRED: [[f64; 4]; 5] = [
    [0.0, 0.0, 4.0, 3.0],
    [1.0, 2.0, 3.5, 6.0],
    [0.5, 0.25, 9.0, 8.0],
    [2.0, 2.2, 3.0, 3.1],
    [0.0, 0.0, 1.0, 1.5],
];
const TARGET: [[f64; 4]; 5] = [
    [1.0, 1.0, 5.5, 4.2],
    [0.5, 2.5, 3.2, 7.0],
    [2.0, 3.0, 4.0, 5.0],
    [1.0, 1.5, 4.0, 4.0],
    [3.0, 2.0, 5.0, 4.0],
];

/// Checks an overlap loss on every pair.
fn check_boxes<const E: usize>(name: &str, loss: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<E>) {
    let target = tensor(TARGET.as_flattened(), [5, 4], DType::F64);
    check(name, PRED.as_flattened(), [5, 4], |pred| {
        loss(pred, target.clone())
    });
}

#[test]
fn overlaps() {
    let eps = 1e-6;
    check_boxes("iou log", |p, t| iou_loss::<2, 1>(p, t, IouMode::Log, eps));
    check_boxes("iou linear", |p, t| {
        iou_loss::<2, 1>(p, t, IouMode::Linear, eps)
    });
    check_boxes("giou", |p, t| giou_loss::<2, 1>(p, t, eps));
    check_boxes("diou", |p, t| diou_loss::<2, 1>(p, t, eps));
}

#[test]
fn distances() {
    check_boxes("smooth l1", |p, t| smooth_l1(p, t, 1.3));
}
