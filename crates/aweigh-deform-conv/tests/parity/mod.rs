//! Every golden case of the group `deform_*`.

use aweigh_deform_conv::DeformConvOptions;
use aweigh_testkit::{Case, Report, cases, understand};
use burn::tensor::{DType, module::conv2d, ops::ConvOptions};
use serde_json::Value;

use crate::naive::{Outcome, Problem};
use crate::support::{Setup, tolerance, values_of};

/// Keys of a note that describe how the case was made and hold no option.
const DESCRIPTION: [&str; 12] = [
    "kind",
    "seed",
    "source",
    "layout",
    "f32_vs_f64_max_abs",
    "integer_positions",
    "note",
    "name",
    "file",
    "versions",
    "not_finite",
    "tensors",
];

/// Options of a case; `offset_std` and `kind` say how the stored offsets were drawn.
const OPTIONS: [&str; 15] = [
    "n",
    "cin",
    "cout",
    "h",
    "w",
    "k",
    "stride",
    "pad",
    "dil",
    "groups",
    "og",
    "mask",
    "bias",
    "offset_std",
    "kind",
];

/// Tensors of a case. mmcv's derivative at whole pixels is another one than torchvision's, which
/// is the one we have: `grad_offset_mmcv` is not compared.
const INPUTS: [&str; 7] = [
    "input",
    "offset",
    "weight",
    "mask",
    "bias",
    "grad_output",
    "grad_offset_mmcv",
];

/// The cases of this group, with every option and tensor understood.
pub(crate) fn deform_cases() -> Vec<Case> {
    let keep = |meta: &Value| meta["kind"] == "deform_conv2d";
    let found = cases(env!("CARGO_MANIFEST_DIR"), keep);
    for case in &found {
        let known: Vec<&str> = DESCRIPTION.iter().chain(&["options"]).copied().collect();
        understand(case, &case.meta, &known);
        understand(case, &case.meta["options"], &OPTIONS);
    }
    found
}

/// The call that a case describes.
///
/// # Panics
///
/// When the options do not fit the stored tensors.
pub(crate) fn problem(case: &Case) -> Problem {
    let number = |key: &str| whole(case, &case.meta["options"][key], key);
    let pair = |key: &str| {
        let value = &case.meta["options"][key];
        [0, 1].map(|axis| whole(case, &value[axis], key))
    };
    let optional = |name: &str| {
        let stored = case.has(name).then(|| case.f64s(name));
        let option = &case.meta["options"][name];
        assert_eq!(option.as_bool(), Some(stored.is_some()), "{}", case.name);
        stored
    };
    let problem = Problem {
        batch: number("n"),
        channels: [number("cin"), number("cout")],
        input: [number("h"), number("w")],
        kernel: pair("k"),
        options: DeformConvOptions {
            stride: pair("stride"),
            padding: pair("pad"),
            dilation: pair("dil"),
            weight_groups: number("groups"),
            offset_groups: number("og"),
            ..DeformConvOptions::default()
        },
        x: case.f64s("input"),
        offset: case.f64s("offset"),
        weight: case.f64s("weight"),
        mask: optional("mask"),
        bias: optional("bias"),
        grad: case.f64s("grad_output"),
    };
    let shapes = [
        ("input", problem.x_shape()),
        ("offset", problem.offset_shape()),
        ("weight", problem.weight_shape()),
        ("grad_output", problem.output_shape()),
    ];
    for (name, shape) in shapes {
        assert_eq!(case.shape(name), shape, "{}: shape of {name}", case.name);
    }
    problem
}

fn whole(case: &Case, value: &Value, key: &str) -> usize {
    let number = value.as_u64().and_then(|number| number.try_into().ok());
    number.unwrap_or_else(|| panic!("{}: {key} holds {value}", case.name))
}

/// Compares a run with the stored results of its precision.
///
/// # Panics
///
/// When they differ, or when a stored tensor is not known.
pub(crate) fn compare(case: &Case, report: &mut Report, outcome: &Outcome, dtype: DType) {
    let suffix = if dtype == DType::F64 { "_f64" } else { "" };
    let parts = outcome.parts();
    for name in case.names("") {
        let part = name.strip_suffix("_f64").unwrap_or(&name);
        let understood = INPUTS.contains(&part) || parts.iter().any(|(known, _)| *known == part);
        assert!(understood, "{}: unknown tensor `{name}`", case.name);
    }
    for (name, values) in parts {
        let stored = format!("{name}{suffix}");
        let golden = case.f64s(&stored);
        report.close(&stored, values, &golden, tolerance(dtype, &golden));
    }
}

#[test]
fn parity_definition() {
    for case in deform_cases() {
        let outcome = problem(&case).solve();
        let mut report = Report::new(&case);
        compare(&case, &mut report, &outcome, DType::F64);
        report.finish();
    }
}

#[test]
fn parity_deform() {
    for case in deform_cases() {
        let problem = problem(&case);
        let mut report = Report::new(&case);
        for dtype in [DType::F32, DType::F64] {
            let outcome = Setup::cpu(dtype).run(&problem);
            compare(&case, &mut report, &outcome, dtype);
        }
        report.finish();
    }
}

#[test]
fn parity_zero_offsets_are_a_plain_convolution() {
    for case in deform_cases() {
        let problem = problem(&case);
        let moved = problem.offset.iter().any(|offset| *offset != 0.0);
        if moved || problem.mask.is_some() {
            continue;
        }
        let mut report = Report::new(&case);
        for dtype in [DType::F32, DType::F64] {
            let setup = Setup::cpu(dtype);
            let output = plain_convolution(&setup, &problem);
            let got = setup.run(&problem).output;
            report.close("output", &got, &output, tolerance(dtype, &output));
        }
        report.finish();
    }
}

/// Burn's own convolution of the same input.
fn plain_convolution(setup: &Setup, problem: &Problem) -> Vec<f64> {
    let DeformConvOptions {
        stride,
        padding,
        dilation,
        weight_groups,
        ..
    } = problem.options;
    let bias = problem.bias.as_ref();
    values_of(conv2d(
        setup.tensor(&problem.x, problem.x_shape()),
        setup.tensor(&problem.weight, problem.weight_shape()),
        bias.map(|bias| setup.tensor(bias, [bias.len()])),
        ConvOptions::new(stride, padding, dilation, weight_groups),
    ))
}
