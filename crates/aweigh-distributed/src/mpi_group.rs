//! A group over MPI.

use std::cell::{Cell, OnceCell};
use std::mem::ManuallyDrop;
use std::time::Duration;

use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::{Universe, processor_name};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};
use mpi::{Count, Threading};

use crate::requests::{Running, Waiting, advance};
use crate::roll_call::RollCall;
use crate::{DEFAULT_TIMEOUT, Place, ProcessGroup, describe};

/// Exit code of a group that ends since one of its processes is missing.
const FAILED: i32 = 1;

/// The processes that an MPI launcher started.
///
/// The end of the last owner ends MPI, for which all processes wait for each other. In a panic it
/// ends all processes instead: the others would wait without end.
pub(crate) struct MpiGroup {
    universe: ManuallyDrop<Universe>,
    world: SimpleCommunicator,
    place: Place,
    timeout: Cell<Duration>,
    roll_call: RollCall,
}

impl std::fmt::Debug for MpiGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MpiGroup")
            .field("rank", &self.rank())
            .field("size", &self.size())
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl MpiGroup {
    /// Starts MPI; none if it was started before.
    pub(crate) fn start() -> Option<Self> {
        // Other threads compute and load; this one alone talks to the other processes.
        let (universe, _) = mpi::initialize_with_threading(Threading::Funneled)?;
        let world = universe.world();
        let neighbours = world.split_shared(world.rank());
        let place = Place {
            host: processor_name().unwrap_or_else(|_| "an unnamed machine".to_owned()),
            local_rank: neighbours.rank() as usize,
            local_size: neighbours.size() as usize,
        };
        Some(Self {
            universe: ManuallyDrop::new(universe),
            roll_call: RollCall::new(world.size() as usize),
            world,
            place,
            timeout: Cell::new(DEFAULT_TIMEOUT),
        })
    }

    /// Waits until all operations have ended, or ends all processes.
    fn finish<D: ?Sized>(&self, mut running: Vec<Running<'_, '_, D>>) {
        self.roll_call.begin();
        let mut waiting = Waiting::start();
        let mut waited = Duration::ZERO;
        let mut ended = move || {
            advance(&mut running);
            running.is_empty()
        };
        while !ended() {
            if waiting.elapsed() > self.timeout.get() || self.roll_call.is_called(&self.world) {
                waited += waiting.elapsed();
                let missing = self.roll_call.missing(&self.world, &mut ended);
                // Where all are there, the last one has come just now: once more.
                if !missing.is_empty() || self.roll_call.calls() > 1 {
                    self.give_up(&missing, waited);
                }
                waiting = Waiting::start();
            }
            waiting.pause();
        }
    }

    /// Says which processes are missing and ends all.
    fn give_up(&self, missing: &[usize], waited: Duration) -> ! {
        let this = describe(self.rank(), self.size(), &self.place.host);
        let names: Vec<String> = missing.iter().map(usize::to_string).collect();
        let seconds = waited.as_secs_f64();
        match &names[..] {
            [] => tracing::error!(
                "{this} waited {seconds:.0} s for an operation that the other processes are in as \
                 well: their connection is cut, or slower than `distributed.timeout_s` allows; all \
                 processes end"
            ),
            [one] => tracing::error!(
                "process {one} of {} does not answer: it hangs, has been stopped, or its machine \
                 cannot be reached any more; {this} waited {seconds:.0} s \
                 (`distributed.timeout_s`); all processes end",
                self.size()
            ),
            several => tracing::error!(
                "processes {} of {} do not answer: they hang, have been stopped, or their machines \
                 cannot be reached any more; {this} waited {seconds:.0} s \
                 (`distributed.timeout_s`); all processes end",
                several.join(", "),
                self.size()
            ),
        }
        self.world.abort(FAILED)
    }

    /// What every process hands out, of lengths that all know.
    fn gather_lengths(&self, length: usize) -> Vec<Count> {
        let own = [Count::try_from(length).expect("a message is smaller than 2 GiB")];
        let mut lengths = vec![0; self.size()];
        mpi::request::scope(|scope| {
            let world = &self.world;
            let request = world.immediate_all_gather_into(scope, &own[..], &mut lengths[..]);
            self.finish(vec![request]);
        });
        lengths
    }
}

impl ProcessGroup for MpiGroup {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn place(&self) -> Place {
        self.place.clone()
    }

    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let lengths = self.gather_lengths(bytes.len());
        let starts: Vec<Count> = lengths
            .iter()
            .scan(0, |end, length| Some(std::mem::replace(end, *end + length)))
            .collect();
        let mut all = vec![0_u8; lengths.iter().map(|length| *length as usize).sum()];
        let mut parts = PartitionMut::new(&mut all[..], &lengths[..], &starts[..]);
        mpi::request::scope(|scope| {
            let world = &self.world;
            let request = world.immediate_all_gather_varcount_into(scope, bytes, &mut parts);
            self.finish(vec![request]);
        });
        let mut rest = &all[..];
        let mut take = |length: &Count| {
            let (part, others) = rest.split_at(*length as usize);
            rest = others;
            part.to_vec()
        };
        lengths.iter().map(&mut take).collect()
    }

    fn sum(&self, count: usize, read: &mut dyn FnMut(usize) -> Vec<f32>) -> Vec<Vec<f32>> {
        let own = vec![OnceCell::new(); count];
        let mut sums = vec![Vec::new(); count];
        mpi::request::scope(|scope| {
            let mut running = Vec::with_capacity(count);
            for (index, (own, sum)) in own.iter().zip(&mut sums).enumerate() {
                let own = own.get_or_init(|| read(index));
                *sum = vec![0.0; own.len()];
                let operation = SystemOperation::sum();
                let (own, sum) = (&own[..], &mut sum[..]);
                let world = &self.world;
                running.push(world.immediate_all_reduce_into(scope, own, sum, operation));
                // Operations move on only when they are asked about.
                advance(&mut running);
            }
            self.finish(running);
        });
        sums
    }

    fn set_timeout(&self, timeout: Duration) {
        self.timeout.set(timeout);
    }
}

impl Drop for MpiGroup {
    #[expect(unsafe_code, reason = "the universe ends here and nowhere else")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let this = describe(self.rank(), self.size(), &self.place.host);
            tracing::error!("{this} failed; all processes end");
            self.world.abort(FAILED);
        }
        // SAFETY: `universe` is not used again: this is the end of its only owner.
        unsafe { ManuallyDrop::drop(&mut self.universe) };
    }
}
