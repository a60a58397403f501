//! A parallel map whose results come in order, with bounded look-ahead.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

/// Makes one item; should return early, with anything, once the flag is set.
type Make<T> = dyn Fn(usize, &AtomicBool) -> T + Send + Sync;

/// Yields `make(i, stop)` for each `i` of a range, in order.
///
/// With workers, at most `workers + prefetch` items are in the making or wait for their turn.
/// Without, items are made when they are asked for. Dropping it stops the workers and waits for
/// them; a panic in `make` is passed on to the caller.
pub(crate) struct OrderedMap<T> {
    make: Arc<Make<T>>,
    /// Numbers that have not been yielded.
    left: Range<usize>,
    /// Next number to hand to a worker.
    handed: usize,
    /// Items that are ready before their turn.
    early: HashMap<usize, thread::Result<T>>,
    pool: Option<Pool<T>>,
}

/// The running workers and the ways to and from them.
struct Pool<T> {
    jobs: Option<Sender<usize>>,
    results: Receiver<(usize, thread::Result<T>)>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> OrderedMap<T> {
    /// Starts the workers and hands them the first numbers of `range`.
    pub(crate) fn new(
        range: Range<usize>,
        workers: usize,
        prefetch: usize,
        make: impl Fn(usize, &AtomicBool) -> T + Send + Sync + 'static,
    ) -> Self {
        let make: Arc<Make<T>> = Arc::new(make);
        let workers = workers.min(range.len());
        let mut map = Self {
            handed: range.start,
            left: range,
            early: HashMap::new(),
            pool: Pool::start(workers, workers + prefetch, &make),
            make,
        };
        for _ in 0..workers + prefetch {
            map.hand_out();
        }
        map
    }

    /// Hands the next number to the workers. The queue has room for every item on its way, so this
    /// does not wait.
    fn hand_out(&mut self) {
        let jobs = self.pool.as_ref().and_then(|pool| pool.jobs.as_ref());
        if let Some(jobs) = jobs.filter(|_| self.handed < self.left.end) {
            jobs.send(self.handed)
                .expect("workers live as long as the queue");
            self.handed += 1;
        }
    }

    /// Waits for the item with this number.
    fn receive(&mut self, number: usize) -> thread::Result<T> {
        let Some(pool) = &self.pool else {
            return Ok((self.make)(number, &AtomicBool::new(false)));
        };
        loop {
            if let Some(item) = self.early.remove(&number) {
                return item;
            }
            let (index, item) = pool.results.recv().expect("a worker sends every item");
            self.early.insert(index, item);
        }
    }
}

impl<T: Send + 'static> Iterator for OrderedMap<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let number = self.left.next()?;
        let item = self.receive(number);
        self.hand_out();
        match item {
            Ok(item) => Some(item),
            Err(panic) => resume_unwind(panic),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl<T: Send + 'static> Pool<T> {
    /// Starts up to `workers` threads; none at all if the system refuses even the first, in which
    /// case items are made by the caller.
    fn start(workers: usize, room: usize, make: &Arc<Make<T>>) -> Option<Self> {
        let (jobs, queue) = bounded::<usize>(room);
        let (done, results) = bounded(room);
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::with_capacity(workers);
        for number in 0..workers {
            let (queue, done) = (queue.clone(), done.clone());
            let (make, stop) = (Arc::clone(make), Arc::clone(&stop));
            let work = move || work(&queue, &done, &stop, &*make);
            match thread::Builder::new()
                .name(format!("loader-{number}"))
                .spawn(work)
            {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    tracing::warn!("cannot start loader worker {number}: {error}");
                    break;
                }
            }
        }
        (!threads.is_empty()).then_some(Self {
            jobs: Some(jobs),
            results,
            stop,
            threads,
        })
    }
}

/// A worker: makes items until the queue is closed.
fn work<T>(
    queue: &Receiver<usize>,
    done: &Sender<(usize, thread::Result<T>)>,
    stop: &AtomicBool,
    make: &Make<T>,
) {
    for index in queue {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // A lost item would leave the consumer waiting for ever.
        let item = catch_unwind(AssertUnwindSafe(|| make(index, stop)));
        if done.send((index, item)).is_err() {
            return;
        }
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // Panics of `make` are caught in the worker, so there is nothing to report.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    #[test]
    fn items_come_in_order_for_any_number_of_workers() {
        for workers in [0, 1, 2, 5, 40] {
            let map = OrderedMap::new(3..20, workers, 2, |index, _| {
                // Later items are ready earlier.
                thread::sleep(Duration::from_micros(200 * (20 - index as u64)));
                index * index
            });
            let expected: Vec<usize> = (3..20).map(|index| index * index).collect();
            assert_eq!(map.collect::<Vec<_>>(), expected, "{workers} workers");
        }
    }

    #[test]
    fn look_ahead_is_bounded() {
        for (workers, prefetch) in [(0, 3), (1, 0), (2, 0), (3, 2)] {
            let made = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&made);
            let mut map = OrderedMap::new(0..100, workers, prefetch, move |_, _| {
                counter.fetch_add(1, Ordering::SeqCst);
            });
            for yielded in 1..4 {
                map.next();
                thread::sleep(Duration::from_millis(20));
                let limit = if workers == 0 { 0 } else { workers + prefetch };
                let ahead = made.load(Ordering::SeqCst) - yielded;
                assert_eq!(ahead, limit, "{workers} workers, {prefetch} prefetched");
            }
        }
    }

    #[test]
    fn dropping_stops_the_workers() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let mut map = OrderedMap::new(0..1000, 2, 2, move |_, stop| {
            // An item that takes for ever unless it is told to stop.
            while counter.load(Ordering::SeqCst) > 0 && !stop.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            counter.fetch_add(1, Ordering::SeqCst);
        });
        map.next();
        drop(map);
        // Threads have ended: nobody else holds the counter.
        assert_eq!(Arc::strong_count(&made), 1);
        assert!(made.load(Ordering::SeqCst) <= 5);
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        for workers in [0, 2] {
            let map = OrderedMap::new(0..10, workers, 1, |index, _| assert_ne!(index, 4));
            let caught = catch_unwind(AssertUnwindSafe(|| map.count()));
            assert!(caught.is_err(), "{workers} workers");
        }
    }
}
