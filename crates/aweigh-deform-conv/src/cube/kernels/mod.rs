//! Kernels. This module uses CubeCL alone, so that it can be compiled without Burn.
//!
//! A *sampling location* is where one (position, tap, offset group) samples the map: four pixels
//! and how they are mixed. A cube takes a tile of neighbouring positions at one tap of one offset
//! group. Each of its units finds locations, one per row of the tile, so that neighbouring units
//! read neighbouring offsets, and leaves them in shared memory. After the barrier the cube is a
//! grid: `CUBE_DIM_X` lanes walk the channels of a row, `CUBE_DIM_Y` rows are under way at a time.
//! So a location is computed once however many channels use it, and neighbouring lanes read and
//! write neighbouring channels.
//!
//! Every unit of a cube must reach every barrier. A cube beyond the chunk ends as a whole, before
//! the first one; rows beyond the chunk are passed over instead.
//!
//! Lengths and strides over channels count vectors of `N` channels. `F` is the tensors' type, `P`
//! that of positions and sums, `A` that of the accumulated input gradient.

mod arguments;
mod atomic;
mod columns;
mod copies;
mod gradients;
mod location;
mod product;
mod sums;

pub(crate) use arguments::*;
pub(crate) use atomic::*;
pub(crate) use columns::*;
pub(crate) use copies::*;
pub(crate) use gradients::*;
pub(crate) use product::*;
