//! Which group goes into which set.

use sha2::{Digest, Sha256};

use super::Balance;

/// Images that stay together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Their positions in the file.
    pub(super) images: Vec<usize>,
    /// Their boxes of each class.
    pub(super) boxes: Vec<usize>,
}

impl Group {
    pub(super) fn new(classes: usize) -> Self {
        Self {
            images: Vec::new(),
            boxes: vec![0; classes],
        }
    }
}

/// A number that depends on the seed and a name alone, on every machine.
pub(super) fn draw(seed: u64, name: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(seed.to_le_bytes());
    digest.update(name);
    digest.finalize().into()
}

/// The set of each group. `parts` are those of the sets, the first of which takes what is left.
pub(super) fn divide(
    groups: &[Group],
    images: usize,
    parts: &[f64],
    balance: Balance,
) -> Vec<usize> {
    match balance {
        Balance::Random => at_random(groups, images, parts),
        Balance::Classes => by_class(groups, images, parts),
    }
}

/// Fills one set after the other, until another group would take it further from its part.
fn at_random(groups: &[Group], images: usize, parts: &[f64]) -> Vec<usize> {
    let mut room: Vec<f64> = parts
        .iter()
        .map(|part| (part * images as f64).round())
        .collect();
    let mut set_of = Vec::with_capacity(groups.len());
    for group in groups {
        let size = group.images.len() as f64;
        let fits = |set: &usize| room[*set] > 0.0 && size / 2.0 <= room[*set];
        let set = (1..parts.len()).find(fits).unwrap_or(0);
        room[set] -= size;
        set_of.push(set);
    }
    set_of
}

/// The rarest class first: its groups go where most of its boxes are wanted.
fn by_class(groups: &[Group], images: usize, parts: &[f64]) -> Vec<usize> {
    let classes = groups.first().map_or(0, |group| group.boxes.len());
    let all = |class: usize| groups.iter().map(|group| group.boxes[class]).sum::<usize>() as f64;
    let totals: Vec<f64> = (0..classes).map(all).collect();
    let wanted = |part: &f64| Wanted {
        boxes: totals.iter().map(|total| part * total).collect(),
        images: part * images as f64,
    };
    let mut sets: Vec<Wanted> = parts.iter().map(wanted).collect();
    let mut set_of: Vec<Option<usize>> = vec![None; groups.len()];
    let mut left: Vec<usize> = totals.iter().map(|total| *total as usize).collect();
    while let Some(class) = rarest(&left) {
        for (at, group) in groups.iter().enumerate() {
            if set_of[at].is_none() && group.boxes[class] > 0 {
                let set = neediest(&sets, |wanted| wanted.boxes[class]);
                sets[set].take(group);
                set_of[at] = Some(set);
                for (left, boxes) in left.iter_mut().zip(&group.boxes) {
                    *left -= boxes;
                }
            }
        }
    }
    let mut rest = |(group, set): (&Group, Option<usize>)| {
        set.unwrap_or_else(|| {
            let set = neediest(&sets, |wanted| wanted.images);
            sets[set].take(group);
            set
        })
    };
    groups.iter().zip(set_of).map(&mut rest).collect()
}

/// What a set still wants.
struct Wanted {
    boxes: Vec<f64>,
    images: f64,
}

impl Wanted {
    fn take(&mut self, group: &Group) {
        self.images -= group.images.len() as f64;
        for (wanted, boxes) in self.boxes.iter_mut().zip(&group.boxes) {
            *wanted -= *boxes as f64;
        }
    }
}

/// The class of which the fewest boxes are left, but some.
fn rarest(left: &[usize]) -> Option<usize> {
    let some = (0..left.len()).filter(|class| left[*class] > 0);
    some.min_by_key(|class| left[*class])
}

/// The set that wants most, then that which wants most images, then the first.
fn neediest(sets: &[Wanted], of: impl Fn(&Wanted) -> f64) -> usize {
    let need = |set: &usize| (of(&sets[*set]), sets[*set].images);
    let more = |a: (f64, f64), b: (f64, f64)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1));
    let best = (0..sets.len()).rev().max_by(|a, b| more(need(a), need(b)));
    best.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(images: usize, boxes: &[usize]) -> Group {
        Group {
            images: (0..images).collect(),
            boxes: boxes.to_vec(),
        }
    }

    fn counts(set_of: &[usize], sets: usize) -> Vec<usize> {
        let count = |set| set_of.iter().filter(|of| **of == set).count();
        (0..sets).map(count).collect()
    }

    #[test]
    fn single_images_are_divided_exactly() {
        let check = |images: usize, parts: &[f64], expected: &[usize]| {
            let groups = vec![group(1, &[]); images];
            let set_of = divide(&groups, images, parts, Balance::Random);
            assert_eq!(counts(&set_of, parts.len()), expected, "{images} {parts:?}");
        };
        check(10, &[0.8, 0.2], &[8, 2]);
        check(10, &[0.7, 0.2, 0.1], &[7, 2, 1]);
        check(7, &[0.5, 0.5], &[3, 4]);
        check(1, &[0.8, 0.2], &[1, 0]);
        check(0, &[0.8, 0.2], &[0, 0]);
    }

    #[test]
    fn groups_that_are_too_large_stay_in_training() {
        let groups = [group(8, &[]), group(1, &[]), group(1, &[])];
        assert_eq!(divide(&groups, 10, &[0.8, 0.2], Balance::Random), [0, 1, 1]);
    }

    #[test]
    fn rare_classes_are_in_every_set() {
        let mut groups = vec![group(1, &[3, 0]); 16];
        groups.extend(vec![group(1, &[1, 1]); 4]);
        let set_of = divide(&groups, 20, &[0.75, 0.25], Balance::Classes);
        let rare = |set| {
            groups
                .iter()
                .zip(&set_of)
                .filter(|(g, s)| **s == set && g.boxes[1] > 0)
                .count()
        };
        assert_eq!([rare(0), rare(1)], [3, 1]);
        assert_eq!(counts(&set_of, 2), [15, 5]);
    }

    #[test]
    fn draws_depend_on_seed_and_name() {
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
    }
}
