//! Several processes that work as one: a [`ProcessGroup`], alone or over MPI.
//!
//! Everything that processes tell each other goes through two operations: each hands out some bytes
//! and gets those of all, or adds up lists of numbers. Every process has to call the same operations
//! in the same order. What is told, and what is done with it, is the training's concern; this crate
//! alone knows MPI.
//!
//! A group fails as a whole. Where one process does not come to an operation within the time limit,
//! the others say which one it is and end all processes.

mod alone;
mod exchange;
mod launch;
#[cfg(feature = "mpi")]
mod mpi_group;
#[cfg(feature = "mpi")]
mod requests;
#[cfg(feature = "mpi")]
mod roll_call;

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

pub use alone::Alone;
pub use exchange::{Failure, OtherProcess, any, exchange, sum_in_order, together};
pub use launch::{JoinError, join, launched_processes};

/// How long a process waits for the others before it gives up, unless it is told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// The processes of one training, as one of them sees them.
pub trait ProcessGroup: fmt::Debug {
    /// Which of the processes this is, from 0. The first one writes and speaks for all.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn size(&self) -> usize;

    /// Where this process runs.
    fn place(&self) -> Place;

    /// Hands `bytes` to all processes and gives what each has handed out, by rank.
    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>>;

    /// Adds up `count` lists of numbers over all processes, which have the same lengths everywhere, and
    /// gives the sums: the same bits on all processes, and in every run of as many processes.
    ///
    /// `read(i)` gives list `i` of this process. It is called once for each, in order, when the lists
    /// before are on their way already.
    fn sum(&self, count: usize, read: &mut dyn FnMut(usize) -> Vec<f32>) -> Vec<Vec<f32>>;

    /// Changes how long this process waits for the others in an operation.
    fn set_timeout(&self, timeout: Duration);

    /// Whether this is the process that writes and speaks for all.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }
}

/// A group that several parts of a program have in hand.
pub type Group = Rc<dyn ProcessGroup>;

/// Where a process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The machine's name.
    pub host: String,
    /// Which of the group's processes on that machine it is, from 0.
    pub local_rank: usize,
    /// How many of them there are.
    pub local_size: usize,
}

/// `process 2 of 4 (on node-b)`, counted from 0.
pub fn describe(rank: usize, size: usize, host: &str) -> String {
    format!("process {rank} of {size} (on {host})")
}
