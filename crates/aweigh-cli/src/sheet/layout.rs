//! Sizes of a sheet and its panels.

/// Width that a sheet has where nothing asks for more, in pixels.
const WIDTH: f32 = 1800.0;

/// Smallest distance between the points of a level, in pixels, of one panel and of several.
const SPACING: [f32; 2] = [16.0, 8.0];

/// Width over height that a sheet should have.
const SHAPE: f32 = 1.6;

/// Width of a sheet for which the letters are large enough, in pixels.
const LETTERS: u32 = 1250;

/// Where panels go and how large they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Layout {
    /// Panels side by side.
    pub(super) columns: usize,
    /// Pixels of a panel per pixel of the network input.
    pub(super) zoom: f32,
    /// Width and height of a panel, in pixels.
    pub(super) panel: [u32; 2],
    /// Enlargement of letters and lines.
    pub(super) unit: u32,
}

impl Layout {
    /// The arrangement of `panels` whose shape is closest to that of a screen, given `[height,
    /// width]` of the network input and the smallest stride.
    pub(super) fn new(panels: usize, input: [usize; 2], stride: usize) -> Self {
        let [alone, beside] = SPACING;
        let spacing = if panels == 1 { alone } else { beside };
        let all = (1..=panels.max(1)).map(|columns| {
            let rows = panels.div_ceil(columns);
            let [height, width] = input.map(|side| side as f32);
            let zoom = (WIDTH / (columns as f32 * width)).max(spacing / stride as f32);
            let shape = columns as f32 * width / (rows as f32 * height);
            ((shape / SHAPE).ln().abs(), columns, zoom)
        });
        let (_, columns, zoom) = all
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .expect("there is at least one arrangement");
        let [height, width] = input.map(|side| (side as f32 * zoom).round() as u32);
        Self {
            columns,
            zoom,
            panel: [width, height],
            unit: (columns as u32 * width / LETTERS).max(1),
        }
    }

    /// Width that is left in the last row of `panels`, in pixels.
    pub(super) fn free_width(&self, panels: usize) -> u32 {
        match (panels % self.columns) as u32 {
            0 => 0,
            used => self.width() - used * (self.panel[0] + self.margin()),
        }
    }

    /// A length of the network input in pixels of a panel, at least 1.
    pub(super) fn pixels(&self, side: usize) -> u32 {
        ((side as f32 * self.zoom).round() as u32).max(1)
    }

    /// A box of the network input in pixels of a panel.
    pub(super) fn scaled(&self, bbox: [f32; 4]) -> [f32; 4] {
        bbox.map(|side| side * self.zoom)
    }

    /// Width of a sheet without its margins, in pixels.
    pub(super) fn width(&self) -> u32 {
        let columns = self.columns as u32;
        columns * self.panel[0] + (columns - 1) * self.margin()
    }

    /// Space between the parts of a sheet, in pixels.
    pub(super) fn margin(&self) -> u32 {
        14 * self.unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_has_room_beside_its_panels() {
        let layout = Layout::new(5, [192, 256], 8);
        let check = |panels, width| assert_eq!(layout.free_width(panels), width, "{panels}");
        check(5, 600);
        check(4, 1200 + layout.margin());
        check(3, 0);
    }

    #[test]
    fn sheets_are_about_as_wide_as_screens() {
        let check = |panels, input, columns, panel| {
            let layout = Layout::new(panels, input, 8);
            let found = (layout.columns, layout.panel);
            assert_eq!(found, (columns, panel), "{panels} of {input:?}");
        };
        check(1, [192, 256], 1, [1800, 1350]);
        check(3, [192, 256], 2, [900, 675]);
        check(5, [192, 256], 3, [600, 450]);
        check(5, [256, 192], 4, [450, 600]);
        // Points sixteen pixels apart, or eight.
        check(1, [800, 1344], 1, [2688, 1600]);
        check(5, [800, 1344], 2, [1344, 800]);
    }
}
