//! Runs of output positions that are processed together.

use std::ops::Range;

/// Output positions of a group of images, counted over the images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// First image of the group.
    pub(super) first_image: usize,
    /// Positions from the first of the group.
    pub(super) positions: Range<usize>,
}

/// The positions of a chunk that lie in one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Image, from the first of the group.
    pub(super) image: usize,
    /// Positions of the image.
    pub(super) positions: Range<usize>,
    /// The chunk's row of the first position.
    pub(super) row: usize,
}

impl Chunk {
    /// Number of positions.
    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }

    /// Image (from the first of the group) and position of a row, with `positions` to an image.
    pub(super) fn position(&self, row: usize, positions: usize) -> (usize, usize) {
        let global = self.positions.start + row;
        (global / positions, global % positions)
    }

    /// The chunk cut at the borders of images with `positions` each.
    pub(super) fn parts(&self, positions: usize) -> Vec<Part> {
        let Range { start, end } = self.positions;
        let images = start / positions..end.div_ceil(positions);
        images
            .map(|image| {
                let first = start.max(image * positions);
                let last = end.min((image + 1) * positions);
                Part {
                    image,
                    positions: first - image * positions..last - image * positions,
                    row: first - start,
                }
            })
            .collect()
    }
}

/// The chunks of the images `group`, each of at most `len` positions.
pub(super) fn chunks(group: Range<usize>, positions: usize, len: usize) -> Vec<Chunk> {
    let total = group.len() * positions;
    (0..total)
        .step_by(len)
        .map(|start| Chunk {
            first_image: group.start,
            positions: start..(start + len).min(total),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_chunk_in_order() {
        let chunks = chunks(3..6, 10, 14);
        let covered: Vec<Vec<(usize, Range<usize>, usize)>> = chunks
            .iter()
            .map(|chunk| {
                let parts = chunk.parts(10).into_iter();
                parts.map(|p| (p.image, p.positions, p.row)).collect()
            })
            .collect();
        let expected = vec![
            vec![(0, 0..10, 0), (1, 0..4, 10)],
            vec![(1, 4..10, 0), (2, 0..8, 6)],
            vec![(2, 8..10, 0)],
        ];
        assert_eq!(covered, expected);
        assert_eq!(chunks[1].position(7, 10), (2, 1));
    }
}
