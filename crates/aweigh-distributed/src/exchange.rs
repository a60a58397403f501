//! What processes tell each other, in the forms that a training needs.

use std::fmt::Display;

use thiserror::Error;

use crate::{ProcessGroup, describe};

/// Another process cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{process}: {reason}")]
pub struct OtherProcess {
    /// Which one, and where.
    pub process: String,
    /// Why, in its words.
    pub reason: String,
}

/// Why a group cannot go on.
#[derive(Debug)]
pub enum Failure<E> {
    /// This process cannot.
    Own(E),
    /// Another one cannot.
    Other(OtherProcess),
}

/// Hands the numbers of this process to all, or the reason why it has none, and gives the numbers of
/// every process, by rank.
///
/// # Errors
///
/// When one of them has none: on all processes.
pub fn exchange<const N: usize, E: Display>(
    group: &dyn ProcessGroup,
    own: Result<[u64; N], E>,
) -> Result<Vec<[u64; N]>, Failure<E>> {
    let message = match &own {
        Ok(numbers) => {
            let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
            std::iter::once(0).chain(bytes).collect()
        }
        Err(error) => {
            let process = describe(group.rank(), group.size(), &group.place().host);
            format!("\u{1}{process}\n{error}").into_bytes()
        }
    };
    let all = group.gather(&message);
    if let Err(error) = own {
        return Err(Failure::Own(error));
    }
    all.iter().map(|message| read(message)).collect()
}

fn read<const N: usize, E>(message: &[u8]) -> Result<[u64; N], Failure<E>> {
    match message.split_first() {
        Some((0, bytes)) => {
            let mut numbers = bytes.chunks_exact(8).map(|bytes| {
                let bytes = bytes.try_into().expect("a chunk of eight bytes");
                u64::from_le_bytes(bytes)
            });
            let next = |_| numbers.next().expect("processes run the same program");
            Ok(std::array::from_fn(next))
        }
        other => {
            let text = String::from_utf8_lossy(other.map_or(&[][..], |(_, text)| text));
            let (process, reason) = text.split_once('\n').unwrap_or(("a process", &text));
            Err(Failure::Other(OtherProcess {
                process: process.to_owned(),
                reason: reason.to_owned(),
            }))
        }
    }
}

/// The result of this process, if every process has one.
///
/// # Errors
///
/// When one of them has an error: on all processes.
pub fn together<T, E: Display>(
    group: &dyn ProcessGroup,
    own: Result<T, E>,
) -> Result<T, Failure<E>> {
    match own {
        Ok(value) => exchange(group, Ok::<_, E>([])).map(|_| value),
        Err(error) => Err(exchange::<0, E>(group, Err(error))
            .expect_err("a process that has no result has an error")),
    }
}

/// Whether it is so in any of the processes.
pub fn any(group: &dyn ProcessGroup, own: bool) -> bool {
    let all = group.gather(&[u8::from(own)]);
    all.iter().any(|answer| answer[..] != [0])
}

/// The sums of a few numbers over all processes, added up by rank.
pub fn sum_in_order(group: &dyn ProcessGroup, own: &[f32]) -> Vec<f32> {
    let bytes: Vec<u8> = own.iter().flat_map(|value| value.to_le_bytes()).collect();
    let all = group.gather(&bytes);
    let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let of_process = |bytes: &Vec<u8>| bytes.chunks_exact(4).map(number).collect();
    let lists = all.iter().map(of_process);
    let sums: Option<Vec<f32>> = lists.reduce(|sums: Vec<f32>, list: Vec<f32>| {
        let pairs = sums.into_iter().zip(list);
        pairs.map(|(sum, value)| sum + value).collect()
    });
    sums.expect("a group has a process")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Alone;

    #[test]
    fn numbers_and_errors_survive_the_way() {
        let numbers = exchange(&Alone, Ok::<_, String>([3, u64::MAX]));
        assert_eq!(numbers.unwrap(), [[3, u64::MAX]]);
        match exchange::<1, _>(&Alone, Err("no file")) {
            Err(Failure::Own(reason)) => assert_eq!(reason, "no file"),
            other => panic!("{other:?}"),
        }
        let failure = read::<1, String>("\u{1}process 1 of 2 (on b)\nno file".as_bytes());
        match failure {
            Err(Failure::Other(other)) => {
                assert_eq!(other.to_string(), "process 1 of 2 (on b): no file");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_process_agrees_with_itself() {
        assert!(any(&Alone, true));
        assert!(!any(&Alone, false));
        assert_eq!(sum_in_order(&Alone, &[1.5, -0.0]), [1.5, -0.0]);
        assert_eq!(together(&Alone, Ok::<_, String>(7)).unwrap(), 7);
        assert!(together(&Alone, Err::<(), _>("no")).is_err());
    }
}
