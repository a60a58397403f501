//! What every launch needs.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::{
    calculate_cube_count_elemwise,
    client::Client,
    ir::{AddressType, ElemType},
    prelude::{CubeCount, CubeDim},
};

/// So many cubes over as many dimensions as it takes.
pub(super) fn cube_count(client: &Client, cubes: usize, dim: CubeDim) -> CubeCount {
    calculate_cube_count_elemwise(client, cubes * dim.num_elems() as usize, dim)
}

/// The narrowest addresses that reach every element of the tensors.
pub(super) fn address_type<'a>(tensors: impl IntoIterator<Item = &'a CubeTensor>) -> AddressType {
    let types = tensors.into_iter().map(CubeTensor::required_address_type);
    types.max().unwrap_or_default()
}

/// A type as kernels know it.
pub(super) fn element(dtype: DType) -> ElemType {
    dtype_to_storage_type(dtype)
}
