//! Random configurations.

use super::*;

const CONFIGURATIONS: u64 = 200;

/// Groups of the weight and of offsets, channels in and out. Few, because they choose the kernels
/// to compile: vectors of four, two and one channels, rows of few and of many of them.
const CHANNELS: [([usize; 2], [usize; 2]); 8] = [
    ([1, 1], [12, 6]),
    ([1, 1], [13, 5]),
    ([1, 1], [136, 8]),
    ([1, 1], [1, 1]),
    ([2, 1], [12, 10]),
    ([1, 2], [12, 7]),
    ([2, 4], [16, 6]),
    ([3, 2], [12, 9]),
];

fn random_plan(random: &mut Random) -> Plan {
    let ([weight_groups, offset_groups], channels) = random.pick(&CHANNELS);
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
        channels,
        input,
        kernel,
        options: DeformConvOptions {
            stride,
            padding,
            dilation,
            weight_groups,
            offset_groups,
            column_budget: random.pick(&[1, 4_000, 30_000, 64 << 20]),
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
        bias: false,
    }
}

#[test]
fn random_configurations_equal_the_definition() {
    let Some(setup) = setup(DType::F32) else {
        return;
    };
    for seed in 0..CONFIGURATIONS {
        let mut random = Random::new(seed);
        let plan = random_plan(&mut random);
        let layout = random.pick(&[Layout::Contiguous, Layout::Permuted, Layout::Sliced]);
        let problem = plan.fill(&mut random);
        let setup = Setup {
            layout,
            ..setup.clone()
        };
        let context = format!("seed {seed}, {plan:?}, {layout:?}");
        check(&setup, &problem, &context);
    }
}

/// Tensors whose elements repeat along the first axis.
#[test]
fn expanded_tensors_equal_the_definition() {
    let Some(setup) = setup(DType::F32) else {
        return;
    };
    let setup = Setup {
        layout: Layout::Expanded,
        ..setup
    };
    for (groups, channels) in CHANNELS {
        let mut plan = Plan::new(3, channels, [6, 5]);
        plan.options.weight_groups = groups[0];
        plan.options.offset_groups = groups[1];
        plan.bias = false;
        let mut problem = plan.fill(&mut Random::new(31));
        repeat_first(&mut problem);
        check(&setup, &problem, &format!("{plan:?}"));
    }
}

fn repeat_first(problem: &mut Problem) {
    let (batch, outputs) = (problem.batch, problem.channels[1]);
    let repeat = |values: &mut Vec<f64>, count: usize| {
        values.truncate(values.len() / count);
        *values = values.repeat(count);
    };
    repeat(&mut problem.x, batch);
    repeat(&mut problem.offset, batch);
    repeat(&mut problem.weight, outputs);
    repeat(&mut problem.grad, batch);
    problem.mask.iter_mut().for_each(|mask| repeat(mask, batch));
}
