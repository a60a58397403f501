//! What happens on a device rather than in host memory: clipping, the optimiser and its state.

use std::collections::BTreeMap;

use aweigh_train::clip::clip_gradients;
use aweigh_train::config::{Backend, ConvConfig, DeviceConfig, OptimizerConfig, OptimizerKind};
use aweigh_train::device::select;
use aweigh_train::named_tensors;
use aweigh_train::optimizer::Optimizer;
use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};

#[derive(Module, Debug)]
struct Net {
    layer: Linear,
}

fn net(device: &Device) -> Net {
    let values = |n: usize| (0..n).map(|i| (i as f32).sin()).collect::<Vec<f32>>();
    let device = device.clone().autodiff();
    let mut layer = LinearConfig::new(4, 3).init(&device);
    let weight = Tensor::from_data(TensorData::new(values(12), [4, 3]), &device);
    layer.weight = Param::from_tensor(weight);
    layer.bias = Some(Param::from_tensor(Tensor::from_data(
        TensorData::new(values(3), [3]),
        &device,
    )));
    Net { layer }
}

/// Four clipped steps; the optimiser is saved and restored after two of them.
fn run(kind: OptimizerKind, device: &Device) -> Vec<f32> {
    let config = OptimizerConfig {
        kind,
        bias_lr_mult: 2.0,
        ..OptimizerConfig::default()
    };
    let mut net = net(device);
    let mut optimizer = Optimizer::new(&config);
    for step in 0..4 {
        if step == 2 {
            let state: BTreeMap<String, TensorData> = optimizer.state();
            optimizer = Optimizer::new(&config);
            optimizer.load(&net, state).unwrap();
        }
        let x = Tensor::<2>::ones([2, 4], device);
        let loss = net.layer.forward(x).square().sum();
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        let (gradients, norm) = clip_gradients(&net, gradients, 1.0, device);
        assert!(norm.into_scalar::<f32>() > 1.0);
        net = optimizer.step(0.1, net, gradients);
    }
    let tensors = named_tensors(&net);
    tensors
        .values()
        .flat_map(|data| data.iter::<f32>().collect::<Vec<_>>())
        .collect()
}

#[test]
#[allow(clippy::print_stdout)]
fn steps_on_wgpu_are_those_of_the_processor() {
    let config = DeviceConfig {
        backend: Backend::Wgpu,
        ..DeviceConfig::default()
    };
    let wgpu = match select(&config, &ConvConfig::default()) {
        Ok(device) => device,
        Err(error) => return println!("not run: {error}"),
    };
    for kind in [OptimizerKind::Sgd, OptimizerKind::Adamw] {
        let (cpu, wgpu) = (run(kind, &Device::flex()), run(kind, &wgpu));
        for (a, b) in cpu.iter().zip(&wgpu) {
            // A dozen f32 operations per step on values near 1.
            assert!((a - b).abs() < 1e-5, "{kind:?}: {a} {b}");
        }
    }
}
