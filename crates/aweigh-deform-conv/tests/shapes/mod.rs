//! Broken rules panic with the rule and every shape.

use std::panic::{AssertUnwindSafe, catch_unwind};

use aweigh_deform_conv::{DeformConv2dConfig, DeformConvInput, DeformConvOptions, deform_conv2d};
use aweigh_testkit::device;
use burn::tensor::{DType, Shape, Tensor};

/// Shapes of a call; the start is a call that obeys every rule.
#[derive(Debug, Clone)]
struct Call {
    x: [usize; 4],
    offset: [usize; 4],
    weight: [usize; 4],
    mask: Option<[usize; 4]>,
    bias: Option<usize>,
    options: DeformConvOptions,
}

impl Default for Call {
    fn default() -> Self {
        Self {
            x: [2, 6, 5, 7],
            offset: [2, 36, 5, 7],
            weight: [4, 6, 3, 3],
            mask: Some([2, 18, 5, 7]),
            bias: Some(4),
            options: DeformConvOptions {
                padding: [1, 1],
                offset_groups: 2,
                ..DeformConvOptions::default()
            },
        }
    }
}

impl Call {
    fn run(&self) -> Tensor<4> {
        let tensor = |shape: [usize; 4]| Tensor::<4>::zeros(shape, &device());
        let input = DeformConvInput {
            x: tensor(self.x),
            offset: tensor(self.offset),
            mask: self.mask.map(tensor),
        };
        let bias = self.bias.map(|size| Tensor::zeros([size], &device()));
        deform_conv2d(input, tensor(self.weight), bias, self.options)
    }
}

/// The message of the panic that `run` ends in.
fn message<T>(run: impl FnOnce() -> T) -> String {
    let panic = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(_) => panic!("a broken rule went unnoticed"),
        Err(panic) => panic,
    };
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(_) => panic!("the message is a formatted string"),
    }
}

fn check(rule: &str, broken: impl FnOnce(&mut Call)) {
    let mut call = Call::default();
    broken(&mut call);
    let message = message(|| call.run());
    let shapes = [
        Some(call.x),
        Some(call.offset),
        Some(call.weight),
        call.mask,
    ];
    let mut parts: Vec<String> = shapes
        .into_iter()
        .flatten()
        .map(|shape| format!("{:?}", Shape::new(shape)))
        .collect();
    parts.push(rule.to_owned());
    for part in parts {
        assert!(message.contains(&part), "no `{part}` in: {message}");
    }
}

#[test]
fn the_unbroken_call_works() {
    assert_eq!(Call::default().run().dims(), [2, 4, 5, 7]);
}

#[test]
fn sizes_are_not_zero() {
    let rule = "no channel, kernel or map size is 0";
    check(rule, |call| call.x[1] = 0);
    check(rule, |call| call.x[2] = 0);
    check(rule, |call| call.weight[0] = 0);
    check(rule, |call| call.weight[3] = 0);
}

#[test]
fn stride_and_dilation_are_not_zero() {
    let rule = "stride and dilation are at least 1";
    check(rule, |call| call.options.stride = [1, 0]);
    check(rule, |call| call.options.dilation = [0, 1]);
}

#[test]
fn weight_groups_divide_the_channels() {
    let rule = "weight groups divide the input and the output channels";
    check(rule, |call| call.options.weight_groups = 0);
    check(rule, |call| call.options.weight_groups = 3);
    check(rule, |call| call.options.weight_groups = 4);
}

#[test]
fn offset_groups_divide_the_input_channels() {
    let rule = "offset groups divide the input channels";
    check(rule, |call| call.options.offset_groups = 0);
    check(rule, |call| call.options.offset_groups = 4);
}

#[test]
fn the_weight_fits_the_channels() {
    let rule = "the weight's second size times the weight groups is the input's channels";
    check(rule, |call| call.weight[1] = 5);
    check(rule, |call| call.options.weight_groups = 2);
}

#[test]
fn the_kernel_fits_the_map() {
    let rule = "the padded input is at least as large as the dilated kernel";
    check(rule, |call| call.options.dilation = [4, 1]);
}

#[test]
fn the_offset_fits() {
    let rule = "the offset is [B, 2 * offset groups * kernel height * kernel width, H', W']";
    check(rule, |call| call.offset[0] = 1);
    check(rule, |call| call.offset[1] = 18);
    check(rule, |call| call.offset[3] = 6);
    check(rule, |call| call.options.stride = [2, 1]);
}

#[test]
fn the_mask_fits() {
    let rule = "the mask is [B, offset groups * kernel height * kernel width, H', W']";
    check(rule, |call| call.mask = Some([2, 9, 5, 7]));
    check(rule, |call| call.mask = Some([2, 36, 5, 7]));
    check(rule, |call| call.mask = Some([2, 18, 7, 5]));
}

#[test]
fn the_bias_fits() {
    check("the bias", |call| call.bias = Some(5));
}

#[test]
fn the_types_fit() {
    let half = |shape: [usize; 4]| Tensor::<4>::zeros(shape, (&device(), DType::F16));
    let single = |shape: [usize; 4]| Tensor::<4>::zeros(shape, &device());
    let input = DeformConvInput {
        x: half([1, 4, 5, 5]),
        offset: single([1, 2, 5, 5]),
        mask: None,
    };
    let options = DeformConvOptions::default();
    let message = message(|| deform_conv2d(input, half([3, 4, 1, 1]), None, options));
    assert!(
        message.contains("one type") && message.contains("F16, F32, F16"),
        "{message}"
    );
}

#[test]
fn an_empty_batch_gives_an_empty_output() {
    let call = Call {
        x: [0, 6, 5, 7],
        offset: [0, 36, 5, 7],
        mask: Some([0, 18, 5, 7]),
        ..Call::default()
    };
    assert_eq!(call.run().dims(), [0, 4, 5, 7]);
}

#[test]
fn layers_refuse_groups_that_do_not_divide() {
    let config = || DeformConv2dConfig::new([6, 4], [3, 3]);
    let groups = message(|| config().with_groups(3).init(&device()));
    assert!(
        groups.contains("3 groups do not divide the channels [6, 4]"),
        "{groups}"
    );
    let offsets = message(|| config().with_offset_groups(4).init_pack(&device()));
    assert!(
        offsets.contains("4 offset groups do not divide the 6 input channels"),
        "{offsets}"
    );
}
