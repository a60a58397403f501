//! Where the taps of a tile of positions sample the map.

use cubecl::prelude::*;

use super::{Chunk, Geometry};

/// Bit of [`Places::inside`].
pub(crate) const NOT_A_NUMBER: u32 = 16;

/// The places of a tile.
#[derive(CubeType)]
pub(crate) struct Places<P: Float> {
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

/// Index of a value in a tensor `[B, channels, H', W']`.
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

/// Finds the places of a tile and waits until all are there.
#[cube]
pub(crate) fn locate<F: Float, P: Float>(
    offset: &Tensor<F>,
    mask: ComptimeOption<&Tensor<F>>,
    geometry: &Geometry,
    chunk: &Chunk,
    tile: &Tile,
    #[comptime] rows: usize,
) -> Places<P> {
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
            let y = P::cast_from((out_y * geometry.stride_y + tap_y) as i32 - geometry.padding_y)
                + P::cast_from(offset[at]);
            let x = P::cast_from((out_x * geometry.stride_x + tap_x) as i32 - geometry.padding_x)
                + P::cast_from(offset[at + offset.stride(1)]);
            let top = y.floor();
            let left = x.floor();

            // Compared as floating point, so that what is not finite or does not fit an integer
            // is never converted to one.
            let mut corners = 0u32;
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
                corners = select(up && before, 1u32, 0u32)
                    + select(up && after, 2u32, 0u32)
                    + select(down && before, 4u32, 0u32)
                    + select(down && after, 8u32, 0u32);
            }
            // A diverged offset shows in the output.
            if f32::cast_from(y).is_nan() || f32::cast_from(x).is_nan() {
                corners = comptime!(NOT_A_NUMBER);
                below = y + x;
            }
            image[row] = position / geometry.positions;
            pixel[row] = upper_left;
            inside[row] = corners;
            along_y[row] = below;
            along_x[row] = beside;
            modulation[row] = P::new(1.0);
        }
    }
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
    sync_cube();
    Places::<P> {
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
fn is_inside<P: Float>(places: &Places<P>, row: usize, #[comptime] corner: u32) -> bool {
    places.inside[row] & comptime!(1u32 << corner) != 0
}

/// Index of a corner in its image.
#[cube]
fn corner_pixel<P: Float>(
    places: &Places<P>,
    row: usize,
    width: usize,
    #[comptime] corner: usize,
) -> usize {
    let down = comptime!(corner / 2) * width;
    let right = comptime!(corner % 2);
    (places.pixel[row] + (down + right) as i32) as usize
}

/// Modulated bilinear weight of a corner; 0 outside.
#[cube]
fn corner_weight<P: Float>(places: &Places<P>, row: usize, #[comptime] corner: u32) -> P {
    let one = P::new(1.0);
    let y = if comptime!(corner / 2 == 1) {
        places.y[row]
    } else {
        one - places.y[row]
    };
    let x = if comptime!(corner % 2 == 1) {
        places.x[row]
    } else {
        one - places.x[row]
    };
    select(
        is_inside::<P>(places, row, corner),
        y * x * places.mask[row],
        P::new(0.0),
    )
}

/// What a lane needs to know of the place of its row.
#[derive(CubeType)]
pub(crate) struct Corners<P: Float> {
    pub(crate) image: usize,
    /// Of each corner (upper left, upper right, lower left, lower right): whether it lies inside,
    /// its modulated weight, and its index in its image.
    pub(crate) inside: Sequence<bool>,
    pub(crate) weights: Sequence<P>,
    pub(crate) pixels: Sequence<usize>,
}

#[cube]
pub(crate) fn corners<P: Float>(places: &Places<P>, row: usize, geometry: &Geometry) -> Corners<P> {
    let mut inside = Sequence::<bool>::new();
    let mut weights = Sequence::<P>::new();
    let mut pixels = Sequence::<usize>::new();
    #[unroll]
    for corner in 0..4usize {
        inside.push(is_inside::<P>(places, row, comptime!(corner as u32)));
        weights.push(corner_weight::<P>(places, row, comptime!(corner as u32)));
        pixels.push(corner_pixel::<P>(places, row, geometry.width, corner));
    }
    Corners::<P> {
        image: places.image[row],
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
