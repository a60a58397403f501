use burn::nn::{Linear, LinearConfig};

use super::*;
use crate::config::OptimizerKind;
use crate::parameters::named_tensors;

#[derive(Module, Debug)]
struct Net {
    layer: Linear,
}

fn config(kind: OptimizerKind) -> OptimizerConfig {
    OptimizerConfig {
        kind,
        weight_decay: 0.1,
        bias_lr_mult: 2.0,
        bias_decay_mult: 0.0,
        ..OptimizerConfig::default()
    }
}

/// Weights 1 and 2, biases 3, under autodiff.
fn net() -> Net {
    let device = Device::flex().autodiff();
    let mut layer = LinearConfig::new(1, 2).init(&device);
    layer.weight = Param::from_tensor(Tensor::from_floats([[1.0, 2.0]], &device));
    layer.bias = Some(Param::from_tensor(Tensor::from_floats([3.0, 3.0], &device)));
    Net { layer }
}

/// One step on the sum of `(w + b)^2`, whose gradient is `2 (w + b)` for both.
fn step(optimizer: &mut Optimizer, net: Net, lr: f64) -> Net {
    let x = Tensor::<2>::ones([1, 1], &Device::flex().autodiff());
    let loss = net.layer.forward(x).square().sum();
    let gradients = GradientsParams::from_grads(loss.backward(), &net);
    optimizer.step(lr, net, gradients)
}

fn values(net: &Net) -> Vec<f32> {
    let tensors = named_tensors(net);
    let read = |name| tensors[name].iter::<f32>().collect::<Vec<_>>();
    [read("layer.weight"), read("layer.bias")].concat()
}

fn check(got: &Net, expected: [f64; 4]) {
    for (got, expected) in values(got).into_iter().zip(expected) {
        // A few f32 operations on values below 20.
        assert!((f64::from(got) - expected).abs() < 2e-6, "{got} {expected}");
    }
}

#[test]
fn sgd_is_pytorchs_with_groups() {
    let mut optimizer = Optimizer::new(&config(OptimizerKind::Sgd));
    let first = step(&mut optimizer, net(), 0.01);
    // Velocities: 8 + 0.1 * 1 and 10 + 0.1 * 2 for the weights, 8 and 10 for the biases.
    check(&first, [1.0 - 0.081, 2.0 - 0.102, 3.0 - 0.16, 3.0 - 0.2]);
    let second = step(&mut optimizer, first, 0.01);
    let (g0, g1) = (2.0 * (0.919 + 2.84), 2.0 * (1.898 + 2.8));
    let weights = [0.9 * 8.1 + g0 + 0.0919, 0.9 * 10.2 + g1 + 0.1898];
    let biases = [0.9 * 8.0 + g0, 0.9 * 10.0 + g1];
    check(
        &second,
        [
            0.919 - 0.01 * weights[0],
            1.898 - 0.01 * weights[1],
            2.84 - 0.02 * biases[0],
            2.8 - 0.02 * biases[1],
        ],
    );
}

#[test]
fn adamw_is_pytorchs_with_groups() {
    let mut optimizer = Optimizer::new(&config(OptimizerKind::Adamw));
    let first = step(&mut optimizer, net(), 0.01);
    // The first step is lr times the sign of the gradient, after decay by 0.01 * 0.1.
    check(&first, [0.999 - 0.01, 1.998 - 0.01, 3.0 - 0.02, 3.0 - 0.02]);
}

#[test]
fn a_restored_state_continues_bit_for_bit() {
    for kind in [OptimizerKind::Sgd, OptimizerKind::Adamw] {
        let mut optimizer = Optimizer::new(&config(kind));
        let halfway = step(&mut optimizer, net(), 0.01);
        let mut restored = Optimizer::new(&config(kind));
        restored.load(&halfway, optimizer.state()).unwrap();
        let expected = step(&mut optimizer, halfway.clone(), 0.01);
        let got = step(&mut restored, halfway, 0.01);
        assert_eq!(values(&got), values(&expected), "{kind:?}");
    }
}

#[test]
fn a_foreign_state_is_refused() {
    let refuse = |name: &str, replacement: Option<TensorData>, part: &str| {
        let mut optimizer = Optimizer::new(&config(OptimizerKind::Sgd));
        let net = step(&mut optimizer, net(), 0.01);
        let mut state = optimizer.state();
        state.remove(name);
        state.extend(replacement.map(|data| (name.to_owned(), data)));
        let problem = optimizer.load(&net, state).unwrap_err();
        assert_eq!(problem, part);
    };
    let zeros = TensorData::new(vec![0.0_f32; 3], [3]);
    let missing = "`layer.bias.velocity` is missing";
    refuse("layer.bias.velocity", None, missing);
    let large = "`layer.bias.velocity` has 3 elements, the parameter 2";
    refuse("layer.bias.velocity", Some(zeros), large);
    let steps = TensorData::new(vec![1_i64], [1]);
    let foreign = "`head.steps` belongs to no parameter of the model";
    refuse("head.steps", Some(steps), foreign);
}

#[test]
fn groups_follow_the_name_and_the_layer() {
    let rule = configured_rule(&config(OptimizerKind::Sgd));
    let check = |name: &str, layer, lr, decay| {
        assert_eq!(rule(name, layer), Multipliers { lr, decay }, "{name}");
    };
    check("neck.fpn_convs.0.conv.weight", Layer::Other, 1.0, 1.0);
    check("neck.fpn_convs.0.conv.bias", Layer::Other, 2.0, 0.0);
    check("bbox_head.cls_convs.0.gn.bias", Layer::Norm, 1.0, 1.0);
    check("bbox_head.cls_convs.3.conv.bias", Layer::Other, 2.0, 0.0);
    let offsets = "backbone.layer2.0.conv2.conv_offset";
    check(&format!("{offsets}.weight"), Layer::Other, 1.0, 1.0);
    check(&format!("{offsets}.bias"), Layer::Other, 1.0, 1.0);
}
