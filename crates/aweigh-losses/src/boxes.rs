//! Losses of predicted boxes: overlap losses per box, distances per coordinate.

use aweigh_geometry::boxes::{Corners, giou_of, iou_of};
use burn::tensor::Tensor;

use crate::gradient::with_slope;

/// How an overlap becomes a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IouMode {
    /// `-ln(iou)`.
    Log,
    /// `1 - iou`.
    Linear,
}

/// IoU loss: [`IouMode`] of `max(iou, eps)`
/// (UnitBox, Yu et al. 2016; mmdetection 3.x `models/losses/iou_loss.py`).
///
/// # Shapes
///
/// Boxes `[.., 4]` of rank `D` twice, in pixels, give `[..]` of rank `E = D - 1`.
///
/// # Panics
///
/// When the last dimension is not 4 or `E` is not `D - 1`.
pub fn iou_loss<const D: usize, const E: usize>(
    pred: Tensor<D>,
    target: Tensor<D>,
    mode: IouMode,
    eps: f64,
) -> Tensor<E> {
    let (pred, target) = corners(pred, target);
    let iou = iou_of(&pred, &target).clamp_min(eps);
    let loss = match mode {
        IouMode::Log => iou.log().neg(),
        IouMode::Linear => one_minus(iou),
    };
    loss.squeeze_dim(D - 1)
}

/// Generalised IoU loss: `1 - giou`, in `[0, 2]`, with union and hull at least `eps`
/// (Rezatofighi et al. 2019).
///
/// # Shapes
///
/// Boxes `[.., 4]` of rank `D` twice, in pixels, give `[..]` of rank `E = D - 1`.
///
/// # Panics
///
/// When the last dimension is not 4 or `E` is not `D - 1`.
pub fn giou_loss<const D: usize, const E: usize>(
    pred: Tensor<D>,
    target: Tensor<D>,
    eps: f64,
) -> Tensor<E> {
    let (pred, target) = corners(pred, target);
    one_minus(giou_of(&pred, &target, eps)).squeeze_dim(D - 1)
}

/// Distance IoU loss: `1 - iou + d^2 / c^2` with the distance `d` of the centres and the diagonal
/// `c` of the hull; `eps` is added to the union and to `c^2` (Zheng et al. 2020).
///
/// # Shapes
///
/// Boxes `[.., 4]` of rank `D` twice, in pixels, give `[..]` of rank `E = D - 1`.
///
/// # Panics
///
/// When the last dimension is not 4 or `E` is not `D - 1`.
pub fn diou_loss<const D: usize, const E: usize>(
    pred: Tensor<D>,
    target: Tensor<D>,
    eps: f64,
) -> Tensor<E> {
    let (pred, target) = corners(pred, target);
    one_minus(distance_iou(&pred, &target, eps)).squeeze_dim(D - 1)
}

/// `iou - d^2 / c^2`, see [`diou_loss`].
fn distance_iou<const D: usize>(pred: &Corners<D>, target: &Corners<D>, eps: f64) -> Tensor<D> {
    let intersection = pred.intersection(target);
    let union = pred.area() + target.area() - intersection.clone() + eps;
    let iou = intersection / union;
    let [width, height] = pred.enclosing(target);
    let diagonal = width.clone() * width + height.clone() * height + eps; // c^2
    let [px, py] = double_center(pred);
    let [tx, ty] = double_center(target);
    let (x, y) = (tx - px, ty - py);
    let distance = (x.clone() * x + y.clone() * y) * 0.25; // d^2
    iou - distance / diagonal
}

/// Smooth L1 loss of `d = pred - target`: `d^2 / (2 beta)` for `|d| < beta`, `|d| - beta / 2`
/// elsewhere (Girshick 2015; mmdetection 3.x `models/losses/smooth_l1_loss.py`).
///
/// # Shapes
///
/// Two tensors of one shape give one loss per element.
///
/// # Panics
///
/// When the shapes differ or `beta` is not positive.
pub fn smooth_l1<const D: usize>(pred: Tensor<D>, target: Tensor<D>, beta: f64) -> Tensor<D> {
    assert!(beta > 0.0, "beta of smooth L1 is {beta}, not positive");
    let difference = difference(&pred, target);
    let slope = (difference.clone() / beta).clamp(-1.0, 1.0);
    // slope (d - beta slope / 2) is both branches: slope is d / beta or the sign of d.
    let value = (difference - slope.clone() * (0.5 * beta)) * slope.clone();
    with_slope(pred, value, || slope)
}

/// L1 loss: `|pred - target|`.
///
/// # Shapes
///
/// Two tensors of one shape give one loss per element.
///
/// # Panics
///
/// When the shapes differ.
pub fn l1<const D: usize>(pred: Tensor<D>, target: Tensor<D>) -> Tensor<D> {
    let difference = difference(&pred, target);
    with_slope(pred, difference.clone().abs(), || difference.sign())
}

