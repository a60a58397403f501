//! Additions to memory that many units add to.

use cubecl::prelude::*;

/// How a value is added to memory that other units add to.
#[cube]
pub(crate) trait AtomicAdd: Send + Sync + 'static {
    /// What the accumulator's memory is made of.
    type Cell<A: Float, N: Size>: CubePrimitive;

    fn add<A: Float, N: Size>(cell: &Atomic<Self::Cell<A, N>>, value: Vector<A, N>);
}

/// The device's own addition of a number, or of a whole vector.
pub(crate) struct NativeAdd;

/// A compare-and-swap loop on the bits, for devices without atomic addition of `f32`; N is 1.
pub(crate) struct ExchangeAdd;

#[cube]
impl AtomicAdd for NativeAdd {
    type Cell<A: Float, N: Size> = Vector<A, N>;

    fn add<A: Float, N: Size>(cell: &Atomic<Vector<A, N>>, value: Vector<A, N>) {
        cell.fetch_add(value);
    }
}

#[cube]
impl AtomicAdd for ExchangeAdd {
    type Cell<A: Float, N: Size> = u32;

    fn add<A: Float, N: Size>(cell: &Atomic<u32>, value: Vector<A, N>) {
        let value = f32::cast_from(value.extract(0usize));
        let mut found = cell.load();
        loop {
            let expected = found;
            let sum = (f32::from_bits(expected) + value).to_bits();
            // What is there now: not what was expected if another unit was faster, and then the
            // sum is of that. A weak exchange may fail for no reason, which the loop repeats.
            found = cell.compare_exchange_weak(expected, sum);
            if found == expected {
                break;
            }
        }
    }
}

/// Memory that values are added to.
pub(crate) type Sums<Add, A, N> = Tensor<Atomic<<Add as AtomicAdd>::Cell<A, N>>>;
