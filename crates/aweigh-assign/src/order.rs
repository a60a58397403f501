//! First and last indices, as tensors.
//!
//! The choice of an argmin among equals depends on the backend; the smallest and the largest index
//! among equals do not.

use burn::tensor::{Bool, Device, Int, Tensor};

/// Index of the first element along `dim` that is not excluded; the length where all are.
pub(crate) fn first(excluded: Tensor<3, Bool>, dim: usize) -> Tensor<3, Int> {
    let full = excluded.dims();
    indices(full[dim], dim, &excluded.device())
        .expand(full)
        .mask_fill(excluded, full[dim] as i64)
        .min_dim(dim)
}

/// Index of the last element along `dim` that is not excluded; -1 where all are.
pub(crate) fn last(excluded: Tensor<3, Bool>, dim: usize) -> Tensor<3, Int> {
    let full = excluded.dims();
    indices(full[dim], dim, &excluded.device())
        .expand(full)
        .mask_fill(excluded, -1)
        .max_dim(dim)
}

/// `0..count` along `dim`, of length 1 along the other dimensions.
pub(crate) fn indices(count: usize, dim: usize, device: &Device) -> Tensor<3, Int> {
    let mut shape = [1; 3];
    shape[dim] = count;
    Tensor::<1, Int>::arange(0..count as i64, device).reshape(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::device;

    #[test]
    fn ends_of_what_is_left() {
        let (t, f) = (true, false);
        let excluded = [[[t, f, f], [t, t, t]]];
        let excluded = Tensor::<3, Bool>::from_data(excluded, &device());
        let check = |found: Tensor<3, Int>, expected: &[i64]| {
            let found: Vec<i64> = found.into_data().iter::<i64>().collect();
            assert_eq!(found, expected);
        };
        check(first(excluded.clone(), 2), &[1, 3]);
        check(last(excluded.clone(), 2), &[2, -1]);
        check(first(excluded.clone(), 1), &[2, 0, 0]);
        check(last(excluded, 1), &[-1, 0, 0]);
    }
}
