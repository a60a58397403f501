//! Half-precision tensors: sampling positions and sums are computed in f32 at least, so that the
//! only error is the rounding of each result.

use aweigh_testkit::device;
use burn::tensor::DType;

use crate::naive::Problem;
use crate::support::{Offsets, Plan, Random, Setup, assert_close, values_of};

/// Rounds every value to the setup's type.
fn rounded(mut problem: Problem, setup: &Setup) -> Problem {
    let round = |values: &mut Vec<f64>| *values = values_of(setup.tensor(values, [values.len()]));
    round(&mut problem.x);
    round(&mut problem.offset);
    round(&mut problem.weight);
    round(&mut problem.grad);
    problem.mask.iter_mut().for_each(round);
    problem
}

/// Runs a plan without bias, which is added to a result that is already rounded.
fn check(plan: Plan) {
    let plan = Plan {
        bias: false,
        ..plan
    };
    for dtype in [DType::F16, DType::BF16] {
        assert!(device().supports_dtype(dtype), "{dtype:?} on the CPU");
        let setup = Setup::cpu(dtype);
        let problem = rounded(plan.fill(&mut Random::new(19)), &setup);
        let context = format!("{dtype:?}, {plan:?}");
        let got = setup.run(&problem);
        assert_close(&got, &problem.solve(), dtype, &context);
    }
}

/// bf16 holds every whole number up to 256, f16 up to 2048: fractions are lost before that.
#[test]
fn positions_are_right_on_large_maps() {
    check(Plan::new(1, [2, 3], [3, 700]));
    check(Plan::new(1, [2, 3], [2_500, 2]));
}

#[test]
fn large_offsets_are_right() {
    let mut plan = Plan::new(1, [2, 3], [5, 600]);
    plan.offsets = Offsets::Within(300);
    check(plan);
}

#[test]
fn large_dilations_are_right() {
    let mut plan = Plan::new(1, [2, 3], [4, 640]);
    plan.options.dilation = [1, 300];
    check(plan);
}

/// 576 terms for an element of the output, 2 x 30 x 30 for one of the weight's gradient.
#[test]
fn long_sums_are_right() {
    check(Plan::new(2, [64, 16], [30, 30]));
}

#[test]
fn chunked_sums_are_right() {
    let mut plan = Plan::new(2, [16, 8], [30, 30]);
    plan.options.column_budget = 10_000;
    plan.options.offset_groups = 2;
    check(plan);
}
