//! Pixels and who owns them.
//!
//! Drawing crates neither tell what stays visible of an object nor promise the same pixels on every
//! platform and in every version, as a dataset that is named by its seed needs.

use aweigh_geometry::boxes::xyxy_to_xywh;

use super::shapes::Outline;

/// Owner of the pixels that belong to no object.
pub(super) const NOBODY: u16 = 0;

/// Samples of a pixel along each axis.
const SAMPLES: usize = 4;

/// An RGB image under construction.
pub(crate) struct Canvas {
    size: [usize; 2],
    pixels: Vec<u8>,
    /// The topmost object of each pixel.
    owners: Vec<u16>,
}

/// The pixels that a shape covers.
pub(super) struct Mask {
    /// Position in the image, and covered samples of 16.
    cells: Vec<(usize, u8)>,
}

impl Mask {
    /// Samples an outline on a 4x4 grid in each pixel; what lies outside the image is left out.
    pub(super) fn new(outline: &Outline, [height, width]: [usize; 2]) -> Self {
        let [x1, y1, x2, y2] = outline.bounds;
        let columns = x1.max(0.0) as usize..(x2.ceil() as usize).min(width);
        let mut cells = Vec::new();
        for y in y1.max(0.0) as usize..(y2.ceil() as usize).min(height) {
            for x in columns.clone() {
                let covered = coverage(outline, x, y);
                if covered > 0 {
                    cells.push((y * width + x, covered));
                }
            }
        }
        Self { cells }
    }

    /// The pixels of which at least half is covered: these belong to the object.
    pub(super) fn solid(&self) -> impl Iterator<Item = usize> + '_ {
        let half = (SAMPLES * SAMPLES / 2) as u8;
        self.cells
            .iter()
            .filter(move |cell| cell.1 >= half)
            .map(|cell| cell.0)
    }
}

fn coverage(outline: &Outline, x: usize, y: usize) -> u8 {
    let at = |start: usize, step: usize| start as f64 + (step as f64 + 0.5) / SAMPLES as f64;
    let steps = (0..SAMPLES).flat_map(|i| (0..SAMPLES).map(move |j| (i, j)));
    steps
        .filter(|&(i, j)| outline.contains([at(x, j), at(y, i)]))
        .count() as u8
}

impl Canvas {
    /// An image `[height, width]` of a function of `(x, y)`.
    pub(super) fn new(
        [height, width]: [usize; 2],
        color: impl Fn(usize, usize) -> [u8; 3],
    ) -> Self {
        let color = &color;
        Self {
            size: [height, width],
            pixels: (0..height)
                .flat_map(|y| (0..width).flat_map(move |x| color(x, y)))
                .collect(),
            owners: vec![NOBODY; height * width],
        }
    }

    /// Height and width.
    pub(super) fn size(&self) -> [usize; 2] {
        self.size
    }

    /// RGB, interleaved.
    pub(crate) fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The colour of a pixel.
    pub(super) fn color(&self, place: usize) -> [u8; 3] {
        [0, 1, 2].map(|channel| self.pixels[place * 3 + channel])
    }

    /// The topmost object of a pixel.
    pub(super) fn owner(&self, place: usize) -> u16 {
        self.owners[place]
    }

    /// Makes a rectangle `[x1, y1, x2, y2]`, in whole pixels, belong to an object.
    pub(super) fn claim(&mut self, [x1, y1, x2, y2]: [usize; 4], owner: u16) {
        for y in y1..y2 {
            self.owners[y * self.size[1] + x1..y * self.size[1] + x2].fill(owner);
        }
    }

    /// Paints an object: a flat colour, a little brighter at its top, with smooth edges.
    pub(super) fn paint(&mut self, mask: &Mask, color: [u8; 3], owner: u16) {
        let row = |place: usize| (place / self.size[1]) as i32;
        let first = mask.cells.first().map_or(0, |cell| row(cell.0));
        let last = mask.cells.last().map_or(0, |cell| row(cell.0));
        for &(place, covered) in &mask.cells {
            let light = 12 - 24 * (row(place) - first) / (last - first).max(1);
            let covered = i32::from(covered);
            let all = (SAMPLES * SAMPLES) as i32;
            for (channel, &value) in color.iter().enumerate() {
                let pixel = &mut self.pixels[place * 3 + channel];
                let value = (i32::from(value) + light).clamp(0, 255);
                let mixed = value * covered + i32::from(*pixel) * (all - covered);
                *pixel = ((mixed + all / 2) / all) as u8;
            }
        }
        for place in mask.solid() {
            self.owners[place] = owner;
        }
    }

    /// The tight box `[x, y, w, h]` around the visible pixels of an object and their number.
    pub(super) fn extent(&self, owner: u16) -> Option<([usize; 4], usize)> {
        let width = self.size[1];
        let visible = (0..self.owners.len()).filter(|&place| self.owners[place] == owner);
        let mut area = 0;
        let [mut x1, mut y1, mut x2, mut y2] = [usize::MAX, usize::MAX, 0, 0];
        for (x, y) in visible.map(|place| (place % width, place / width)) {
            (x1, y1) = (x1.min(x), y1.min(y));
            (x2, y2) = (x2.max(x + 1), y2.max(y + 1));
            area += 1;
        }
        (area > 0).then(|| (xyxy_to_xywh([x1, y1, x2, y2]), area))
    }
}

#[cfg(test)]
mod tests {
    use super::super::shapes::Shape;
    use super::*;

    #[test]
    fn boxes_are_tight_around_what_is_visible() {
        let mut canvas = Canvas::new([40, 50], |_, _| [10, 20, 30]);
        let mut paint = |shape, side, place, owner| {
            let mask = Mask::new(&Outline::new(shape, 0.0, side, place), [40, 50]);
            canvas.paint(&mask, [200, 100, 0], owner);
        };
        paint(Shape::Square, 20.0, [5.0, 6.0], 1);
        paint(Shape::Square, 10.0, [20.0, 6.0], 2);
        assert_eq!(canvas.extent(1), Some(([5, 6, 20, 20], 350)));
        assert_eq!(canvas.extent(2), Some(([20, 6, 10, 10], 100)));
        assert_eq!(canvas.extent(3), None);
        assert_eq!(canvas.color(0), [10, 20, 30]);
        // The top row of an object is brighter, within 0..=255.
        assert_eq!(canvas.color(6 * 50 + 5), [212, 112, 12]);
    }

    #[test]
    fn edges_are_smooth_and_clipped() {
        let mut canvas = Canvas::new([8, 8], |_, _| [0; 3]);
        let outline = Outline::new(Shape::Square, 0.0, 4.0, [5.5, -2.0]);
        canvas.paint(&Mask::new(&outline, [8, 8]), [160; 3], 1);
        // Half of column 5 is covered.
        assert_eq!(canvas.color(5), [86; 3]);
        assert_eq!(canvas.extent(1), Some(([5, 0, 3, 2], 6)));
    }
}
