//! Launches of the kernels.
//!
//! Kernels run without bounds checks, so a launch is an `unsafe` block; each says why every index
//! of its kernel lies inside the memory that it binds. What all of them rest on: sizes come from
//! shapes that [`Sizes`](crate::options::Sizes) has checked, strides from the tensors' own
//! metadata, and a kernel leaves cubes and rows beyond the chunk alone.

mod copies;

use std::ops::Range;

use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::{
    calculate_cube_count_elemwise,
    features::AtomicUsage,
    ir::{AddressType, ElemType, Type},
    prelude::{CubeCount, CubeDim},
};

pub(super) use copies::{add_parts, convert, join_groups, small_product, to_rows};

use super::kernels::{
    self, AtomicAdd, ChunkLaunch, ColumnsAfter, ExchangeAdd, GeometryLaunch, NativeAdd,
};
use super::layout::{Call, Pixels};
use super::plan::gcd;

/// Units of a cube on devices that allow as many.
const UNITS: usize = 256;

/// Most lanes over the channels of a row: as many as a plane of most devices has units.
const LANES: usize = 32;

/// Rows of a tile, where lanes are not so few that a cube holds more at a time.
const ROWS: usize = 32;

/// Bytes of shared memory that a place takes beside its three numbers.
const PLACE_BYTES: usize = 16;

/// How values are added to the input gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Adds {
    /// Vectors of this many numbers, by one atomic instruction each.
    Native(usize),
    /// Numbers, by compare-and-swap.
    Exchange,
}

impl Adds {
    /// The widest atomic addition among `sizes`, which are vector sizes that the channels divide
    /// into.
    fn choose(call: &Call, dtype: DType, sizes: impl Iterator<Item = usize>) -> Self {
        let element = dtype_to_storage_type(dtype);
        let native = |size: &usize| {
            let cell = Type::atomic(element.with_vector_size(*size));
            let usage = call.client.properties().atomic_type_usage(cell);
            usage.contains(AtomicUsage::Add)
        };
        sizes
            .chain([1])
            .find(native)
            .map_or(Self::Exchange, Self::Native)
    }
}

/// Type that the input gradient is added up in: that of sums, if the device adds it atomically.
pub(super) fn accumulator(call: &Call) -> DType {
    match Adds::choose(call, call.wide(), std::iter::empty()) {
        Adds::Native(_) => call.wide(),
        Adds::Exchange => DType::F32,
    }
}

/// Where a call samples.
#[derive(Clone, Copy)]
pub(super) struct Sampling<'a> {
    pub(super) call: &'a Call,
    pub(super) offset: &'a CubeTensor,
    pub(super) mask: Option<&'a CubeTensor>,
}

/// Memory of the gradients that are wanted.
pub(super) struct Gradients<'a> {
    /// Rows of the accumulated input gradient, and the image that they start with.
    pub(super) x: Option<(&'a CubeTensor, usize)>,
    pub(super) offset: Option<&'a CubeTensor>,
    pub(super) mask: Option<&'a CubeTensor>,
}

/// Shape of the cubes that sample.
struct Cube {
    dim: CubeDim,
    count: CubeCount,
    lanes: usize,
    rows: usize,
}

impl Cube {
    /// For `vectors` per row and so many sums over them.
    fn new(call: &Call, chunk: &Range<usize>, vectors: usize, sums: usize) -> Self {
        let hardware = &call.client.properties().hardware;
        let units = UNITS.min(hardware.max_units_per_cube as usize).max(1);
        let lanes = vectors
            .next_power_of_two()
            .min(LANES)
            .min(1 << units.ilog2());
        let slots = units / lanes;
        let number = call.wide().size();
        let bytes = |rows: usize| rows * (PLACE_BYTES + 3 * number + sums * (lanes + 1) * number);
        let mut rows = ROWS.max(slots);
        while rows > 1 && bytes(rows) > hardware.max_shared_memory_size {
            rows /= 2;
        }
        let dim = CubeDim::new_2d(lanes as u32, slots.min(rows) as u32);
        let cubes = chunk.len().div_ceil(rows) * call.sizes.taps() * call.options.offset_groups;
        Self {
            dim,
            count: cube_count(call, cubes, dim),
            lanes,
            rows,
        }
    }
}

/// So many cubes over as many dimensions as it takes.
fn cube_count(call: &Call, cubes: usize, dim: CubeDim) -> CubeCount {
    calculate_cube_count_elemwise(&call.client, cubes * dim.num_elems() as usize, dim)
}

