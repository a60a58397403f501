//! Launches of the kernels that sample, forward and backward.

use std::ops::Range;

use burn_cubecl::tensor::CubeTensor;

use super::adds::Adds;
use super::arguments::{address_type, element};
use super::cubes::{Cube, vector_sizes};
use crate::cube::call::Call;
use crate::cube::kernels::{
    self, AtomicAdd, ChunkLaunch, ColumnsAfter, ExchangeAdd, GeometryLaunch, NativeAdd,
};
use crate::cube::layout::Pixels;

/// Where a call samples.
#[derive(Clone, Copy)]
pub(in crate::cube) struct Sampling<'a> {
    pub(in crate::cube) call: &'a Call,
    pub(in crate::cube) offset: &'a CubeTensor,
    pub(in crate::cube) mask: Option<&'a CubeTensor>,
}

/// A chunk of positions: where they sample, what they sample from, and their columns' memory.
pub(in crate::cube) struct SampledChunk<'a> {
    pub(in crate::cube) sampling: Sampling<'a>,
    pub(in crate::cube) pixels: &'a Pixels,
    pub(in crate::cube) columns: &'a CubeTensor,
    pub(in crate::cube) positions: &'a Range<usize>,
}

/// Memory of the gradients that are needed.
pub(in crate::cube) struct Gradients<'a> {
    pub(in crate::cube) x: Option<&'a InputGradient>,
    pub(in crate::cube) offset: Option<&'a CubeTensor>,
    pub(in crate::cube) mask: Option<&'a CubeTensor>,
}

/// Memory that the input gradient of some images is added up in, as rows of channels.
pub(in crate::cube) struct InputGradient {
    pub(in crate::cube) rows: CubeTensor,
    /// Image that the memory starts with.
    pub(in crate::cube) first_image: usize,
}

impl SampledChunk<'_> {
    /// Channels of an offset group.
    fn channels(&self) -> usize {
        let call = self.sampling.call;
        call.sizes.channels_in / call.options.offset_groups
    }

    /// The kernels' view of it, in vectors of `size` channels.
    fn arguments(&self, size: usize, first_gradient_image: usize) -> ChunkLaunch {
        let Pixels {
            strides,
            first_image,
            ..
        } = self.pixels;
        ChunkLaunch::new(
            self.positions.start,
            self.positions.len(),
            *first_image,
            first_gradient_image,
            strides.image / size,
            strides.pixel / size,
            strides.channel,
            self.channels() / size,
        )
    }
}

fn geometry(call: &Call) -> GeometryLaunch {
    let (sizes, options) = (&call.sizes, &call.options);
    GeometryLaunch::new(
        sizes.input[0],
        sizes.input[1],
        sizes.positions(),
        sizes.output[1],
        sizes.taps(),
        sizes.kernel[1],
        options.stride[0],
        options.stride[1],
        options.dilation[0],
        options.dilation[1],
        options.padding[0] as i32,
        options.padding[1] as i32,
        options.offset_groups,
    )
}

/// Fills the columns of a chunk.
pub(in crate::cube) fn sample(chunk: &SampledChunk) {
    let SampledChunk {
        sampling: Sampling { call, offset, mask },
        pixels,
        columns,
        positions,
    } = *chunk;
    let size = vector_sizes(call, pixels).next().unwrap_or(1);
    let cube = Cube::new(call, positions, chunk.channels() / size, 0);
    let address = address_type([&pixels.tensor, offset, columns].into_iter().chain(mask));
    let weight_vectors = call.group_channels() / size;
    // SAFETY: a corner is read only if it lies in the map, and the map's images of this chunk are
    // in `pixels`; offsets and masks have a value for every position, tap and group; `columns`
    // holds as many positions; the vector size divides every length and stride.
    unsafe {
        kernels::sample::launch_unchecked(
            &call.client,
            cube.count,
            cube.dim,
            address,
            size,
            pixels.tensor.clone().into_tensor_arg(),
            offset.clone().into_tensor_arg(),
            mask.map(|mask| mask.clone().into_tensor_arg()).into(),
            columns.clone().into_tensor_arg(),
            weight_vectors,
            weight_vectors,
            geometry(call),
            chunk.arguments(size, 0),
            cube.rows,
            [element(call.dtype), element(call.wide())],
        );
    }
}

/// The backward pass of a chunk, whose column gradients are in its columns. Adds to the input
/// gradient as the device does it best, unless `forced` says how.
pub(in crate::cube) fn backward(
    chunk: &SampledChunk,
    after: ColumnsAfter,
    gradients: &Gradients,
    forced: Option<Adds>,
) {
    let call = chunk.sampling.call;
    let mut sizes = vector_sizes(call, chunk.pixels);
    // Without atomic addition of vectors, lanes take single channels: then the additions of a
    // plane go to neighbouring addresses, which memory controllers merge.
    let adds = match gradients.x {
        None => Adds::Native(sizes.next().unwrap_or(1)),
        Some(x) => forced.unwrap_or_else(|| Adds::choose(call, x.rows.dtype, sizes)),
    };
    match adds {
        Adds::Native(size) => backward_with::<NativeAdd>(chunk, after, gradients, size),
        Adds::Exchange => backward_with::<ExchangeAdd>(chunk, after, gradients, 1),
    }
}

fn backward_with<Add: AtomicAdd>(
    chunk: &SampledChunk,
    after: ColumnsAfter,
    gradients: &Gradients,
    size: usize,
) {
    let SampledChunk {
        sampling: Sampling { call, offset, mask },
        pixels,
        columns,
        positions,
    } = *chunk;
    let sums = 2 * usize::from(gradients.offset.is_some()) + usize::from(gradients.mask.is_some());
    let cube = Cube::new(call, positions, chunk.channels() / size, sums);
    let grad_x = gradients.x.map(|x| &x.rows);
    let first_image = gradients.x.map_or(0, |x| x.first_image);
    let optional = [grad_x, gradients.offset, gradients.mask, mask];
    let tensors = [&pixels.tensor, offset, columns].into_iter();
    let address = address_type(tensors.chain(optional.into_iter().flatten()));
    let weight_vectors = call.group_channels() / size;
    let sum_type = grad_x.map_or(call.wide(), |rows| rows.dtype);
    let arg = |tensor: &CubeTensor| tensor.clone().into_tensor_arg();
    // SAFETY: as for `sample`; the input gradient's rows hold every pixel of the chunk's images,
    // and a corner is added to only if it lies in the map; the offset and mask gradients have
    // their tensors' shapes. Compare-and-swap reinterprets `f32` as `u32`, of the same size.
    unsafe {
        kernels::backward::launch_unchecked::<Add>(
            &call.client,
            cube.count,
            cube.dim,
            address,
            size,
            arg(&pixels.tensor),
            arg(offset),
            mask.map(arg).into(),
            arg(columns),
            grad_x.map(arg).into(),
            gradients.offset.map(arg).into(),
            gradients.mask.map(arg).into(),
            weight_vectors,
            weight_vectors,
            geometry(call),
            chunk.arguments(size, first_image),
            after,
            cube.rows,
            cube.lanes,
            [call.dtype, call.wide(), sum_type].map(element),
        );
    }
}
