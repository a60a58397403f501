//! An order for work that may be cut short.

/// The numbers `0..count`, each at one of as many turns, in an order of which every beginning is
/// spread evenly: gives the number at a turn below `count`.
pub fn evenly_spread(count: usize) -> impl Fn(usize) -> usize + Copy {
    let step = step(count);
    move |turn| (turn as u128 * step as u128 % count as u128) as usize
}

/// About the golden section of `count`, without a common divisor: its multiples come to every
/// number, evenly spread.
fn step(count: usize) -> usize {
    let common_divisor = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let golden = (count as f64 * 0.618_033_988_749_895) as usize;
    let mut steps = golden.max(1)..=count.max(1);
    let fits = |step: &usize| common_divisor(*step, count) == 1;
    steps.find(fits).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_of_an_order_is_spread() {
        for count in [0, 1, 2, 5, 10, 89, 1000] {
            let order: Vec<usize> = (0..count).map(evenly_spread(count)).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..count), "{count}: {order:?}");
        }
        let mut first: Vec<usize> = (0..1000).map(evenly_spread(1000)).take(10).collect();
        first.sort_unstable();
        let gaps = first.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.max().is_some_and(|gap| gap < 200), "{first:?}");
    }
}
