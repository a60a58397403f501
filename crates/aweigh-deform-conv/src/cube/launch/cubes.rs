//! The cubes that sample, and how many channels a unit takes at a time.

use std::ops::Range;

use cubecl::prelude::{CubeCount, CubeDim};

use super::arguments::cube_count;
use crate::cube::call::Call;
use crate::cube::layout::{Pixels, gcd};

/// Units of a cube on devices that allow as many.
const UNITS: usize = 256;

/// Most lanes over the channels of a row: as many as a plane of most devices has units.
const LANES: usize = 32;

/// Rows of a tile, where lanes are not so few that a cube holds more at a time.
const ROWS: usize = 32;

/// Bytes of shared memory that a sampling location takes beside its three numbers.
const LOCATION_BYTES: usize = 16;

/// Shape of the cubes that sample.
pub(super) struct Cube {
    pub(super) dim: CubeDim,
    pub(super) count: CubeCount,
    pub(super) lanes: usize,
    pub(super) rows: usize,
}

impl Cube {
    /// For `vectors` per row and so many sums over them.
    pub(super) fn new(call: &Call, chunk: &Range<usize>, vectors: usize, sums: usize) -> Self {
        let hardware = &call.client.properties().hardware;
        let units = UNITS.min(hardware.max_units_per_cube as usize).max(1);
        // A power of two, so that lanes times slots are the units; no more than have channels.
        let lanes = vectors
            .next_power_of_two()
            .min(LANES)
            .min(1 << units.ilog2());
        let slots = units / lanes;
        let number = call.wide().size();
        // What a cube must hold: a location for every row, and a share of every lane in every sum.
        let bytes =
            |rows: usize| rows * (LOCATION_BYTES + 3 * number + sums * (lanes + 1) * number);
        let mut rows = ROWS.max(slots);
        while rows > 1 && bytes(rows) > hardware.max_shared_memory_size {
            rows /= 2;
        }
        let dim = CubeDim::new_2d(lanes as u32, slots.min(rows) as u32);
        let cubes = chunk.len().div_ceil(rows) * call.sizes.taps() * call.options.offset_groups;
        Self {
            dim,
            count: cube_count(&call.client, cubes, dim),
            lanes,
            rows,
        }
    }
}

/// Vector sizes, widest first, that the channels of a weight group and of an offset group, the
/// input's strides and the device allow.
pub(super) fn vector_sizes(call: &Call, pixels: &Pixels) -> impl Iterator<Item = usize> {
    let strides = pixels.strides;
    let offset_channels = call.sizes.channels_in / call.options.offset_groups;
    // The channels of a vector share a location and a matrix of the weight, so none crosses the
    // border of a group; and kernels count in vectors, so every stride is a number of them.
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
