//! Whether a launcher started this process as one of several, and the group of all.

use std::rc::Rc;

use thiserror::Error;

use crate::{Alone, Group};

/// Variables in which launchers tell a process its rank: Open MPI, MPICH and its relatives, and
/// PMIx, which Slurm's `srun --mpi=pmix` speaks.
const RANKS: [&str; 3] = ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"];

/// Those in which they tell how many there are. Slurm's says so for every kind of its launches.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS"];

/// Why a process cannot join the others.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The program was built without MPI.
    #[error(
        "this is process {rank} of {size} that a launcher started, and this build cannot work in \
         several: build with `--features mpi`, or start it without mpirun"
    )]
    NotBuilt {
        /// The process.
        rank: usize,
        /// How many there are.
        size: usize,
    },
    /// MPI was started before in this process.
    #[error("MPI cannot be started a second time in one process")]
    Twice,
}

/// A process as its launcher numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Launched {
    rank: usize,
    size: usize,
}

impl Launched {
    fn find(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let number = |name: &&str| variable(name)?.parse().ok();
        let rank = RANKS.iter().find_map(number)?;
        let size = SIZES.iter().find_map(number).unwrap_or(rank + 1);
        Some(Self { rank, size })
    }
}

fn launched() -> Option<Launched> {
    Launched::find(|name| std::env::var(name).ok())
}

/// How many processes a launcher such as `mpirun` started together with this one, if one did.
pub fn launched_processes() -> Option<usize> {
    Some(launched()?.size)
}

/// The group of all processes that were started together: of this one alone, unless a launcher such
/// as `mpirun` started it. Waits until all have come.
///
/// # Errors
///
/// When this build has no MPI and there are several processes, or MPI was started before.
pub fn join() -> Result<Group, JoinError> {
    match launched() {
        None => Ok(Rc::new(Alone)),
        Some(launched) => join_launched(launched),
    }
}

#[cfg(feature = "mpi")]
fn join_launched(_: Launched) -> Result<Group, JoinError> {
    let group = crate::mpi_group::MpiGroup::start().ok_or(JoinError::Twice)?;
    Ok(Rc::new(group))
}

#[cfg(not(feature = "mpi"))]
fn join_launched(Launched { rank, size }: Launched) -> Result<Group, JoinError> {
    match size {
        1 => Ok(Rc::new(Alone)),
        _ => Err(JoinError::NotBuilt { rank, size }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_tell_rank_and_size() {
        let check = |variables: &[(&str, &str)], expected: Option<(usize, usize)>| {
            let found = Launched::find(|name| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            });
            assert_eq!(found.map(|found| (found.rank, found.size)), expected);
        };
        check(&[], None);
        check(
            &[("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "4")],
            Some((1, 4)),
        );
        check(&[("PMI_RANK", "0"), ("PMI_SIZE", "2")], Some((0, 2)));
        check(&[("PMIX_RANK", "2"), ("SLURM_NTASKS", "3")], Some((2, 3)));
        // A shell inside of a Slurm job is one process.
        check(&[("SLURM_NTASKS", "3")], None);
    }
}
