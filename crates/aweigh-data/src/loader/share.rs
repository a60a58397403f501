//! The part of an epoch that one of several processes loads.

/// One of several processes that load an epoch together. By default there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which of the processes, from 0.
    pub rank: usize,
    /// How many processes there are.
    pub of: usize,
}

impl Default for Share {
    fn default() -> Self {
        Self { rank: 0, of: 1 }
    }
}

impl Share {
    /// The items that this process has of those of a batch. Processes in their order have the items in
    /// theirs, as many as the others or one more or less; the first one has some if there are any.
    pub(crate) fn part_of<T>(self, items: &[T]) -> &[T] {
        let bound = |rank: usize| (rank * items.len()).div_ceil(self.of);
        &items[bound(self.rank)..bound(self.rank + 1)]
    }

    /// Whether this process has all of the batch with this number; each has every `of`-th.
    pub(crate) fn has(self, index: usize) -> bool {
        index % self.of == self.rank
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_has_one_process() {
        let check = |of: usize, items: &[u8], expected: &[&[u8]]| {
            let parts: Vec<&[u8]> = (0..of)
                .map(|rank| Share { rank, of }.part_of(items))
                .collect();
            assert_eq!(parts, expected);
        };
        check(1, &[1, 2, 3], &[&[1, 2, 3]]);
        check(2, &[1, 2, 3, 4], &[&[1, 2], &[3, 4]]);
        check(2, &[1, 2, 3], &[&[1, 2], &[3]]);
        check(3, &[1], &[&[1], &[], &[]]);
        check(2, &[], &[&[], &[]]);
    }

    #[test]
    fn every_batch_has_one_process() {
        let owners = |index| (0..3).filter(move |&rank| Share { rank, of: 3 }.has(index));
        let all: Vec<usize> = (0..7).flat_map(owners).collect();
        assert_eq!(all, [0, 1, 2, 0, 1, 2, 0]);
    }
}
