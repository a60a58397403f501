//! Threads in the place of processes.

use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::Duration;

use aweigh_distributed::{Place, ProcessGroup};

/// One of several threads that stand for the processes of a group. It can be sent to its thread.
#[derive(Debug)]
pub struct ThreadGroup {
    rank: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What each has handed out.
    table: Mutex<Vec<Vec<u8>>>,
    barrier: Barrier,
}

/// The members of a group of so many threads, by rank.
pub fn processes(size: usize) -> Vec<ThreadGroup> {
    let shared = Arc::new(Shared {
        table: Mutex::new(vec![Vec::new(); size]),
        barrier: Barrier::new(size),
    });
    let member = |rank| ThreadGroup {
        rank,
        shared: Arc::clone(&shared),
    };
    (0..size).map(member).collect()
}

impl ThreadGroup {
    fn table(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        let table = self.shared.table.lock();
        table.unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProcessGroup for ThreadGroup {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.table().len()
    }

    fn place(&self) -> Place {
        Place {
            host: "a thread".to_owned(),
            local_rank: self.rank,
            local_size: self.size(),
        }
    }

    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.table()[self.rank] = bytes.to_vec();
        self.shared.barrier.wait();
        let all = self.table().clone();
        // Nobody hands out anything else before all have read.
        self.shared.barrier.wait();
        all
    }

    fn sum(&self, count: usize, read: &mut dyn FnMut(usize) -> Vec<f32>) -> Vec<Vec<f32>> {
        let sum = |index| aweigh_distributed::sum_in_order(self, &read(index));
        (0..count).map(sum).collect()
    }

    fn set_timeout(&self, _: Duration) {}
}
