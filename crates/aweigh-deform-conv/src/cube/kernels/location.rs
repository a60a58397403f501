//! Where the taps of a tile of positions sample the map.

use cubecl::prelude::*;

use super::arguments::{Chunk, Geometry};

/// Bit of [`Locations::inside`].
pub(crate) const NOT_A_NUMBER: u32 = 16;

/// The sampling locations of a tile, one for each of its rows.
#[derive(CubeType)]
pub(crate) struct Locations<P: Float> {
    pub(crate) image: Shared<[usize]>,
    /// Index of the upper left pixel in its image; may lie outside.
    pub(crate) pixel: Shared<[i32]>,
    /// Bit `i` says whether corner `i` lies inside, [`NOT_A_NUMBER`] that the position is none.
    pub(crate) inside: Shared<[u32]>,
    /// Distance from the upper left pixel, in [0, 1).
    pub(crate) y: Shared<[P]>,
    pub(crate) x: Shared<[P]>,
    pub(crate) mask: Shared<[P]>,
}

/// The work of a cube.
#[derive(CubeType)]
pub(crate) struct Tile {
    /// First position, counted from the first of the chunk.
    pub(crate) start: usize,
    pub(crate) group: usize,
    pub(crate) tap: usize,
}

/// Which tile a cube takes: taps change first, because those of one position read the same pixels.
#[cube]
pub(crate) fn tile(geometry: &Geometry, #[comptime] rows: usize) -> Tile {
    let rest = CUBE_POS / geometry.taps;
    Tile {
        start: rest / geometry.offset_groups * rows,
        group: rest % geometry.offset_groups,
        tap: CUBE_POS % geometry.taps,
    }
}

/// Index of a value in a tensor `[B, channels, H', W']`, by its strides: rows may be padded, and
/// offsets of a convolution have their channels last in memory.
#[cube]
pub(crate) fn index<F: Float>(
    map: &Tensor<F>,
    position: usize,
    channel: usize,
    geometry: &Geometry,
) -> usize {
    let rest = position % geometry.positions;
    position / geometry.positions * map.stride(0)
        + channel * map.stride(1)
        + rest / geometry.out_width * map.stride(2)
        + rest % geometry.out_width * map.stride(3)
}

/// One of [`Locations`].
#[derive(CubeType)]
struct Location<P: Float> {
    pixel: i32,
    inside: u32,
    y: P,
    x: P,
}

/// The pixels around (y, x), and its distance from the first of them.
#[cube]
fn find<P: Float>(y: P, x: P, geometry: &Geometry) -> Location<P> {
    let top = y.floor();
    let left = x.floor();
    // Compared as floating point, so that what is not finite or does not fit an integer is never
    // converted to one.
    let mut inside = 0u32;
    let mut upper_left = 0i32;
    let mut below = P::new(0.0);
    let mut beside = P::new(0.0);
    if top >= P::new(-1.0)
        && top < P::cast_from(geometry.height as i32)
        && left >= P::new(-1.0)
        && left < P::cast_from(geometry.width as i32)
    {
        let height = geometry.height as i32;
        let width = geometry.width as i32;
        let top = i32::cast_from(top);
        let left = i32::cast_from(left);
        upper_left = top * width + left;
        below = y - y.floor();
        beside = x - x.floor();
        // Compared again as integers: a compiler may assume that no value is NaN.
        let up = top >= 0 && top < height;
        let down = top >= -1 && top < height - 1;
        let before = left >= 0 && left < width;
        let after = left >= -1 && left < width - 1;
        inside = select(up && before, 1u32, 0u32)
            + select(up && after, 2u32, 0u32)
            + select(down && before, 4u32, 0u32)
            + select(down && after, 8u32, 0u32);
    }
    // A diverged offset shows in the output.
    if f32::cast_from(y).is_nan() || f32::cast_from(x).is_nan() {
        inside = comptime!(NOT_A_NUMBER);
        below = y + x;
    }
    Location::<P> {
        pixel: upper_left,
        inside,
        y: below,
        x: beside,
    }
}

/// Sets the modulation of a tile's rows, which are 1 without a mask.
///
/// The unit that set a row to 1 is the one that sets it here, so that no barrier is needed between.
#[cube]
fn modulate<F: Float, P: Float>(
    mask: ComptimeOption<&Tensor<F>>,
    modulation: &mut Shared<[P]>,
    geometry: &Geometry,
    chunk: &Chunk,
    tile: &Tile,
    #[comptime] rows: usize,
) {
    let channel = tile.group * geometry.taps + tile.tap;
    #[comptime]
    match mask {
        ComptimeOption::Some(mask) => {
            for row in range_stepped(UNIT_POS as usize, rows, CUBE_DIM as usize) {
                if tile.start + row < chunk.count {
                    let position = chunk.first + tile.start + row;
                    let at = index::<F>(mask, position, channel, geometry);
                    modulation[row] = P::cast_from(mask[at]);
                }
            }
        }
        ComptimeOption::None => {}
    }
}

