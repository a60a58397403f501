//! COCO evaluation against pycocotools.

use aweigh_testkit::{Case, Report, Tolerance, cases, understand};
use aweigh_train::evaluation::{EvalOptions, Evaluation, evaluate};
use serde_json::Value;

/// Both sides compute in f64; they may only sum the same numbers in another order.
const FIGURES: Tolerance = Tolerance::new(1e-9, 0.0);
/// The stored curves are rounded to f32, which moves values of at most 1 by at most 2^-25.
const CURVES: Tolerance = Tolerance::new(3e-8, 0.0);

const STATS: [&str; 12] = [
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
];
const CLASS_FIGURES: [&str; 7] = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR"];

#[test]
fn evaluations_equal_pycocotools() {
    for case in cases(env!("CARGO_MANIFEST_DIR"), |meta| {
        meta["kind"] == "cocoeval"
    }) {
        let beside = |key: &str| case.dir.join(case.meta[key].as_str().expect("a file name"));
        let detections = beside("detections");
        let evaluation = evaluate(
            &beside("annotations"),
            detections.as_path(),
            &options(&case),
        )
        .unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let mut report = Report::new(&case);
        stats(&mut report, &case, &evaluation);
        classes(&mut report, &case, &evaluation);
        curves(&mut report, &case, &evaluation);
        report.finish();
    }
}

fn options(case: &Case) -> EvalOptions {
    let params = &case.meta["params"];
    understand(case, params, &["imgIds", "catIds", "maxDets", "useCats"]);
    let areas = serde_json::json!(["all", "small", "medium", "large"]);
    assert_eq!(case.meta["area_ranges"], areas, "{}", case.name);
    let ids = |key: &str| list(&params[key], |v| v.as_i64().expect("ids"));
    let limits = list(&params["maxDets"], |v| {
        v.as_u64().expect("a limit") as usize
    });
    EvalOptions {
        img_ids: ids("imgIds"),
        cat_ids: ids("catIds"),
        max_dets: limits.unwrap_or(EvalOptions::default().max_dets),
        headline_dets: EvalOptions::default().headline_dets,
        use_cats: match &params["useCats"] {
            Value::Null => true,
            Value::Bool(flag) => *flag,
            flag => flag.as_u64().expect("useCats as 0 or 1") != 0,
        },
    }
}

/// The items of a JSON list, or nothing for an absent one.
fn list<T>(value: &Value, item: impl Fn(&Value) -> T) -> Option<Vec<T>> {
    match value {
        Value::Null => None,
        value => Some(value.as_array().expect("a list").iter().map(item).collect()),
    }
}

/// Named numbers of a JSON object, in the order of `names`.
fn numbers(object: &Value, names: &[&str]) -> Vec<f64> {
    let number = |name: &&str| object[*name].as_f64().expect("a number");
    names.iter().map(number).collect()
}

fn stats(report: &mut Report, case: &Case, evaluation: &Evaluation) {
    let got = evaluation.stats.to_array();
    let named = numbers(&case.meta["stats"], &STATS);
    report.close("stats", &got, &named, FIGURES);
    report.close("stats", &got, &case.f64s("stats"), FIGURES);
    let limits = list(&case.meta["max_dets"], |v| v.as_u64().expect("a limit"));
    let used = evaluation.options.max_dets.iter().map(|n| *n as u64);
    assert_eq!(limits, Some(used.collect()), "{}", case.name);
}

fn classes(report: &mut Report, case: &Case, evaluation: &Evaluation) {
    let rows = &evaluation.per_class;
    // pycocotools gives pooled categories the id -1.
    let id = |id: Option<i64>| id.unwrap_or(-1);
    let ids: Vec<i64> = rows.iter().map(|row| id(row.category_id)).collect();
    let integer = |v: &Value| v.as_i64().expect("an id");
    let expected = list(&case.meta["category_order"], integer).expect("an order");
    report.equal("classes", &ids, &expected);
    let per_class = case.meta["per_class"].as_array().expect("rows");
    for (row, expected) in rows.iter().zip(per_class) {
        assert_eq!(id(row.category_id), integer(&expected["category_id"]));
        let got = [
            row.ap,
            row.ap50,
            row.ap75,
            row.ap_small,
            row.ap_medium,
            row.ap_large,
            row.ar,
        ];
        let stage = format!("per class/{}", row.name);
        report.close(&stage, &got, &numbers(expected, &CLASS_FIGURES), FIGURES);
    }
}

/// The stored precision and scores are at the last limit, the scores at area `all`.
fn curves(report: &mut Report, case: &Case, evaluation: &Evaluation) {
    let curves = &evaluation.curves;
    let (shape, last) = (curves.shape, curves.shape.m - 1);
    let at_last = |values: &[f64]| -> Vec<f64> {
        values.iter().skip(last).step_by(shape.m).copied().collect()
    };
    let (t, r, k, a, m) = (shape.t, shape.r, shape.k, shape.a, shape.m);
    let precision = at_last(&curves.precision); // [T, R, K, A]
    assert_eq!(case.shape("precision"), [t, r, k, a], "{}", case.name);
    report.close("precision", &precision, &case.f64s("precision"), CURVES);
    assert_eq!(case.shape("recall"), [t, k, a, m], "{}", case.name);
    report.close("recall", &curves.recall, &case.f64s("recall"), CURVES);
    let scores: Vec<f64> = at_last(&curves.scores).into_iter().step_by(a).collect(); // [T, R, K]
    assert_eq!(case.shape("scores"), [t, r, k], "{}", case.name);
    report.close("scores", &scores, &case.f64s("scores"), CURVES);
}
