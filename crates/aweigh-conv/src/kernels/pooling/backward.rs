//! The gradient of a maximum pooling.

use std::mem::MaybeUninit;
use std::slice;

use super::PoolSizes;
use crate::kernels::planes::for_planes;
use crate::kernels::threads::Shared;

/// Gradient of [`forward`](super::forward): each pixel's is the sum of those of the windows whose
/// maximum it is, in their order.
///
/// # Panics
///
/// When a length does not fit the sizes, or a tap leads out of the plane.
pub(crate) fn backward(sizes: &PoolSizes, grad: &[f32], taps: &[u8], out: &mut [MaybeUninit<f32>]) {
    sizes.check(out.len(), grad.len());
    assert_eq!(taps.len(), grad.len());
    let (from, to) = (sizes.pixels_out(), sizes.pixels_in());
    let out = Shared::new(out);
    for_planes(
        sizes.planes,
        to,
        || (),
        |(), range| {
            for plane in range {
                let values = plane * from..(plane + 1) * from;
                // SAFETY: a plane of the output, which no other job has; zeros are valid.
                let out = unsafe {
                    let out = out.get().add(plane * to);
                    out.write_bytes(0, to);
                    slice::from_raw_parts_mut(out.cast::<f32>(), to)
                };
                scatter(sizes, &grad[values.clone()], &taps[values], out);
            }
        },
    );
}

/// Adds the gradients of a plane's windows to the pixels that they took.
fn scatter(sizes: &PoolSizes, grad: &[f32], taps: &[u8], out: &mut [f32]) {
    let [_, width] = sizes.output();
    let at = |tap: usize| tap / sizes.kernel[1] * sizes.input[1] + tap % sizes.kernel[1];
    let places: [usize; 256] = std::array::from_fn(at);
    let back = sizes.padding[0] * sizes.input[1] + sizes.padding[1];
    let windows = grad
        .chunks_exact(width.max(1))
        .zip(taps.chunks_exact(width.max(1)));
    for (i, (grad, taps)) in windows.enumerate() {
        let row = i * sizes.stride[0] * sizes.input[1];
        for (j, (grad, tap)) in grad.iter().zip(taps).enumerate() {
            out[row + j * sizes.stride[1] + places[usize::from(*tap)] - back] += grad;
        }
    }
}