/// Finds the sampling locations of a tile and waits until all are there.
#[cube]
pub(crate) fn locate<F: Float, P: Float>(
    offset: &Tensor<F>,
    mask: ComptimeOption<&Tensor<F>>,
    geometry: &Geometry,
    chunk: &Chunk,
    tile: &Tile,
    #[comptime] rows: usize,
) -> Locations<P> {
    let mut image = Shared::<[usize]>::new_slice(rows);
    let mut pixel = Shared::<[i32]>::new_slice(rows);
    let mut inside = Shared::<[u32]>::new_slice(rows);
    let mut along_y = Shared::<[P]>::new_slice(rows);
    let mut along_x = Shared::<[P]>::new_slice(rows);
    let mut modulation = Shared::<[P]>::new_slice(rows);

    let channel = tile.group * geometry.taps + tile.tap;
    let tap_y = tile.tap / geometry.kernel_width * geometry.dilation_y;
    let tap_x = tile.tap % geometry.kernel_width * geometry.dilation_x;
    for row in range_stepped(UNIT_POS as usize, rows, CUBE_DIM as usize) {
        if tile.start + row < chunk.count {
            let position = chunk.first + tile.start + row;
            let out_y = position % geometry.positions / geometry.out_width;
            let out_x = position % geometry.positions % geometry.out_width;
            let at = index::<F>(offset, position, 2 * channel, geometry);
            // In the type of sums: f16 counts pixels no further than 2048, bf16 than 256.
            let y = P::cast_from((out_y * geometry.stride_y + tap_y) as i32 - geometry.padding_y)
                + P::cast_from(offset[at]);
            let x = P::cast_from((out_x * geometry.stride_x + tap_x) as i32 - geometry.padding_x)
                + P::cast_from(offset[at + offset.stride(1)]);
            let location = find::<P>(y, x, geometry);
            image[row] = position / geometry.positions;
            pixel[row] = location.pixel;
            inside[row] = location.inside;
            along_y[row] = location.y;
            along_x[row] = location.x;
            modulation[row] = P::new(1.0);
        }
    }
    modulate::<F, P>(mask, &mut modulation, geometry, chunk, tile, rows);
    sync_cube();
    Locations::<P> {
        image,
        pixel,
        inside,
        y: along_y,
        x: along_x,
        mask: modulation,
    }
}

/// Whether a corner lies inside.
#[cube]
fn is_inside<P: Float>(locations: &Locations<P>, row: usize, #[comptime] corner: u32) -> bool {
    locations.inside[row] & comptime!(1u32 << corner) != 0
}

/// Index of a corner in its image. Of a corner outside it is none, and nobody may use it: half of
/// such corners lie before the first pixel, where the conversion wraps around.
#[cube]
fn corner_pixel<P: Float>(
    locations: &Locations<P>,
    row: usize,
    width: usize,
    #[comptime] corner: usize,
) -> usize {
    let down = comptime!(corner / 2) * width;
    let right = comptime!(corner % 2);
    (locations.pixel[row] + (down + right) as i32) as usize
}

/// Modulated bilinear weight of a corner; 0 outside.
#[cube]
fn corner_weight<P: Float>(locations: &Locations<P>, row: usize, #[comptime] corner: u32) -> P {
    let one = P::new(1.0);
    let y = if comptime!(corner / 2 == 1) {
        locations.y[row]
    } else {
        one - locations.y[row]
    };
    let x = if comptime!(corner % 2 == 1) {
        locations.x[row]
    } else {
        one - locations.x[row]
    };
    select(
        is_inside::<P>(locations, row, corner),
        y * x * locations.mask[row],
        P::new(0.0),
    )
}

/// What a lane needs to know of the location of its row, out of shared memory once and for all
/// channels.
#[derive(CubeType)]
pub(crate) struct Corners<P: Float> {
    pub(crate) image: usize,
    /// Of each corner (upper left, upper right, lower left, lower right): whether it lies inside,
    /// its modulated weight, and its index in its image.
    pub(crate) inside: Sequence<bool>,
    pub(crate) weights: Sequence<P>,
    pub(crate) pixels: Sequence<usize>,
}

/// The corners of a row's location.
#[cube]
pub(crate) fn corners<P: Float>(
    locations: &Locations<P>,
    row: usize,
    geometry: &Geometry,
) -> Corners<P> {
    let mut inside = Sequence::<bool>::new();
    let mut weights = Sequence::<P>::new();
    let mut pixels = Sequence::<usize>::new();
    #[unroll]
    for corner in 0..4usize {
        inside.push(is_inside::<P>(locations, row, comptime!(corner as u32)));
        weights.push(corner_weight::<P>(locations, row, comptime!(corner as u32)));
        pixels.push(corner_pixel::<P>(locations, row, geometry.width, corner));
    }
    Corners::<P> {
        image: locations.image[row],
        inside,
        weights,
        pixels,
    }
}

/// Index of each corner's first vector in a map of pixels at equal distances.
#[cube]
pub(crate) fn starts<P: Float>(
    corners: &Corners<P>,
    image: usize,
    stride: usize,
) -> Sequence<usize> {
    let mut starts = Sequence::<usize>::new();
    #[unroll]
    for corner in 0..4usize {
        starts.push(image + corners.pixels[corner] * stride);
    }
    starts
}
