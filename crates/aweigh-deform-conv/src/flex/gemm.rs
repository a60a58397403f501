//! Matrix products on checked views: the only unsafe code of the CPU implementation.
#![allow(
    unsafe_code,
    reason = "the `gemm` crate takes raw pointers; every view checks its extent first"
)]

use super::real::Real;

/// A matrix inside of a slice: element (r, c) lies at `start + r * row_stride + c * col_stride`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) start: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl Layout {
    /// Rows one after the other, `row_stride` apart.
    pub(super) fn rows(start: usize, rows: usize, cols: usize, row_stride: usize) -> Self {
        Self {
            start,
            rows,
            cols,
            row_stride,
            col_stride: 1,
        }
    }

    /// The same elements with rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Length of the shortest slice that holds the matrix.
    fn extent(&self) -> usize {
        match (self.rows, self.cols) {
            (0, _) | (_, 0) => 0,
            (rows, cols) => {
                self.start + (rows - 1) * self.row_stride + (cols - 1) * self.col_stride + 1
            }
        }
    }

    /// No two elements share a place.
    fn is_injective(&self) -> bool {
        let [inner, outer] = match self.row_stride < self.col_stride {
            true => [(self.row_stride, self.rows), (self.col_stride, self.cols)],
            false => [(self.col_stride, self.cols), (self.row_stride, self.rows)],
        };
        let inner_span = inner.0 * inner.1.saturating_sub(1);
        (inner.0 > 0 || inner.1 <= 1) && (outer.0 > inner_span || outer.1 <= 1)
    }
}

/// What a product does with the previous content of its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Overwrite,
    Accumulate,
}

/// Who works on a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// The calling thread alone.
    One,
    /// Every thread of the current Rayon pool.
    Pool,
}

/// `out = a * b` or `out += a * b`. The order of summation does not depend on the threads.
///
/// # Panics
///
/// When sizes do not fit each other or a view reaches beyond its slice.
pub(super) fn product<T: Real>(
    out: (&mut [T], Layout),
    a: (&[T], Layout),
    b: (&[T], Layout),
    write: Write,
    threads: Threads,
) {
    let (out, to) = out;
    let ((a, of_a), (b, of_b)) = (a, b);
    assert_eq!(
        [to.rows, to.cols, of_a.cols],
        [of_a.rows, of_b.cols, of_b.rows],
        "sizes of a matrix product"
    );
    assert!(to.extent() <= out.len() && to.is_injective());
    assert!(of_a.extent() <= a.len() && of_b.extent() <= b.len());
    if to.extent() == 0 {
        return;
    }
    let (read_out, alpha) = match write {
        Write::Overwrite => (false, T::ZERO),
        Write::Accumulate => (true, T::ONE),
    };
    let parallelism = match threads {
        Threads::One => gemm::Parallelism::None,
        Threads::Pool => gemm::Parallelism::Rayon(0),
    };
    // SAFETY: every element of the three views lies inside of its slice (`extent` above), the
    // destination's elements are distinct (`is_injective`) and exclusively borrowed, and `Real`
    // is implemented for f32 and f64 only, which `gemm` computes natively.
    unsafe {
        gemm::gemm(
            to.rows,
            to.cols,
            of_a.cols,
            out.as_mut_ptr().add(to.start),
            to.col_stride as isize,
            to.row_stride as isize,
            read_out,
            a.as_ptr().add(of_a.start),
            of_a.col_stride as isize,
            of_a.row_stride as isize,
            b.as_ptr().add(of_b.start),
            of_b.col_stride as isize,
            of_b.row_stride as isize,
            alpha,
            T::ONE,
            false,
            false,
            false,
            parallelism,
        );
    }
}
