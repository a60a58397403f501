//! Waiting for operations of MPI, with a limit.
//!
//! MPI's own waiting has none: a process that is gone, or a cut cable, would be waited for without
//! end. So all operations are non-blocking, and this asks for their ends.

use std::time::{Duration, Instant};

use mpi::request::{LocalScope, Request};

/// A running operation that borrows from a scope.
pub(crate) type Running<'a, 'b, D> = Request<'a, D, &'b LocalScope<'a>>;

/// For so long a process asks again and again, so that messages flow; then the others are busy with
/// something long, and it leaves them the processor.
const EAGER: Duration = Duration::from_secs(2);

/// How long it sleeps then between two questions.
const NAP: Duration = Duration::from_millis(1);

/// How long a process has been waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    since: Instant,
}

impl Waiting {
    pub(crate) fn start() -> Self {
        Self {
            since: Instant::now(),
        }
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.since.elapsed()
    }

    /// Leaves the processor to others for a moment.
    pub(crate) fn pause(self) {
        if self.elapsed() < EAGER {
            std::thread::yield_now();
        } else {
            std::thread::sleep(NAP);
        }
    }
}

/// Moves running operations on, and forgets those that have ended.
pub(crate) fn advance<D: ?Sized>(running: &mut Vec<Running<'_, '_, D>>) {
    let before = std::mem::take(running);
    running.extend(
        before
            .into_iter()
            .filter_map(|request| request.test().err()),
    );
}