/// Vector sizes, widest first, that the channels of a weight group and of an offset group, the
/// input's strides and the device allow.
fn vector_sizes(call: &Call, pixels: &Pixels) -> impl Iterator<Item = usize> {
    let strides = pixels.strides;
    let offset_channels = call.sizes.channels_in / call.options.offset_groups;
    let common = match strides.channel {
        1 => [offset_channels, strides.image, strides.pixel]
            .into_iter()
            .fold(call.group_channels(), gcd),
        _ => 1,
    };
    call.client
        .io_optimized_vector_sizes(call.dtype.size())
        .filter(move |size| common.is_multiple_of(*size))
        .collect::<Vec<_>>()
        .into_iter()
}

fn address_type<'a>(tensors: impl IntoIterator<Item = &'a CubeTensor>) -> AddressType {
    let types = tensors.into_iter().map(CubeTensor::required_address_type);
    types.max().unwrap_or_default()
}

fn element(dtype: DType) -> ElemType {
    dtype_to_storage_type(dtype)
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

fn chunk_args(
    call: &Call,
    pixels: &Pixels,
    chunk: &Range<usize>,
    size: usize,
    first_gradient_image: usize,
) -> ChunkLaunch {
    let strides = pixels.strides;
    ChunkLaunch::new(
        chunk.start,
        chunk.len(),
        pixels.first_image,
        first_gradient_image,
        strides.image / size,
        strides.pixel / size,
        strides.channel,
        call.sizes.channels_in / call.options.offset_groups / size,
    )
}

/// Fills `columns` with the columns of a chunk.
pub(super) fn sample(
    sampling: Sampling,
    pixels: &Pixels,
    columns: &CubeTensor,
    chunk: &Range<usize>,
) {
    let Sampling { call, offset, mask } = sampling;
    let size = vector_sizes(call, pixels).next().unwrap_or(1);
    let vectors = call.sizes.channels_in / call.options.offset_groups / size;
    let cube = Cube::new(call, chunk, vectors, 0);
    let address = address_type([&pixels.tensor, offset, columns].into_iter().chain(mask));
    let weight_vectors = call.group_channels() / size;
    // SAFETY: a corner is read only if it lies in the map, and the map's images of this chunk are
    // in `pixels`; offsets and masks have a value for every position, tap and group; `columns`
    // holds `chunk.len()` positions; the vector size divides every length and stride.
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
            chunk_args(call, pixels, chunk, size, 0),
            cube.rows,
            [element(call.dtype), element(call.wide())],
        );
    }
}

/// The backward pass of a chunk, whose column gradients are in `columns`.
pub(super) fn backward(
    sampling: Sampling,
    pixels: &Pixels,
    columns: (&CubeTensor, ColumnsAfter),
    chunk: &Range<usize>,
    gradients: &Gradients,
    forced: Option<Adds>,
) {
    let mut sizes = vector_sizes(sampling.call, pixels);
    // Without atomic addition of vectors, lanes take single channels: then the additions of a
    // plane go to neighbouring addresses, which memory controllers merge.
    let adds = match (gradients.x, forced) {
        (None, _) => Adds::Native(sizes.next().unwrap_or(1)),
        (Some(_), Some(adds)) => adds,
        (Some((x, _)), None) => Adds::choose(sampling.call, x.dtype, sizes),
    };
    match adds {
        Adds::Native(size) => {
            backward_with::<NativeAdd>(sampling, pixels, columns, chunk, gradients, size);
        }
        Adds::Exchange => {
            backward_with::<ExchangeAdd>(sampling, pixels, columns, chunk, gradients, 1);
        }
    }
}

fn backward_with<Add: AtomicAdd>(
    sampling: Sampling,
    pixels: &Pixels,
    (columns, after): (&CubeTensor, ColumnsAfter),
    chunk: &Range<usize>,
    gradients: &Gradients,
    size: usize,
) {
    let Sampling { call, offset, mask } = sampling;
    let vectors = call.sizes.channels_in / call.options.offset_groups / size;
    let sums = 2 * usize::from(gradients.offset.is_some()) + usize::from(gradients.mask.is_some());
    let cube = Cube::new(call, chunk, vectors, sums);
    let (grad_x, first_image) = gradients.x.unzip();
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
            chunk_args(call, pixels, chunk, size, first_image.unwrap_or(0)),
            after,
            cube.rows,
            cube.lanes,
            [call.dtype, call.wide(), sum_type].map(element),
        );
    }
}
