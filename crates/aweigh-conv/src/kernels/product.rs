//! The product of two small matrices: the inner loop of every convolution.

use super::activation::Activation;
use super::prefetch::Prefetch;
use crate::simd::{Kernel, LANES, Simd};

/// Where the left matrix of a [`Product`] lies, `[rows, depth]`.
#[derive(Clone, Copy)]
pub(crate) enum Left {
    /// Blocks of 16 steps, `[depth / 16][rows][16]`: rows of a map as they are.
    Blocks(*const f32),
    /// One column after another, `[depth][step]`, of which the first `rows` values count.
    Columns(*const f32, usize),
    /// As `Columns`, for a right matrix whose rows are at the places given, one for each step.
    Places(*const f32, usize, *const usize),
}

/// What is done to sums before they are stored.
#[derive(Clone, Copy)]
pub(crate) struct Finish {
    /// Added to each row, a value for each.
    pub(crate) shift: Option<*const f32>,
    pub(crate) activation: Activation,
}

/// `out (+)= left x right`, of at most [`Simd::ROWS`] rows and [`Simd::VECTORS`] vectors.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    /// Rows of the left matrix and of the result.
    pub(crate) rows: usize,
    /// Columns of the result, the last vector may be partial.
    pub(crate) columns: usize,
    /// Columns of the left matrix, a multiple of 16 for [`Left::Blocks`].
    pub(crate) depth: usize,
    pub(crate) left: Left,
    /// `[depth][right_step]`, or where [`Left::Places`] says; whole vectors are read.
    pub(crate) right: *const f32,
    pub(crate) right_step: usize,
    /// `[rows][out_step]`.
    pub(crate) out: *mut f32,
    pub(crate) out_step: usize,
    /// Whether the product is added to what is there.
    pub(crate) accumulate: bool,
    pub(crate) finish: Option<Finish>,
}

/// A product whose size the compiler knows.
struct Tile<const ROWS: usize, const VECTORS: usize>(Product, Prefetch);

impl<const ROWS: usize, const VECTORS: usize> Kernel for Tile<ROWS, VECTORS> {
    type Output = Prefetch;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Prefetch {
        let Self(product, mut prefetch) = self;
        // SAFETY: the pointers are valid for the sizes, by the conditions of `Product::compute`.
        unsafe {
            let sums = match product.left {
                Left::Blocks(left) => Self::blocks::<S>(&product, left, &mut prefetch),
                Left::Columns(left, step) => {
                    Self::columns::<S>(&product, left, step, &mut prefetch)
                }
                Left::Places(left, step, places) => Self::places::<S>(&product, left, step, places),
            };
            Self::store::<S>(&product, sums);
        }
        prefetch
    }
}

