//! Maps of the levels of a pyramid.

use aweigh_geometry::{LevelShape, PointOrigin, PointSpacing};
use burn::tensor::Tensor;

/// Maps of every level of a pyramid, with the size and stride of each level.
#[derive(Debug, Clone)]
pub struct Pyramid<T> {
    /// Features, or the raw predictions that a head makes of them.
    pub maps: T,
    /// Size and stride of every level.
    pub levels: Vec<LevelShape>,
}

impl Pyramid<Vec<Tensor<4>>> {
    /// Features `[B, channels, H_l, W_l]` of levels with these strides.
    ///
    /// # Panics
    ///
    /// When there is not one stride per level.
    pub fn new(maps: Vec<Tensor<4>>, strides: &[usize]) -> Self {
        assert_eq!(maps.len(), strides.len(), "feature maps and strides");
        let shape = |(map, stride): (&Tensor<4>, &usize)| {
            let [_, _, height, width] = map.dims();
            LevelShape::new(height, width, *stride)
        };
        let levels = maps.iter().zip(strides).map(shape).collect();
        Self { maps, levels }
    }
}

impl<T> Pyramid<T> {
    /// Other maps of the same levels.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Pyramid<U> {
        Pyramid {
            maps: change(self.maps),
            levels: self.levels,
        }
    }

    /// The levels with their points spread over a network input of `[height, width]` pixels.
    pub(crate) fn spread(self, spacing: PointSpacing, input: [usize; 2]) -> Self {
        let levels = self.levels.iter();
        Self {
            levels: levels.map(|level| level.spread(spacing, input)).collect(),
            maps: self.maps,
        }
    }

    /// Stride of each level, in pixels.
    pub(crate) fn strides(&self) -> Vec<f32> {
        let levels = self.levels.iter();
        levels.map(|level| level.stride as f32).collect()
    }

    /// Number of points of each level.
    pub(crate) fn level_points(&self) -> Vec<usize> {
        self.levels.iter().map(LevelShape::points).collect()
    }
}

/// One point per cell, level after level.
pub(crate) fn cell_points(levels: &[LevelShape], origin: PointOrigin) -> Vec<[f32; 2]> {
    let points = levels.iter().flat_map(|level| level.host_points(origin));
    points.collect()
}

/// All levels of a prediction side by side: `[B, channels, H_l, W_l]` to `[B, channels, P]`.
pub(crate) fn flatten(levels: &[Tensor<4>]) -> Tensor<3> {
    let flat = levels
        .iter()
        .map(|x| x.clone().flatten::<3>(2, 3))
        .collect();
    Tensor::cat(flat, 2)
}

/// All levels of a prediction for several anchors per point side by side:
/// `[B, A channels, H_l, W_l]` to `[B, channels, P]`, in a level one anchor at every point, then
/// the next anchor.
pub(crate) fn flatten_anchors(levels: &[Tensor<4>], anchors: usize) -> Tensor<3> {
    let of_level = |x: &Tensor<4>| {
        let [batch, channels, height, width] = x.dims();
        let (channels, points) = (channels / anchors, height * width);
        x.clone()
            .reshape([batch, anchors, channels, points])
            .swap_dims(1, 2)
            .reshape([batch, channels, anchors * points])
    };
    Tensor::cat(levels.iter().map(of_level).collect(), 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::device;
    use burn::tensor::Int;

    #[test]
    fn anchors_of_a_level_follow_each_other() {
        let level = |height: usize, width: usize, first: i64| {
            let count = (4 * height * width) as i64;
            let values = Tensor::<1, Int>::arange(first..first + count, &device());
            values.float().reshape([1, 4, height, width])
        };
        let maps = [level(1, 2, 0), level(1, 1, 100)];
        let read = |x: Tensor<3>| -> Vec<f32> { x.try_into_vec_as().expect("values") };
        let plain = flatten(&maps);
        assert_eq!(plain.dims(), [1, 4, 3]);
        let first_channels = [0.0, 1.0, 100.0, 2.0, 3.0, 101.0];
        assert_eq!(read(plain)[..6], first_channels);
        let shared = flatten_anchors(&maps, 2);
        assert_eq!(shared.dims(), [1, 2, 6]);
        let first_channel = [0.0, 1.0, 4.0, 5.0, 100.0, 102.0];
        assert_eq!(read(shared)[..6], first_channel);
    }
}
