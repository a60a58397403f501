//! Training sets of mmdetection within their wrappers.

use std::path::Path;

use aweigh_train::config::Experiment;
use aweigh_train::config::mmdet::{self, Imported, MmdetError};

use super::mmdet_configs::text;

/// `fsaf_r50.py` with another training set, in which `SET` stands for its own.
fn with_train_set(wrapped: &str) -> Result<Imported, MmdetError> {
    let text = text("fsaf_r50.py");
    let loader = text.find("\ntrain_dataloader").expect("a loader");
    let start = loader + text[loader..].find("dataset=dict(").expect("a dataset") + 8;
    let mut depth = 0;
    let end = text[start..].find(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ')' && depth == 0
    });
    let end = start + end.expect("balanced") + 1;
    let wrapped = wrapped.replace("SET", &text[start..end]);
    let text = [&text[..start], &wrapped, &text[end..]].concat();
    mmdet::experiment(&text, Path::new("w.pth"))
}

#[test]
fn wrapped_training_sets_become_lists_repeats_and_sampling() {
    let check = |wrapped: &str, epochs: usize, repeats: &[usize], thr: Option<f64>| {
        let imported = with_train_set(wrapped).unwrap_or_else(|e| panic!("{e}"));
        let data = &imported.experiment.data;
        assert_eq!(imported.experiment.train.epochs, Some(epochs), "{wrapped}");
        let found: Vec<usize> = data.train.all().iter().map(|split| split.repeat).collect();
        assert_eq!(found, repeats, "{wrapped}");
        assert_eq!(data.sampling.oversample_thr, thr, "{wrapped}");
        let toml = imported.to_toml();
        let read = Experiment::parse("x", &toml, &[]).unwrap_or_else(|e| panic!("{e}\n{toml}"));
        assert_eq!(read, imported.experiment, "{toml}");
    };
    check("SET", 12, &[1], None);
    check(
        "dict(type='ConcatDataset', ignore_keys=['x'], datasets=[SET, SET])",
        12,
        &[1, 1],
        None,
    );
    let twice = "dict(type='RepeatDataset', times=2, dataset=SET)";
    check(
        &format!("dict(type='ConcatDataset', datasets=[SET, {twice}])"),
        12,
        &[1, 2],
        None,
    );
    check(
        "dict(type='RepeatDataset', times=3, dataset=dict(type='ConcatDataset', datasets=[SET, \
         SET]))",
        36,
        &[1, 1],
        None,
    );
    check(
        "dict(type='ClassBalancedDataset', oversample_thr=0.001, dataset=SET)",
        12,
        &[1],
        Some(0.001),
    );
    check(
        &format!("dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset={twice})"),
        24,
        &[1],
        Some(0.1),
    );
}

#[test]
fn wrappers_that_mean_something_else_are_refused() {
    let check = |wrapped: &str, expected: &str| {
        let error = with_train_set(wrapped).expect_err(expected).to_string();
        assert!(
            error.starts_with("w.pth: `train_dataloader.dataset"),
            "{error}"
        );
        assert!(error.ends_with(expected), "{error}");
    };
    let balanced = "dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=SET)";
    check(
        &format!("dict(type='ConcatDataset', datasets=[SET, {balanced}])"),
        "within a list, datasets without `ClassBalancedDataset` are known",
    );
    check(
        "dict(type='ConcatDataset', datasets=[])",
        "expected a list of datasets",
    );
    check(
        "dict(type='ClassBalancedDataset', dataset=SET)",
        "`train_dataloader.dataset.oversample_thr` is absent: a value is needed",
    );
    check(
        "dict(type='ClassBalancedDataset', oversample_thr=0.1, filter_empty_gt=False, \
         dataset=SET)",
        "only True is known",
    );
    let other = "dict(type='CocoDataset', ann_file='b.json', pipeline=[dict(type='LoadImageFromFile'), \
                 dict(type='LoadAnnotations', with_bbox=True), dict(type='Resize', scale=(1333, 640), \
                 keep_ratio=True), dict(type='PackDetInputs')])";
    check(
        &format!("dict(type='ConcatDataset', datasets=[SET, {other}])"),
        "known: the steps of the first dataset",
    );
    check(
        "dict(type='LVISV1Dataset', ann_file='a.json')",
        "known: CocoDataset, RepeatDataset, ClassBalancedDataset, ConcatDataset",
    );
}
