//! Columns of the forward pass.

use cubecl::prelude::*;
use cubecl::std::FastDivmod;

use super::arguments::{Chunk, Geometry};
use super::location::{NOT_A_NUMBER, corners, locate, starts, tile};

/// Columns of a chunk, `[weight group][position][tap][channel of the group]`.
#[cube(launch_unchecked, address_type = "dynamic", create_dummy_kernel)]
pub(crate) fn sample<F: Float, P: Float, N: Size>(
    x: &Tensor<Vector<F, N>>,
    offset: &Tensor<F>,
    mask: ComptimeOption<&Tensor<F>>,
    columns: &mut Tensor<Vector<F, N>>,
    weight_group: FastDivmod<usize>,
    weight_vectors: usize,
    geometry: &Geometry,
    chunk: &Chunk,
    #[comptime] rows: usize,
    #[define(F, P)] _types: [ElemType; 2],
) {
    let tile = tile(geometry, rows);
    if tile.start >= chunk.count {
        terminate!();
    }
    let locations = locate::<F, P>(offset, mask, geometry, chunk, &tile, rows);
    for row in range_stepped(UNIT_POS_Y as usize, rows, CUBE_DIM_Y as usize) {
        let position = tile.start + row;
        if position < chunk.count {
            let corners = corners::<P>(&locations, row, geometry);
            let image = (corners.image - chunk.first_image) * chunk.image_stride;
            let starts = starts::<P>(&corners, image, chunk.pixel_stride);
            // No corner adds to a location that is no number, so the sum starts with that.
            let mut nothing = P::new(0.0);
            if locations.inside[row] == comptime!(NOT_A_NUMBER) {
                nothing = locations.y[row];
            }
            for lane in range_stepped(UNIT_POS_X as usize, chunk.vectors, CUBE_DIM_X as usize) {
                let vector = tile.group * chunk.vectors + lane;
                let mut value = Vector::<P, N>::new(nothing);
                #[unroll]
                for corner in 0..4usize {
                    let weight = corners.weights[corner];
                    // Corners outside have weight 0: this is what keeps reads inside the map.
                    if weight != P::new(0.0) {
                        let read = x[starts[corner] + vector * chunk.vector_stride];
                        value += Vector::new(weight) * Vector::cast_from(read);
                    }
                }
                let (group, within) = weight_group.div_mod(vector);
                let at = (group * chunk.count + position) * geometry.taps + tile.tap;
                columns[at * weight_vectors + within] = Vector::cast_from(value);
            }
        }
    }
}
