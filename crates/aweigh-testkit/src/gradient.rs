//! Numerical gradients.

/// Central differences of a scalar function: `(f(x + h e_i) - f(x - h e_i)) / 2h` for each `i`.
pub fn finite_difference(f: impl Fn(&[f64]) -> f64, x: &[f64], step: f64) -> Vec<f64> {
    let mut point = x.to_vec();
    (0..x.len())
        .map(|i| {
            point[i] = x[i] + step;
            let above = f(&point);
            point[i] = x[i] - step;
            let below = f(&point);
            point[i] = x[i];
            (above - below) / (2.0 * step)
        })
        .collect()
}
