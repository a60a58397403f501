//! The same bits with any number of threads, and in every run.

use burn::tensor::DType;

use crate::naive::Outcome;
use crate::support::{Plan, Random, Setup};

/// Runs in a thread pool of its own.
fn run(plan: &Plan, dtype: DType, threads: usize) -> Outcome {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("a thread pool");
    pool.install(|| {
        assert_eq!(rayon::current_num_threads(), threads);
        Setup::cpu(dtype).run(&plan.fill(&mut Random::new(5)))
    })
}

fn check(plan: &Plan) {
    for dtype in [DType::F32, DType::F64, DType::F16] {
        let one = run(plan, dtype, 1);
        for threads in [1, 2, 3] {
            assert!(
                one == run(plan, dtype, threads),
                "{threads} threads, {dtype:?}, {plan:?}"
            );
        }
    }
}

#[test]
fn results_do_not_depend_on_threads() {
    let plan = Plan::new(2, [24, 20], [31, 27]);
    check(&plan);
    for column_budget in [1, 50_000, 400_000] {
        let mut small = plan.clone();
        small.options.column_budget = column_budget;
        check(&small);
    }
    let mut grouped = plan;
    grouped.options.weight_groups = 2;
    grouped.options.offset_groups = 3;
    grouped.mask = false;
    check(&grouped);
}
