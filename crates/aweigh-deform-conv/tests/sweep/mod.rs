//! Random configurations against the definition.

use aweigh_deform_conv::{DEFAULT_COLUMN_BUDGET, DeformConvOptions};
use burn::tensor::DType;

use crate::naive::Problem;
use crate::support::{Layout, Offsets, Plan, Random, Setup, assert_close};

const CONFIGURATIONS: u64 = 240;
const DTYPES: [DType; 2] = [DType::F32, DType::F64];

/// Runs a problem in both precisions and compares with the definition.
fn check(problem: &Problem, layout: Layout, context: &str) {
    let expected = problem.solve();
    for dtype in DTYPES {
        let setup = Setup {
            layout,
            ..Setup::cpu(dtype)
        };
        let context = format!("{context} in {dtype:?}");
        assert_close(&setup.run(problem), &expected, dtype, &context);
    }
}

fn random_plan(random: &mut Random) -> Plan {
    let weight_groups = random.pick(&[1, 1, 1, 2, 3]);
    let offset_groups = random.pick(&[1, 1, 1, 2, 3, 4]);
    let per_group = match weight_groups * offset_groups {
        1 => random.pick(&[1, 2, 3, 5, 8, 17, 33]),
        2 | 3 => random.pick(&[1, 2, 3, 5]),
        _ => random.between(1, 2),
    };
    let channels_in = weight_groups * offset_groups * per_group;
    let channels_out = weight_groups * random.between(1, 5);
    let kernel = random.pick(&[[1, 1], [3, 3], [3, 3], [1, 3], [3, 2], [2, 5]]);
    let mut pair = |low, high| [random.between(low, high), random.between(low, high)];
    let (stride, padding, dilation) = (pair(1, 3), pair(0, 3), pair(1, 3));
    let size = pair(1, 9);
    let input = [0, 1].map(|axis| {
        let window = dilation[axis] * (kernel[axis] - 1) + 1;
        size[axis].max(window.saturating_sub(2 * padding[axis]))
    });
    Plan {
        batch: random.between(1, 3),
        channels: [channels_in, channels_out],
        input,
        kernel,
        options: DeformConvOptions {
            stride,
            padding,
            dilation,
            weight_groups,
            offset_groups,
            column_budget: random.pick(&[1, 500, 4_000, 30_000, DEFAULT_COLUMN_BUDGET]),
        },
        offsets: random.pick(&[
            Offsets::Zero,
            Offsets::Half,
            Offsets::Within(2),
            Offsets::Within(2),
            Offsets::Within(8),
            Offsets::Outside,
        ]),
        mask: random.pick(&[false, true]),
        bias: random.pick(&[false, true]),
    }
}

#[test]
fn random_configurations_equal_the_definition() {
    let layouts = [Layout::Contiguous, Layout::Permuted, Layout::Sliced];
    for seed in 0..CONFIGURATIONS {
        let mut random = Random::new(seed);
        let plan = random_plan(&mut random);
        let layout = random.pick(&layouts);
        let problem = plan.fill(&mut random);
        check(
            &problem,
            layout,
            &format!("seed {seed}, {plan:?}, {layout:?}"),
        );
    }
}

/// Makes every tensor repeat its first element, so that it can be a view that does.
fn repeat_first(problem: &mut Problem) {
    let batch = problem.batch;
    let repeat = |values: &mut Vec<f64>, count: usize| {
        values.truncate(values.len() / count);
        *values = values.repeat(count);
    };
    repeat(&mut problem.x, batch);
    repeat(&mut problem.offset, batch);
    repeat(&mut problem.weight, problem.channels[1]);
    if let Some(mask) = &mut problem.mask {
        repeat(mask, batch);
    }
    problem.grad.fill(1.0);
}

#[test]
fn expanded_tensors_equal_the_definition() {
    for seed in 0..20 {
        let mut random = Random::new(1_000 + seed);
        let plan = random_plan(&mut random);
        let mut problem = plan.fill(&mut random);
        repeat_first(&mut problem);
        check(
            &problem,
            Layout::Expanded,
            &format!("seed {seed}, {plan:?}"),
        );
    }
}

/// A map of which every row of taps is a chunk of its own, and one with more channels than any
/// vector register holds.
#[test]
fn many_chunks_equal_the_definition() {
    for column_budget in [1, 3_000, 100_000] {
        let mut plan = Plan::new(2, [40, 7], [23, 19]);
        plan.options.column_budget = column_budget;
        let problem = plan.fill(&mut Random::new(7));
        check(&problem, Layout::Contiguous, &format!("{plan:?}"));
    }
}

/// Positions that no integer holds are outside of the map, like any other far position.
#[test]
fn offsets_beyond_integers_give_zeros() {
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
    check(&problem, Layout::Contiguous, "extreme offsets");
}

/// A run that has diverged shows it, and only where it has.
#[test]
fn offsets_that_are_not_a_number_reach_their_output() {
    let mut problem = Plan::new(1, [6, 4], [7, 5]).fill(&mut Random::new(29));
    let positions: usize = problem.output().into_iter().product();
    let diverged = 17;
    problem.offset[4 * positions + diverged] = f64::NAN;
    let output = Setup::cpu(DType::F32).run(&problem).output;
    for (i, value) in output.into_iter().enumerate() {
        assert_eq!(value.is_nan(), i % positions == diverged, "output[{i}]");
    }
}

#[test]
fn every_tap_on_one_pixel() {
    let mut plan = Plan::new(3, [5, 3], [1, 1]);
    for offsets in [Offsets::Zero, Offsets::Half, Offsets::Within(2)] {
        plan.offsets = offsets;
        let problem = plan.fill(&mut Random::new(13));
        check(&problem, Layout::Contiguous, &format!("{plan:?}"));
    }
}
