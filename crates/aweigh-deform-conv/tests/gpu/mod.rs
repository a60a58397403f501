//! The CubeCL implementation on whatever wgpu finds, such as Mesa's lavapipe. Without an adapter
//! there is nothing to run on and the tests say so.

mod run;
mod sweep;

use aweigh_deform_conv::DeformConvOptions;
use aweigh_testkit::Report;
use burn::tensor::DType;

use crate::naive::Problem;
use crate::parity::{compare, deform_cases, problem};
use crate::support::{Layout, Offsets, Plan, Random, Setup, assert_close};

use run::{every_choice, needed_part, run, setup};

fn check(setup: &Setup, problem: &Problem, context: &str) {
    let context = format!("{context} in {:?}", setup.dtype);
    assert_close(
        &run(setup, problem),
        &problem.solve(),
        setup.dtype,
        &context,
    );
}

#[test]
fn parity_deform_on_wgpu() {
    let Some(setup) = setup(DType::F32) else {
        return;
    };
    for case in deform_cases() {
        let problem = problem(&case);
        let mut report = Report::new(&case);
        compare(&case, &mut report, &run(&setup, &problem), DType::F32);
        report.finish();
    }
}

/// Through autodiff and, as it is compiled in, fusion.
#[test]
fn a_tracked_call_equals_the_definition() {
    let Some(setup) = setup(DType::F32) else {
        return;
    };
    let plan = Plan::new(2, [8, 4], [7, 9]);
    let problem = plan.fill(&mut Random::new(3));
    let found = setup.run(&problem);
    assert_close(&found, &problem.solve(), DType::F32, "a tracked call");
}

#[test]
fn only_needed_gradients_are_computed() {
    let Some(setup) = setup(DType::F32) else {
        return;
    };
    let mut plan = Plan::new(2, [8, 4], [7, 9]);
    plan.bias = false;
    plan.options.column_budget = 20_000;
    let problem = plan.fill(&mut Random::new(5));
    let all = problem.solve();
    for needs in every_choice() {
        let found = run::gradients(&setup, &problem, needs);
        let expected = needed_part(&all, needs);
        assert_close(&found, &expected, DType::F32, &format!("{needs:?}"));
    }
}

/// Products large enough for Burn to choose their kernels: over chunks, in parts, in groups.
#[test]
fn tuned_products_equal_the_definition() {
    let Some(setup) = setup(DType::F32) else {
        return;
    };
    let mut plan = Plan::new(2, [16, 16], [48, 48]);
    plan.bias = false;
    check(&setup, &plan.fill(&mut Random::new(7)), "in parts");
    plan.options.weight_groups = 2;
    check(&setup, &plan.fill(&mut Random::new(8)), "in groups");
    plan.options.weight_groups = 1;
    plan.options.column_budget = 3 << 20;
    check(&setup, &plan.fill(&mut Random::new(9)), "in chunks");
}

/// The input gradient is added up in `f64` only where the device does so atomically.
#[test]
fn double_precision_equals_the_definition() {
    let Some(setup) = setup(DType::F64) else {
        return;
    };
    let mut plan = Plan::new(2, [12, 6], [9, 8]);
    plan.bias = false;
    let problem = plan.fill(&mut Random::new(23));
    let (found, expected) = (run(&setup, &problem), problem.solve());
    let single = crate::naive::Outcome {
        grad_input: expected.grad_input.clone(),
        ..found.clone()
    };
    assert_close(&single, &expected, DType::F64, "f64");
    assert_close(&found, &expected, DType::F32, "f64");
}

/// Largest difference over the largest value.
fn relative(found: &[f64], expected: &[f64]) -> f64 {
    let largest = expected
        .iter()
        .fold(1e-3, |max: f64, value| max.max(value.abs()));
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f64::max) / largest
}

/// Positions and sums are wider than the tensors' type. Columns and their gradients are rounded to
/// it, by up to half a unit of 11 bits; so are the results.
#[test]
fn half_precision_equals_the_definition() {
    let Some(setup) = setup(DType::F16) else {
        return;
    };
    let mut plans = [
        Plan::new(2, [16, 8], [30, 30]),
        Plan::new(1, [2, 3], [3, 2_500]),
        Plan::new(2, [12, 6], [9, 8]),
    ];
    plans[0].options.column_budget = 10_000;
    plans[1].offsets = Offsets::Within(300);
    plans[2].options.weight_groups = 2;
    for mut plan in plans {
        plan.bias = false;
        let problem = run::rounded(plan.fill(&mut Random::new(19)), &setup);
        let (found, expected) = (run(&setup, &problem), problem.solve());
        for ((name, found), (_, expected)) in found.parts().into_iter().zip(expected.parts()) {
            let error = relative(found, expected);
            assert!(error < 1.0 / 1024.0, "{name} is off by {error}, {plan:?}");
        }
    }
}

/// Positions that no integer holds are outside of the map, like any other far position.
#[test]
fn offsets_beyond_integers_give_zeros() {
    let Some(setup) = setup(DType::F32) else {
        return;
    };
    let mut problem = Plan::new(2, [6, 4], [7, 5]).fill(&mut Random::new(11));
    let extreme = [
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::from(f32::MAX),
        f64::from(f32::MIN),
        2_147_483_648.0,
        -2_147_483_648.0,
        4_294_967_296.0,
        1e19,
    ];
    for (i, offset) in problem.offset.iter_mut().enumerate().step_by(3) {
        *offset = extreme[i / 3 % extreme.len()];
    }
    check(&setup, &problem, "extreme offsets");
}

/// A run that has diverged shows it, and only where it has.
#[test]
fn offsets_that_are_not_a_number_reach_their_output() {
    let Some(setup) = setup(DType::F32) else {
        return;
    };
    let mut problem = Plan::new(1, [6, 4], [7, 5]).fill(&mut Random::new(29));
    let positions: usize = problem.output().into_iter().product();
    let diverged = 17;
    problem.offset[4 * positions + diverged] = f64::NAN;
    for (i, value) in run(&setup, &problem).output.into_iter().enumerate() {
        assert_eq!(value.is_nan(), i % positions == diverged, "output[{i}]");
    }
}
