//! Levels of a pyramid and their points.

/// Where in its cell the point of a cell lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointOrigin {
    /// `i * stride`, as FSAF and RepPoints.
    Corner,
    /// `(i + 0.5) * stride`, as FCOS and FoveaBox.
    Center,
}

impl PointOrigin {
    /// Distance of the point from the cell's upper left corner, in cells.
    pub const fn offset(self) -> f32 {
        match self {
            Self::Corner => 0.0,
            Self::Center => 0.5,
        }
    }
}

/// Size of the feature map of one pyramid level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelShape {
    /// Rows of the feature map.
    pub height: usize,
    /// Columns of the feature map.
    pub width: usize,
    /// Pixels of the network input per cell.
    pub stride: usize,
}

impl LevelShape {
    /// A level of `height` rows and `width` columns.
    pub const fn new(height: usize, width: usize, stride: usize) -> Self {
        Self {
            height,
            width,
            stride,
        }
    }

    /// Points of the level: `height * width`.
    pub const fn points(&self) -> usize {
        self.height * self.width
    }

    /// Coordinates of every point, row by row: `x = (column + offset) * stride`, `y` likewise
    /// (mmdetection 3.x `task_modules/prior_generators/point_generator.py`).
    pub fn host_points(&self, origin: PointOrigin) -> impl Iterator<Item = [f32; 2]> {
        let stride = self.stride as f32;
        let at = move |i: usize| (i as f32 + origin.offset()) * stride;
        let width = self.width;
        (0..self.height).flat_map(move |y| (0..width).map(move |x| [at(x), at(y)]))
    }
}

/// Points of all levels together.
pub fn point_count(levels: &[LevelShape]) -> usize {
    levels.iter().map(LevelShape::points).sum()
}
