//! Comparison of a run with its golden, stage by stage.

use burn::tensor::Tensor;

use crate::Case;

/// Largest accepted difference: `absolute + relative * |wanted|`, per element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Part that does not depend on the value.
    pub absolute: f64,
    /// Part proportional to the wanted value.
    pub relative: f64,
}

impl Tolerance {
    /// A tolerance with both parts.
    pub const fn new(absolute: f64, relative: f64) -> Self {
        Self { absolute, relative }
    }
}

/// Collects the stages of one case, fails at the first stage out of tolerance, and prints the
/// largest error of each kind of tensor.
#[derive(Debug)]
pub struct Report<'a> {
    case: &'a Case,
    stages: Vec<(String, f64)>,
}

impl<'a> Report<'a> {
    /// Starts the comparison of one case.
    pub fn new(case: &'a Case) -> Self {
        let stages = Vec::new();
        Self { case, stages }
    }

    /// Compares a tensor with the stored tensor `wanted`, shape included (a stored scalar equals
    /// a tensor of one element).
    ///
    /// # Panics
    ///
    /// When shapes differ or an element is out of tolerance.
    pub fn tensor<const D: usize>(&mut self, got: Tensor<D>, wanted: &str, tolerance: Tolerance) {
        let mut shape = self.case.shape(wanted);
        if shape.is_empty() {
            shape.push(1);
        }
        let name = &self.case.name;
        assert_eq!(
            got.dims().as_slice(),
            shape,
            "{name}: shape of `{wanted}`, got (left) against golden (right)"
        );
        let values: Vec<f64> = got.into_data().iter::<f64>().collect();
        self.close(wanted, &values, &self.case.f64s(wanted), tolerance);
    }

    /// Compares two slices element by element. `stage` names them in messages; the part before
    /// its last `/` groups the printed errors.
    ///
    /// # Panics
    ///
    /// When lengths differ or an element is out of tolerance (or not finite where the wanted one
    /// is).
    pub fn close(&mut self, stage: &str, got: &[f64], wanted: &[f64], tolerance: Tolerance) {
        let name = &self.case.name;
        assert_eq!(got.len(), wanted.len(), "{name}: length of `{stage}`");
        let mut worst = 0.0_f64;
        for (i, (g, w)) in got.iter().zip(wanted).enumerate() {
            let error = if g == w { 0.0 } else { (g - w).abs() };
            let limit = tolerance.absolute + tolerance.relative * w.abs();
            assert!(
                error <= limit,
                "{name}: `{stage}`[{i}] is {g}, the golden says {w} (error {error:.3e}, limit {limit:.3e})"
            );
            worst = worst.max(error);
        }
        self.stages.push((stage.to_owned(), worst));
    }

    /// Compares integers exactly.
    ///
    /// # Panics
    ///
    /// When they differ.
    pub fn equal(&mut self, stage: &str, got: &[i64], wanted: &[i64]) {
        let name = &self.case.name;
        assert_eq!(got.len(), wanted.len(), "{name}: length of `{stage}`");
        let differs = got.iter().zip(wanted).position(|(g, w)| g != w);
        if let Some(i) = differs {
            let (g, w) = (got[i], wanted[i]);
            panic!("{name}: `{stage}`[{i}] is {g}, the golden says {w}");
        }
        self.stages.push((stage.to_owned(), 0.0));
    }

    /// Prints the case with the largest error of each group of stages.
    ///
    /// # Panics
    ///
    /// When nothing was compared.
    pub fn finish(self) {
        assert!(
            !self.stages.is_empty(),
            "{}: nothing compared",
            self.case.name
        );
        let mut groups: Vec<(String, f64)> = Vec::new();
        for (stage, error) in self.stages {
            let group = stage.rsplit_once('/').map_or(stage.as_str(), |(g, _)| g);
            match groups.iter_mut().find(|(g, _)| g == group) {
                Some((_, worst)) => *worst = worst.max(error),
                None => groups.push((group.to_owned(), error)),
            }
        }
        let text: Vec<String> = groups.iter().map(|(g, e)| format!("{g} {e:.1e}")).collect();
        println!("parity {}: {}", self.case.name, text.join(", "));
    }
}
