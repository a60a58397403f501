//! Matrix products on checked views: the only unsafe code of the CPU implementation.
#![allow(
    unsafe_code,
    reason = "the `gemm` crate takes raw pointers; every view checks its extent first"
)]

use super::real::Real;

/// Where a matrix lies inside of a slice: element (r, c) lies at `start + r * row_stride + c * col_stride`.
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
        let inner_is_rows = self.row_stride < self.col_stride;
        let inner = if inner_is_rows {
            *self
        } else {
            self.transposed()
        };
        // A step of the outer axis must pass over everything that the inner axis reaches.
        let reach = inner.row_stride * inner.rows.saturating_sub(1);
        (inner.row_stride > 0 || inner.rows <= 1) && (inner.col_stride > reach || inner.cols <= 1)
    }
}

/// A matrix that a product reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    pub(super) values: &'a [T],
    pub(super) layout: Layout,
}

/// A matrix that a product writes.
#[derive(Debug)]
pub(super) struct Destination<'a, T> {
    pub(super) values: &'a mut [T],
    pub(super) layout: Layout,
    pub(super) write: Write,
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

impl Threads {
    /// Who works on each of the products of `images` images: one thread, while others work on other
    /// images, if that keeps all busy; otherwise all threads work on one image after another.
    pub(super) fn of_images(images: usize) -> Self {
        if images >= rayon::current_num_threads() {
            Self::One
        } else {
            Self::Pool
        }
    }
}

/// `out = a * b` or `out += a * b`. The order of summation does not depend on the threads.
///
/// # Panics
///
/// When sizes do not fit each other or a view reaches beyond its slice.
pub(super) fn product<T: Real>(
    out: Destination<'_, T>,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    threads: Threads,
) {
    let (to, of_a, of_b) = (out.layout, a.layout, b.layout);
    assert_eq!(
        [to.rows, to.cols, of_a.cols],
        [of_a.rows, of_b.cols, of_b.rows],
        "sizes of a matrix product"
    );
    assert!(to.extent() <= out.values.len() && to.is_injective());
    assert!(of_a.extent() <= a.values.len() && of_b.extent() <= b.values.len());
    if to.extent() == 0 {
        return;
    }
    let (read_out, alpha) = match out.write {
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
            out.values.as_mut_ptr().add(to.start),
            to.col_stride as isize,
            to.row_stride as isize,
            read_out,
            a.values.as_ptr().add(of_a.start),
            of_a.col_stride as isize,
            of_a.row_stride as isize,
            b.values.as_ptr().add(of_b.start),
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
