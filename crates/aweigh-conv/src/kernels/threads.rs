//! Work in parallel, on Rayon's pool, which is Burn's.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// A pointer that threads may share: each writes to places of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared<T>(*mut T);

// SAFETY: a pointer by itself does nothing; who dereferences it answers for it.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Shares a slice.
    pub(crate) fn new(values: &mut [T]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// Shares a slice that is read, not written.
    pub(crate) fn read(values: &[T]) -> Self {
        Self(values.as_ptr().cast_mut())
    }

    /// The pointer.
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}

impl<T> Shared<std::mem::MaybeUninit<T>> {
    /// The place of the values, whether they are there already or not.
    pub(crate) fn cast(self) -> Shared<T> {
        Shared(self.0.cast())
    }
}

/// Runs `work` for every job of `0..jobs`, each on some thread, with a state per thread.
///
/// Which thread does which job is not fixed: results must not depend on it.
pub(crate) fn parallel<T>(
    jobs: usize,
    state: impl Fn() -> T + Sync,
    work: impl Fn(&mut T, usize) + Sync,
) {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut kept = None;
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= jobs {
                break;
            }
            work(kept.get_or_insert_with(&state), job);
        }
    };
    let threads = rayon::current_num_threads().min(jobs);
    if threads <= 1 {
        run();
    } else {
        (0..threads)
            .into_par_iter()
            .with_max_len(1)
            .for_each(|_| run());
    }
}
