//! How a device adds to memory that many units add to.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::DType;
use cubecl::{features::AtomicUsage, ir::Type};

use crate::cube::call::Call;

/// How values are added to the input gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cube) enum Adds {
    /// Vectors of this many numbers, by one atomic instruction each.
    Native(usize),
    /// Numbers, by compare-and-swap.
    Exchange,
}

impl Adds {
    /// The widest atomic addition among `sizes`, which are vector sizes that the channels divide
    /// into.
    pub(super) fn choose(call: &Call, dtype: DType, sizes: impl Iterator<Item = usize>) -> Self {
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
pub(in crate::cube) fn accumulator(call: &Call) -> DType {
    match Adds::choose(call, call.wide(), std::iter::empty()) {
        Adds::Native(_) => call.wide(),
        Adds::Exchange => DType::F32,
    }
}
