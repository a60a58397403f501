//! Per-level maps side by side.

use burn::tensor::Tensor;

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
