//! Who is missing: processes that wait in vain tell each other that they are there.
//!
//! An operation that does not end says nothing about the process that is missing. So the first one
//! whose patience ends sends a word to every other; those that wait for the same operation, or for
//! an earlier one, answer with a word to all. Who has said nothing a moment later is hanging, gone or
//! out of reach. The lowest rank of those that answered says so.
//!
//! A word has the number of the operation and of the call. One about an operation that has ended
//! meanwhile means nothing, so that no process answers for ever.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use mpi::request::StaticScope;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Source};

use crate::requests::Waiting;

/// Marks the words of a roll call among other messages.
const TAG: i32 = 77;

/// How long processes have to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a process leaves it to a lower rank to report, before it does so itself.
const DEFERENCE: Duration = Duration::from_secs(3);

/// Calls for one operation.
const CALLS: u64 = 1 << 8;

/// What processes have told of their presence.
#[derive(Debug)]
pub(crate) struct RollCall {
    /// The latest word of each process.
    heard: RefCell<Vec<u64>>,
    /// The call that is next.
    next: Cell<u64>,
}

impl RollCall {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            heard: RefCell::new(vec![0; size]),
            next: Cell::new(CALLS),
        }
    }

    /// Another operation begins.
    pub(crate) fn begin(&self) {
        self.next.set((self.next.get() / CALLS + 1) * CALLS);
    }

    /// Whether another process asks who is there.
    pub(crate) fn is_called(&self, world: &SimpleCommunicator) -> bool {
        self.listen(world);
        let own = world.rank() as usize;
        let heard = self.heard.borrow();
        let mut others = heard.iter().enumerate().filter(|(rank, _)| *rank != own);
        others.any(|(_, word)| *word >= self.next.get())
    }

    /// Tells all processes that this one is there, and gives those that have not told so. Returns at
    /// once, with none, when the operation has `ended` after all; else when it is on this process to
    /// report.
    pub(crate) fn missing(
        &self,
        world: &SimpleCommunicator,
        mut ended: impl FnMut() -> bool,
    ) -> Vec<usize> {
        let own = world.rank() as usize;
        let call = self.next.get();
        self.heard.borrow_mut()[own] = call;
        for other in (0..world.size()).filter(|other| *other as usize != own) {
            // A word to a process that is gone does not end, and neither word nor program outlive it.
            let word: &'static [u64; 1] = Box::leak(Box::new([call]));
            let other = world.process_at_rank(other);
            std::mem::forget(other.immediate_send_with_tag(StaticScope, &word[..], TAG));
        }
        let waiting = Waiting::start();
        loop {
            if ended() {
                return Vec::new();
            }
            self.listen(world);
            let present = |rank: &usize| self.heard.borrow()[*rank] >= call;
            let missing: Vec<usize> = (0..world.size() as usize)
                .filter(|rank| !present(rank))
                .collect();
            let reports = (0..own).all(|lower| missing.contains(&lower));
            let patience = match reports {
                true => PATIENCE,
                false => PATIENCE + DEFERENCE,
            };
            if missing.is_empty() || waiting.elapsed() > patience {
                self.next.set(call + 1);
                return missing;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How often the current operation has been called for.
    pub(crate) fn calls(&self) -> u64 {
        self.next.get() % CALLS
    }

    /// Takes the words that have come.
    fn listen(&self, world: &SimpleCommunicator) {
        while let Some(status) = world.any_process().immediate_probe_with_tag(TAG) {
            let rank = status.source_rank();
            let from = world.process_at_rank(rank);
            let (word, _) = from.receive_with_tag::<u64>(TAG);
            let mut heard = self.heard.borrow_mut();
            let latest = &mut heard[rank as usize];
            *latest = word.max(*latest);
        }
    }
}