impl<const ROWS: usize, const VECTORS: usize> Tile<ROWS, VECTORS> {
    #[inline(always)]
    unsafe fn blocks<S: Simd>(
        product: &Product,
        left: *const f32,
        prefetch: &mut Prefetch,
    ) -> [[S::V; VECTORS]; ROWS] {
        // SAFETY: as `run`'s.
        unsafe {
            let mut sums = [[S::zero(); VECTORS]; ROWS];
            let (mut left, mut right) = (left, product.right);
            for _ in 0..product.depth / LANES {
                for step in 0..LANES {
                    Self::step::<S>(&mut sums, left.add(step), LANES, right);
                    prefetch.next::<S>();
                    // Eight steps ahead: far enough to hide the second-level cache.
                    for j in 0..VECTORS {
                        S::prefetch(right.wrapping_add(8 * product.right_step + j * LANES));
                    }
                    right = right.add(product.right_step);
                }
                left = left.add(ROWS * LANES);
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn columns<S: Simd>(
        product: &Product,
        left: *const f32,
        step: usize,
        prefetch: &mut Prefetch,
    ) -> [[S::V; VECTORS]; ROWS] {
        // SAFETY: as `run`'s.
        unsafe {
            let mut sums = [[S::zero(); VECTORS]; ROWS];
            let (mut left, mut right) = (left, product.right);
            for _ in 0..product.depth {
                Self::step::<S>(&mut sums, left, 1, right);
                prefetch.next::<S>();
                right = right.add(product.right_step);
                left = left.add(step);
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn places<S: Simd>(
        product: &Product,
        left: *const f32,
        step: usize,
        places: *const usize,
    ) -> [[S::V; VECTORS]; ROWS] {
        // SAFETY: as `run`'s.
        unsafe {
            let mut sums = [[S::zero(); VECTORS]; ROWS];
            for i in 0..product.depth {
                let right = product.right.add(*places.add(i));
                Self::step::<S>(&mut sums, left.add(i * step), 1, right);
            }
            sums
        }
    }

    /// Adds the product of a column, with `apart` from row to row, and a row.
    #[inline(always)]
    unsafe fn step<S: Simd>(
        sums: &mut [[S::V; VECTORS]; ROWS],
        left: *const f32,
        apart: usize,
        right: *const f32,
    ) {
        // SAFETY: as `run`'s.
        unsafe {
            let mut row = [S::zero(); VECTORS];
            for (j, row) in row.iter_mut().enumerate() {
                *row = S::load(right.add(j * LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let factor = S::splat(*left.add(i * apart));
                for (sum, row) in sums.iter_mut().zip(row) {
                    *sum = S::mul_add(factor, row, *sum);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(product: &Product, sums: [[S::V; VECTORS]; ROWS]) {
        // SAFETY: as `run`'s.
        unsafe {
            for (i, sums) in sums.into_iter().enumerate() {
                let row = product.out.add(i * product.out_step);
                for (j, sum) in sums.into_iter().enumerate() {
                    let (out, count) = (row.add(j * LANES), product.columns - j * LANES);
                    // Masked loads and stores would be a third of a product of depth 48 with AVX2.
                    // Decided once: `Simd::load_up_to` and its like for the store make small products
                    // a fifth slower there.
                    let full = count >= LANES;
                    let mut value = sum;
                    if product.accumulate {
                        let before = if full {
                            S::load(out)
                        } else {
                            S::load_first(out, count)
                        };
                        value = S::add(before, value);
                    }
                    if let Some(finish) = product.finish {
                        if let Some(shift) = finish.shift {
                            value = S::add(value, S::splat(*shift.add(i)));
                        }
                        value = finish.activation.of::<S>(value);
                    }
                    if full {
                        S::store(out, value);
                    } else {
                        S::store_first(out, value, count);
                    }
                }
            }
        }
    }
}

/// Calls the tile of the given size, if the instruction set has one of it.
macro_rules! tiles {
    ($product:ident, $prefetch:ident, $S:ident, $($rows:literal)+) => {
        match ($product.rows, $product.columns.div_ceil(LANES)) {
            $(
                ($rows, 1) if $rows <= $S::ROWS => $S::call(Tile::<$rows, 1>($product, $prefetch)),
                ($rows, 2) if $rows <= $S::ROWS && 2 <= $S::VECTORS => {
                    $S::call(Tile::<$rows, 2>($product, $prefetch))
                }
            )+
            (rows, vectors) => unreachable!("a tile of {rows} rows and {vectors} vectors"),
        }
    };
}

impl Product {
    /// Computes it.
    ///
    /// # Safety
    ///
    /// The machine has the instructions of `S`; the pointers are valid for the sizes given.
    ///
    /// # Panics
    ///
    /// When there are more rows or columns than the set's tile has, or none.
    #[inline(always)]
    pub(crate) unsafe fn compute<S: Simd>(self) {
        // SAFETY: by this function's own conditions.
        unsafe { self.compute_and_prefetch::<S>(Prefetch::NOTHING) };
    }

    /// Computes it, and asks for memory meanwhile; returns what is left to ask for.
    ///
    /// # Safety
    ///
    /// As [`compute`](Self::compute).
    ///
    /// # Panics
    ///
    /// As [`compute`](Self::compute).
    #[inline(always)]
    pub(crate) unsafe fn compute_and_prefetch<S: Simd>(self, prefetch: Prefetch) -> Prefetch {
        // SAFETY: by this function's own conditions.
        unsafe { tiles!(self, prefetch, S, 1 2 3 4 5 6 7 8 9 10 11 12 13 14) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::InstructionSet;

    const DEPTH: usize = 32;
    const OUT_STEP: usize = 40;

    struct One(Product);

    impl Kernel for One {
        type Output = ();

        #[inline(always)]
        unsafe fn run<S: Simd>(self) {
            // SAFETY: as the test's.
            unsafe { self.0.compute::<S>() }
        }
    }

    /// Small whole numbers, so that sums are exact in any order.
    fn whole(i: usize) -> f32 {
        (i * 7 % 11) as f32 - 5.0
    }

    /// How the matrices of a check lie, and what is done to their product.
    #[derive(Debug, Clone, Copy)]
    struct Options {
        /// As blocks that are added to what is there.
        blocked: bool,
        /// At given places, if not blocked.
        places: bool,
        finished: Option<Activation>,
    }

    fn left(row: usize, step: usize) -> f32 {
        whole(row * DEPTH + step)
    }

    fn right(i: usize) -> f32 {
        whole(i + 3)
    }

    /// The product, into `out`.
    fn compute(
        set: InstructionSet,
        [rows, columns]: [usize; 2],
        options: Options,
        out: &mut [f32],
    ) {
        let width = columns.next_multiple_of(LANES);
        let value = |i: usize| match options.blocked {
            true => left(i / LANES % rows, i / (rows * LANES) * LANES + i % LANES),
            false => left(i % rows, i / rows),
        };
        let values: Vec<f32> = (0..rows * DEPTH).map(value).collect();
        let right: Vec<f32> = (0..DEPTH * width).map(right).collect();
        let shift: Vec<f32> = (0..rows).map(whole).collect();
        let steps: Vec<usize> = (0..DEPTH).map(|i| i * width).collect();
        let product = Product {
            rows,
            columns,
            depth: DEPTH,
            left: match (options.blocked, options.places) {
                (true, _) => Left::Blocks(values.as_ptr()),
                (false, true) => Left::Places(values.as_ptr(), rows, steps.as_ptr()),
                (false, false) => Left::Columns(values.as_ptr(), rows),
            },
            right: right.as_ptr(),
            right_step: width,
            out: out.as_mut_ptr(),
            out_step: OUT_STEP,
            accumulate: options.blocked,
            finish: options.finished.map(|activation| Finish {
                shift: Some(shift.as_ptr()),
                activation,
            }),
        };
        // SAFETY: all slices are as long as the sizes say.
        unsafe { set.run(One(product)) };
    }

    fn check(set: InstructionSet, [rows, columns]: [usize; 2], options: Options) {
        let mut out: Vec<f32> = (0..rows * OUT_STEP).map(whole).collect();
        compute(set, [rows, columns], options, &mut out);
        let width = columns.next_multiple_of(LANES);
        for (i, found) in out.into_iter().enumerate() {
            let (row, column, before) = (i / OUT_STEP, i % OUT_STEP, whole(i));
            let expected = if column < columns {
                let product = |k| left(row, k) * right(k * width + column);
                let sum = (0..DEPTH).map(product).sum::<f32>();
                let sum = if options.blocked { before + sum } else { sum };
                match options.finished {
                    Some(Activation::Relu) => (sum + whole(row)).max(0.0),
                    Some(Activation::Relu6) => (sum + whole(row)).clamp(0.0, 6.0),
                    Some(Activation::None) => sum + whole(row),
                    None => sum,
                }
            } else {
                before
            };
            let place = [row, column];
            assert_eq!(
                found, expected,
                "{set}, {rows} x {columns}, {place:?}, {options:?}"
            );
        }
    }

    #[test]
    fn tiles_of_every_size_are_the_product() {
        for set in InstructionSet::available() {
            let [rows, columns] = set.tile();
            for rows in 1..=rows {
                for columns in [1, 15, 16, 17, 31, 32]
                    .into_iter()
                    .filter(|c| *c <= columns)
                {
                    for [blocked, places] in [[false, false], [false, true], [true, false]] {
                        for finished in [None, Some(Activation::Relu), Some(Activation::Relu6)] {
                            let options = Options {
                                blocked,
                                places,
                                finished,
                            };
                            check(set, [rows, columns], options);
                        }
                    }
                }
            }
        }
    }
}
