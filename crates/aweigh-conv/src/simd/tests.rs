use super::*;

/// Every function of a set on the same values; what it stores is compared with plain Rust.
struct Everything {
    a: [f32; 32],
    b: [f32; 32],
}

type Results = Vec<(&'static str, Vec<f32>)>;

impl Kernel for Everything {
    type Output = Results;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Results {
        // SAFETY: all pointers are those of arrays that are long enough.
        unsafe {
            let (a, b) = (S::load(self.a.as_ptr()), S::load(self.b.as_ptr()));
            let c = S::load(self.a[LANES..].as_ptr());
            let mut found: Results = Vec::new();
            let mut keep = |name, v: &[S::V]| {
                let mut values = vec![0.0; v.len() * LANES];
                for (i, v) in v.iter().enumerate() {
                    S::store(values[i * LANES..].as_mut_ptr(), *v);
                }
                found.push((name, values));
            };
            keep("splat", &[S::splat(self.a[3])]);
            keep("add", &[S::add(a, b)]);
            keep("sub", &[S::sub(a, b)]);
            keep("mul", &[S::mul(a, b)]);
            keep("div", &[S::div(a, S::splat(0.5))]);
            keep("max", &[S::max(a, b)]);
            keep("min", &[S::min(a, b)]);
            keep("scale_exp2", &[S::scale_exp2(b, S::mul(a, S::splat(96.0)))]);
            keep("mul_add", &[S::mul_add(a, b, c)]);
            keep("neg_mul_add", &[S::neg_mul_add(a, b, c)]);
            keep("relu", &[S::relu(a)]);
            keep("where_positive", &[S::where_positive(a, b)]);
            keep("select_positive", &[S::select_positive(a, b, c)]);
            keep("take_larger", &S::take_larger([a, b], [b, c]));
            keep("evens", &[S::evens(a, b)]);
            keep("odds", &[S::odds(a, b)]);
            keep("interleave", &S::interleave(a, b));
            keep("sum", &[S::splat(S::sum(a))]);
            for count in 0..=LANES + 1 {
                keep("load_first", &[S::load_first(self.a.as_ptr(), count)]);
                keep("load_up_to", &[S::load_up_to(self.a.as_ptr(), count)]);
                let between = S::load_between(self.a.as_ptr(), 3, count);
                keep("load_between", &[between]);
                let mut values = [7.0; LANES];
                S::store_first(values.as_mut_ptr(), a, count);
                keep("store_first", &[S::load(values.as_ptr())]);
            }
            let rows: Vec<f32> = (0..256).map(|i| i as f32).collect();
            let rows = std::array::from_fn(|i| S::load(rows[i * LANES..].as_ptr()));
            keep("transpose", &S::transpose(rows));
            found
        }
    }
}

/// What [`Everything`] finds.
fn expected(a: &[f32; 32], b: &[f32; 32]) -> Results {
    let map = |f: &dyn Fn(usize) -> f32| (0..LANES).map(f).collect::<Vec<f32>>();
    let both: Vec<f32> = a[..LANES].iter().chain(&b[..LANES]).copied().collect();
    let every_second = |from: usize| both[from..].iter().step_by(2).copied().collect::<Vec<_>>();
    let sum: f32 = a[..LANES].iter().sum();
    let mut all: Results = vec![
        ("splat", vec![a[3]; LANES]),
        ("add", map(&|i| a[i] + b[i])),
        ("sub", map(&|i| a[i] - b[i])),
        ("mul", map(&|i| a[i] * b[i])),
        ("div", map(&|i| a[i] * 2.0)),
        ("max", map(&|i| a[i].max(b[i]))),
        ("min", map(&|i| a[i].min(b[i]))),
        (
            "scale_exp2",
            map(&|i| (f64::from(b[i]) * (96.0 * f64::from(a[i])).exp2()) as f32),
        ),
        ("mul_add", map(&|i| a[i] * b[i] + a[LANES + i])),
        ("neg_mul_add", map(&|i| a[LANES + i] - a[i] * b[i])),
        ("relu", map(&|i| a[i].max(0.0))),
        (
            "where_positive",
            map(&|i| if a[i] > 0.0 { b[i] } else { 0.0 }),
        ),
        (
            "select_positive",
            map(&|i| if a[i] > 0.0 { b[i] } else { a[LANES + i] }),
        ),
        (
            "take_larger",
            [
                map(&|i| a[i].max(b[i])),
                map(&|i| if b[i] > a[i] { a[LANES + i] } else { b[i] }),
            ]
            .concat(),
        ),
        ("evens", every_second(0)),
        ("odds", every_second(1)),
        (
            "interleave",
            (0..LANES).flat_map(|i| [a[i], b[i]]).collect(),
        ),
        ("sum", vec![sum; LANES]),
    ];
    for count in 0..=LANES + 1 {
        let first = |rest: f32| map(&|i| if i < count { a[i] } else { rest });
        all.push(("load_first", first(0.0)));
        all.push(("load_up_to", first(0.0)));
        let between = |i: usize| if (3..count).contains(&i) { a[i] } else { 0.0 };
        all.push(("load_between", map(&between)));
        all.push(("store_first", first(7.0)));
    }
    let transposed = (0..256).map(|i| (i % LANES * LANES + i / LANES) as f32);
    all.push(("transpose", transposed.collect()));
    all
}

#[test]
fn every_set_computes_what_plain_rust_does() {
    // Small multiples of 1/4: all sums and products are exact.
    let a = std::array::from_fn(|i| (i as f32 * 7.0 % 11.0 - 5.0) * 0.25);
    let b = std::array::from_fn(|i| (i as f32 * 5.0 % 13.0 - 6.0) * 0.25);
    for set in InstructionSet::available() {
        // SAFETY: the machine has the set.
        let found = unsafe { set.run(Everything { a, b }) };
        for (found, expected) in found.iter().zip(&expected(&a, &b)) {
            assert_eq!(found, expected, "{set}");
        }
    }
}

#[test]
fn a_value_that_is_not_a_number_is_passed_on() {
    struct Pass;
    impl Kernel for Pass {
        type Output = [f32; 7];

        #[inline(always)]
        unsafe fn run<S: Simd>(self) -> [f32; 7] {
            // SAFETY: the machine has the set.
            unsafe {
                let (nan, one) = (S::splat(f32::NAN), S::splat(1.0));
                let [larger, _] = S::take_larger([one, one], [nan, one]);
                let [kept, _] = S::take_larger([nan, one], [one, one]);
                [
                    S::sum(S::relu(nan)),
                    S::sum(S::max(one, nan)),
                    S::sum(S::min(one, nan)),
                    S::sum(larger),
                    S::sum(kept),
                    S::sum(S::where_positive(nan, nan)),
                    S::sum(S::select_positive(nan, nan, one)),
                ]
            }
        }
    }
    for set in InstructionSet::available() {
        // SAFETY: the machine has the set.
        let found = unsafe { set.run(Pass) };
        assert!(found.iter().all(|v| v.is_nan()), "{set}: {found:?}");
    }
}
