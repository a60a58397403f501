//! Comparison with torchvision and mmdetection.

mod formula;
mod fpn;
mod options;
mod stored;

use std::collections::BTreeMap;
use std::path::Path;

use aweigh_backbone::NormConfig;
use aweigh_backbone::weights::StateDict;
use aweigh_testkit::module::Named;
use aweigh_testkit::{Case, Report, Tolerance};
use aweigh_weights::{Import, Tensor, Wanted, WeightsFile, recognise};
use burn::module::Module;
use burn::store::{ModuleSnapshot, bridge};
use burn::tensor::TensorData;

/// Keys of every note that say nothing about the model.
const NOTE: [&str; 10] = [
    "kind",
    "name",
    "file",
    "seed",
    "source",
    "note",
    "versions",
    "tensors",
    "noise",
    "max_abs_difference_f32_vs_f64_and_max_abs_value",
];

/// Fails on a key of the note that neither is in [`NOTE`] nor in `known`.
fn understand_note(case: &Case, known: &[&str]) {
    let known: Vec<&str> = NOTE.iter().chain(known).copied().collect();
    aweigh_testkit::understand(case, &case.meta, &known);
}

/// Tensors of the case under `param/`, with names of this crate.
fn parameters(case: &Case, rename: impl Fn(&str) -> String) -> StateDict {
    let tensors = case.names("param/").into_iter().filter_map(|stored| {
        let name = stored.strip_prefix("param/")?;
        let float = !name.ends_with("num_batches_tracked");
        let data = || TensorData::new(case.f32s(&stored), case.shape(&stored));
        float.then(|| (rename(name), data()))
    });
    StateDict::from_tensors(Path::new(&case.name), tensors.collect())
}

/// The backbone in the tensors of the case under `param/`, with the names of its reference.
fn backbone_parameters(case: &Case) -> StateDict {
    StateDict::of_backbone(import(case, |_, stored| case.f32s(stored)))
}

/// The names that the tensors of the case under `param/` have here, by their own.
fn own_names(case: &Case) -> BTreeMap<String, String> {
    // Every value of a tensor is the tensor's place in the list.
    let places = import(case, |place, stored| {
        vec![place as f32; case.f32s(stored).len()]
    });
    let stored = case.names("param/");
    let own = places
        .into_backbone()
        .into_iter()
        .filter_map(|(own, places)| {
            let place = *places.floats()?.first()? as usize;
            Some((stored[place].strip_prefix("param/")?.to_owned(), own))
        });
    own.collect()
}

/// The tensors of the case under `param/` as a file, with the values that `values` gives for the
/// place and the name of each.
fn import(case: &Case, values: impl Fn(usize, &str) -> Vec<f32>) -> Import {
    let stored = case.names("param/").into_iter().enumerate();
    let tensors = stored.filter_map(|(place, stored)| {
        let name = stored.strip_prefix("param/")?.to_owned();
        let float = !name.ends_with("num_batches_tracked");
        float.then(|| {
            let tensor = Tensor::new(case.shape(&stored).to_vec(), values(place, &stored));
            (name, tensor)
        })
    });
    let file = WeightsFile {
        path: case.name.clone().into(),
        tensors: tensors.collect(),
        container: None,
        beside: Vec::new(),
        metadata: BTreeMap::new(),
        python: None,
        sha256: String::new(),
    };
    recognise(file, Wanted::Backbone).unwrap_or_else(|e| panic!("{e}"))
}

/// Running statistics of every batch norm.
fn statistics<M: Module>(module: &M) -> Named {
    let tensors = module.collect(None, None, true).into_iter();
    let running = tensors.filter(|t| t.name.contains("running_"));
    let values = running.map(|t| {
        let data = bridge::to_data(&t).expect("resident data");
        (t.name, data.iter::<f64>().collect())
    });
    values.collect()
}

/// Largest accepted errors, each as a share of the largest value of its tensor: sums over
/// whole maps cancel, so that the error of a small element follows the size of its terms.
#[derive(Debug, Clone, Copy)]
struct Limits {
    outputs: f64,
    gradients: f64,
}

impl Limits {
    /// About four times the difference between f32 and f64 runs of the same narrow network, since
    /// the reference rounds as well.
    fn of(norm: Option<&NormConfig>) -> Self {
        let (outputs, gradients) = match norm {
            None | Some(NormConfig::FrozenBn { .. }) => (5e-6, 2e-5),
            Some(NormConfig::GroupNorm { .. }) => (1e-5, 1e-4),
            // Variances over as few as 4 values in each of 53 layers; the first layers' gradients
            // differ by 2e-3 between f32 and f64.
            Some(NormConfig::BatchNorm) => (4e-4, 8e-3),
        };
        Self { outputs, gradients }
    }
}

/// A share of the largest value.
fn of_largest(values: &[f64], share: f64) -> Tolerance {
    let largest = values.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    Tolerance::new(share * largest.max(1e-3), 0.0)
}

/// A module against its golden, which may call its parameters otherwise.
struct Comparison<'a, F> {
    case: &'a Case,
    limits: Limits,
    /// Name in the module of a tensor of the case.
    rename: F,
}

impl<F: Fn(&str) -> String> Comparison<'_, F> {
    /// Compares every stored `grad/param/` with the gradient of the parameter it belongs to.
    fn gradients(&self, report: &mut Report, got: &Named) {
        let case = self.case;
        for stored in case.names("grad/param/") {
            let name = stored.strip_prefix("grad/param/").expect("the prefix");
            let name = (self.rename)(name);
            let expected = case.f64s(&stored);
            let got = got
                .get(&name)
                .unwrap_or_else(|| panic!("{}: `{name}` has no gradient", case.name));
            let tolerance = of_largest(&expected, self.limits.gradients);
            report.close(&stored, got, &expected, tolerance);
        }
    }

    /// Compares every running statistic: with `after/` where the case stores a change, otherwise
    /// with its start.
    fn statistics(&self, report: &mut Report, got: &Named) {
        let case = self.case;
        for start in case.names("param/") {
            let stored = start.strip_prefix("param/").expect("the prefix");
            if !stored.contains("running_") {
                continue;
            }
            let after = format!("after/{stored}");
            let expected = case.f64s(if case.has(&after) { &after } else { &start });
            let got = &got[&(self.rename)(stored)];
            let tolerance = of_largest(&expected, self.limits.outputs);
            report.close(&after, got, &expected, tolerance);
        }
    }
}
