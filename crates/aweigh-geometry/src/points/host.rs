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

/// How far apart the points of a level lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PointSpacing {
    /// By the stride.
    #[default]
    Stride,
    /// By `floor(input / cells)`, in each direction: less than the stride where the last cell of a
    /// coarse map reaches beyond the input (torchvision `anchor_utils.py`, `AnchorGenerator`).
    Input,
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
    /// Pixels between neighbouring rows and columns of points.
    step: [usize; 2],
}

impl LevelShape {
    /// A level of `height` rows and `width` columns, whose points lie a stride apart.
    pub const fn new(height: usize, width: usize, stride: usize) -> Self {
        Self {
            height,
            width,
            stride,
            step: [stride; 2],
        }
    }

    /// The level with its points spread over a network input of `[height, width]` pixels.
    pub const fn spread(self, spacing: PointSpacing, [height, width]: [usize; 2]) -> Self {
        match spacing {
            PointSpacing::Stride => self,
            PointSpacing::Input => Self {
                step: [height / self.height, width / self.width],
                ..self
            },
        }
    }

    /// Pixels between neighbouring rows and columns of points: the stride, unless they are
    /// [`spread`](Self::spread).
    pub const fn step(&self) -> [usize; 2] {
        self.step
    }

    /// Points of the level: `height * width`.
    pub const fn points(&self) -> usize {
        self.height * self.width
    }

    /// Coordinates of every point, row by row: `x = (column + offset) * step`, `y` likewise
    /// (mmdetection 3.x `task_modules/prior_generators/point_generator.py`).
    pub fn host_points(&self, origin: PointOrigin) -> impl Iterator<Item = [f32; 2]> {
        let at = move |i: usize, step: usize| (i as f32 + origin.offset()) * step as f32;
        let ([down, right], width) = (self.step, self.width);
        (0..self.height).flat_map(move |y| (0..width).map(move |x| [at(x, right), at(y, down)]))
    }
}

/// Points of all levels together.
pub fn point_count(levels: &[LevelShape]) -> usize {
    levels.iter().map(LevelShape::points).sum()
}
