//! CubeCL implementation: one source for wgpu, CUDA, ROCm and Metal.
//!
//! Maps are read as rows of channels, so that neighbouring units read neighbouring channels; a map
//! that lies in memory otherwise is copied. Positions are processed in chunks that fit the budget:
//!
//! ```text
//! forward   to_rows(x) -> sample -> out = columns x W^T
//! backward  to_rows(x), to_rows(d out) -> d columns = d out x W
//!                  -> backward: adds to d x, writes d offset and d mask,
//!                               d columns become columns
//!                  -> d W += d out^T x columns
//! ```
//!
//! Columns are `[weight group][position][tap][channel of the group]`. Products are Burn's, which
//! picks a kernel for each size by measuring; those too small for that to pay are ours.
//!
//! # Bytes moved
//!
//! At `[2, 256, 100, 152]`, 3x3, 256 -> 256, in `f32` with a mask: the maps of input and output
//! hold 31.1 MB each, offsets 2.2, masks 1.1, columns 280.2 (never all at a time). Between device
//! memory and the chip, in MB:
//!
//! | kernel | reads | writes | total | least |
//! |---|---|---|---|---|
//! | `to_rows`, input or output gradient; none if channels lie last | 31.1 | 31.1 | 62.3 | 62.3 |
//! | `sample` | input 31.1, offset 2.2, mask 1.1 | columns 280.2 | 314.6 | 314.6 |
//! | `backward` | d columns 280.2, input 31.1, offset and mask 3.3, d input 31.1 | columns 280.2, d offset and d mask 3.3, d input 31.1 | 660.3 | 629.2 |
//!
//! `backward` moves 5 % more than the least because the input gradient starts as zeros in memory,
//! which it reads; writing them takes another 31.1. The table counts every map once. A sample reads
//! four pixels of 1 KB, 1120.7 MB in all, but neighbouring samples share pixels, tiles at work at
//! the same time read the same neighbourhood, and a map of 15.6 MB fits the last-level cache of a
//! data-centre GPU whole. The four additions per sampled channel, 280.2 million of them, are
//! carried out in the same cache; those of weight 0 are left out.
//!
//! # Peak memory
//!
//! Beside its results a call allocates the columns of one chunk, the copies above (the input's for
//! as many images as fit with their columns, the output gradient's for one chunk), the weight with
//! its channels last and up to four parts of its gradient; [`plan`] keeps the sum under the budget.
//! Columns take the place of their gradients, so that there is one such buffer.

mod backward;
mod call;
mod forward;
mod kernels;
#[allow(unsafe_code, reason = "kernels run without bounds checks")]
mod launch;
mod layout;
mod plan;
mod product;
mod reading;
#[cfg(test)]
mod tests;

use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;

use crate::call::CheckedCall;
use crate::ops::{DeformConvGradients, DeformConvOps, DeformConvTensors, NeedsGrad};

use backward::Backward;
use call::Call;
use launch::Sampling;

impl DeformConvOps for CubeBackend {
    fn deform_conv_forward(
        tensors: DeformConvTensors<Self>,
        call: CheckedCall,
    ) -> FloatTensor<Self> {
        let call = Call::new(&tensors, call);
        let mask = tensors.mask.into_option();
        let sampling = Sampling {
            call: &call,
            offset: &tensors.offset,
            mask: mask.as_ref(),
        };
        forward::run(sampling, &tensors.x, tensors.weight)
    }

    fn deform_conv_backward(
        tensors: DeformConvTensors<Self>,
        grad: FloatTensor<Self>,
        call: CheckedCall,
        needs: NeedsGrad,
    ) -> DeformConvGradients<Self> {
        tensors.expect_gradient(&grad, &call);
        let call = Call::new(&tensors, call);
        let mask = tensors.mask.into_option();
        let backward = Backward {
            sampling: Sampling {
                call: &call,
                offset: &tensors.offset,
                mask: mask.as_ref(),
            },
            x: &tensors.x,
            grad: &grad,
            needs: needs.with_mask(mask.is_some()),
            forced_adds: None,
        };
        backward.run(tensors.weight)
    }
}
