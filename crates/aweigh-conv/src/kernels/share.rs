//! Even splits of ranges.

use std::ops::Range;

/// The range of `0..count` that is number `i` of `parts`, whose sizes differ by at most one.
#[inline(always)]
pub(crate) fn share(count: usize, parts: usize, i: usize) -> Range<usize> {
    i * count / parts..(i + 1) * count / parts
}

/// Splits `count` rows into as few groups of at most `most` as possible, whose sizes differ by at
/// most one: the first row and the number of rows of each.
pub(crate) fn groups(count: usize, most: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let groups = count.div_ceil(most);
    (0..groups).map(move |i| {
        let group = share(count, groups, i);
        (group.start, group.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_all_rows_evenly() {
        for count in 0..100 {
            let found: Vec<_> = groups(count, 14).collect();
            let mut next = 0;
            for &(first, rows) in &found {
                assert_eq!(first, next);
                assert!((1..=14).contains(&rows));
                next += rows;
            }
            assert_eq!(next, count);
        }
    }
}