/// `pred - target` outside of the graph.
fn difference<const D: usize>(pred: &Tensor<D>, target: Tensor<D>) -> Tensor<D> {
    assert_eq!(pred.dims(), target.dims(), "predictions and targets");
    pred.clone().without_autodiff() - target.without_autodiff()
}

fn corners<const D: usize>(pred: Tensor<D>, target: Tensor<D>) -> (Corners<D>, Corners<D>) {
    assert_eq!(pred.dims(), target.dims(), "predicted and target boxes");
    let target = Corners::split(target.without_autodiff());
    (Corners::split(pred), target)
}

/// Twice the centre: `[x1 + x2, y1 + y2]`.
fn double_center<const D: usize>(b: &Corners<D>) -> [Tensor<D>; 2] {
    [b.x1.clone() + b.x2.clone(), b.y1.clone() + b.y2.clone()]
}

fn one_minus<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.neg() + 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::device;
    use burn::tensor::Device;

    const EPS: f64 = 1e-6;
    const UNIT: [f32; 4] = [0.0, 0.0, 10.0, 10.0];
    const POINT: [f32; 4] = [5.0, 5.0, 5.0, 5.0];

    type Loss = fn(Tensor<2>, Tensor<2>) -> Tensor<1>;

    const LOSSES: [(&str, Loss); 6] = [
        ("log", |p, t| iou_loss(p, t, IouMode::Log, EPS)),
        ("linear", |p, t| iou_loss(p, t, IouMode::Linear, EPS)),
        ("giou", |p, t| giou_loss(p, t, EPS)),
        ("diou", |p, t| diou_loss(p, t, EPS)),
        ("smooth l1", |p, t| {
            smooth_l1(p, t, 1.0).sum_dim(1).squeeze_dim(1)
        }),
        ("l1", |p, t| l1(p, t).sum_dim(1).squeeze_dim(1)),
    ];

    fn row(b: [f32; 4], device: &Device) -> Tensor<2> {
        Tensor::from_data([b], device)
    }

    fn value(loss: Loss, pred: [f32; 4], target: [f32; 4]) -> f32 {
        loss(row(pred, &device()), row(target, &device())).into_scalar()
    }

    fn check(name: &str, pred: [f32; 4], expected: f32) {
        let (_, loss) = LOSSES.iter().find(|(n, _)| *n == name).expect("a loss");
        let got = value(*loss, pred, UNIT);
        // Some roundings of numbers near 1, and eps over an area of 100.
        assert!(
            (got - expected).abs() < 2e-6,
            "{name}: {got} is not {expected}"
        );
    }

    #[test]
    fn known_values() {
        let half = [0.0, 0.0, 10.0, 5.0];
        let apart = [20.0, 0.0, 30.0, 10.0];
        check("log", half, std::f32::consts::LN_2);
        check("linear", half, 0.5);
        check("giou", half, 0.5);
        check("diou", half, 0.5 + 6.25 / 200.0);
        check("giou", apart, 1.0 + 1.0 / 3.0);
        check("diou", apart, 1.4);
        check("smooth l1", [0.5, 0.0, 10.0, 13.0], 0.125 + 2.5);
        check("l1", [0.5, 0.0, 10.0, 13.0], 3.5);
    }

    #[test]
    fn equal_boxes_cost_nothing() {
        for (name, loss) in LOSSES {
            let got = value(loss, UNIT, UNIT);
            assert!(got.abs() < 1e-6, "{name}: {got}");
        }
    }

    #[test]
    fn values_and_gradients_are_finite_for_degenerate_boxes() {
        let flat = [0.0, 3.0, 10.0, 3.0];
        let far = [100.0, 100.0, 101.0, 101.0];
        let boxes = [UNIT, POINT, flat, far, [0.0; 4], [10.0, 0.0, 20.0, 10.0]];
        let device = device().autodiff();
        for (name, loss) in LOSSES {
            for (pred, target) in boxes
                .iter()
                .flat_map(|p| boxes.iter().map(move |t| (*p, *t)))
            {
                let pred_row = row(pred, &device).require_grad();
                let loss = loss(pred_row.clone(), row(target, &device));
                let gradients = loss.clone().sum().backward();
                let slope = pred_row.grad(&gradients).expect("a gradient");
                let slope: Vec<f32> = slope.try_into_vec_as().expect("a readable tensor");
                let loss: f32 = loss.into_scalar();
                let finite = loss.is_finite() && slope.iter().all(|s| s.is_finite());
                assert!(finite, "{name} {pred:?} {target:?}: {loss} {slope:?}");
            }
        }
    }

    #[test]
    fn leading_dimensions_are_kept() {
        let boxes = Tensor::<3>::zeros([2, 5, 4], &device());
        let loss: Tensor<2> = giou_loss(boxes.clone(), boxes, EPS);
        assert_eq!(loss.dims(), [2, 5]);
    }

    #[test]
    #[should_panic(expected = "predicted and target boxes")]
    fn shapes_must_agree() {
        let boxes = |n: usize| Tensor::<2>::zeros([n, 4], &device());
        let _: Tensor<1> = giou_loss(boxes(2), boxes(3), EPS);
    }
}
