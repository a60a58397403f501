//! Maximum pooling and upsampling of tensors.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::choice::is_ours;
use crate::ops::LayerOps;
use crate::plain;

/// Options of a maximum pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool {
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// From window to window, down and across.
    pub stride: [usize; 2],
    /// Rows and columns around the map that no maximum is in.
    pub padding: [usize; 2],
}

impl MaxPool {
    /// Whether the kernels take it: places in a window are kept as bytes, and each window has one.
    fn is_small(&self) -> bool {
        let [kernel, padding] = [self.kernel, self.padding];
        let inside = (0..2).all(|axis| padding[axis] < kernel[axis]);
        inside && kernel[0].saturating_mul(kernel[1]) <= 256
    }
}

/// The maximum of each window.
///
/// # Shapes
///
/// `[B, C, H, W]` to `[B, C, H', W']` with `H' = (H + 2 * padding - kernel) / stride + 1`.
pub fn max_pool2d(x: Tensor<4>, pool: MaxPool) -> Tensor<4> {
    if is_ours(&x) && pool.is_small() {
        return Tensor::from_dispatch(Dispatch::max_pool(x.into_dispatch(), pool));
    }
    plain::max_pool2d(x, pool)
}

/// `fine + coarse`, the coarse map made as large by taking the value of the nearest point:
/// `floor(i * h / H)`.
///
/// # Shapes
///
/// `fine` and the result are `[B, C, H, W]`, `coarse` is `[B, C, h, w]`.
///
/// # Panics
///
/// When the images or channels differ.
pub fn upsample_add(fine: Tensor<4>, coarse: Tensor<4>) -> Tensor<4> {
    let planes = |x: &Tensor<4>| -> [usize; 2] {
        let [batch, channels, _, _] = x.dims();
        [batch, channels]
    };
    assert_eq!(planes(&fine), planes(&coarse), "sum of two levels");
    if is_ours(&fine) {
        let (fine, coarse) = (fine.into_dispatch(), coarse.into_dispatch());
        return Tensor::from_dispatch(Dispatch::upsample_add(fine, coarse));
    }
    plain::upsample_add(fine, coarse)
}
