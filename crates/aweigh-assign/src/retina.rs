//! RetinaNet assignment (Lin et al. 2017, section 4; mmdetection 3.x `anchor_head.py`): anchors by
//! their overlap, and the deltas from each positive anchor to its box.

use aweigh_geometry::{GroundTruth, LevelShape, anchors::AnchorGrid, codec::encode_delta};
use burn::tensor::Tensor;

use crate::Matches;
use crate::max_iou::MaxIouAssigner;

/// Gives each anchor at most one ground-truth box.
#[derive(Debug, Clone, PartialEq)]
pub struct RetinaAssigner {
    /// The anchors of a point.
    pub anchors: AnchorGrid,
    /// Who learns which box.
    pub max_iou: MaxIouAssigner,
}

/// What every anchor of a batch should predict.
#[derive(Debug, Clone)]
pub struct RetinaTargets {
    /// Which anchor learns which box. An anchor is ignored where its overlap is between the
    /// thresholds, or where it lies in an ignore region or outside of its image.
    pub matches: Matches,
    /// `[B, P, 4]`: deltas of centre and size, zero where not positive.
    pub deltas: Tensor<3>,
}

impl RetinaAssigner {
    /// Assigns every anchor of the pyramid `levels` for every image of `truth`. P counts anchors in
    /// the order of [`AnchorGrid::host`].
    pub fn assign(&self, levels: &[LevelShape], truth: &GroundTruth) -> RetinaTargets {
        let repeated: Vec<LevelShape> = levels
            .iter()
            .flat_map(|level| std::iter::repeat_n(*level, self.anchors.per_point()))
            .collect();
        let usable = truth.covers(&repeated); // [B, P]
        let anchors = self
            .anchors
            .tensor(levels, &truth.boxes.device())
            .unsqueeze_dim::<3>(0); // [1, P, 4]
        let matches = self.max_iou.assign(anchors.clone(), Some(usable), truth);

        let boxes = matches.boxes(truth); // [B, P, 4]
        let full = boxes.dims();
        // An anchor without a box keeps its own: the delta is zero, never infinite.
        let without = matches.positive.clone().bool_not().unsqueeze_dim::<3>(2);
        let anchors = anchors.expand(full);
        let boxes = boxes.mask_where(without.expand(full), anchors.clone());
        RetinaTargets {
            matches,
            deltas: encode_delta(anchors, boxes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_geometry::{HostTruth, anchors::AnchorSides};
    use aweigh_testkit::device;
    use burn::tensor::Bool;

    /// Squares of 16 pixels (anchors 0 and 1) and boxes of 8 by 32 pixels (2 and 3) around the points
    /// 0 and 16.
    const LEVELS: [LevelShape; 1] = [LevelShape::new(1, 2, 16)];

    fn targets(boxes: &[[f32; 4]], width: usize) -> RetinaTargets {
        let assigner = RetinaAssigner {
            anchors: AnchorGrid {
                base_scale: 1.0,
                scales_per_octave: 1,
                ratios: vec![1.0, 4.0],
                sides: AnchorSides::Exact,
            },
            max_iou: MaxIouAssigner::default(),
        };
        let image = HostTruth {
            boxes: boxes.to_vec(),
            labels: (3..3 + boxes.len()).collect(),
            ignore: Vec::new(),
        };
        let truth = GroundTruth::from_host(&[image], &device()).with_sizes(&[[16, width]]);
        assigner.assign(&LEVELS, &truth)
    }

    /// Label of every anchor, -1 for background and -2 for left out.
    fn check(boxes: &[[f32; 4]], width: usize, expected: [i64; 4]) {
        let found = targets(boxes, width).matches;
        let flags = |t: Tensor<2, Bool>| -> Vec<bool> { t.into_data().iter::<bool>().collect() };
        let (positive, ignored) = (flags(found.positive), flags(found.ignored));
        let labels: Vec<i64> = found.labels.into_data().iter::<i64>().collect();
        let found = [0, 1, 2, 3].map(|i| match (positive[i], ignored[i]) {
            (true, _) => labels[i],
            (false, true) => -2,
            (false, false) => -1,
        });
        assert_eq!(found, expected, "{boxes:?}");
    }

    #[test]
    fn anchors_learn_the_box_they_overlap() {
        check(&[], 32, [-1; 4]);
        check(&[[-8.0, -8.0, 8.0, 8.0]], 32, [3, -1, -1, -1]);
        // Half as wide and twice as high as the squares.
        let high = [12.0, -16.0, 20.0, 16.0];
        check(&[high], 32, [-1, -1, -1, 3]);
        check(&[high, [8.0, -8.0, 24.0, 8.0]], 32, [-1, 4, -1, 3]);
        check(&[[8.0, 8.0, 8.0, 8.0]], 32, [-1; 4]);
    }

    #[test]
    fn anchors_of_points_outside_of_the_image_are_left_out() {
        check(&[[-8.0, -8.0, 8.0, 8.0]], 16, [3, -2, -1, -2]);
    }

    #[test]
    fn deltas_lead_from_the_anchor_to_its_box() {
        let deltas = targets(&[[-8.0, -8.0, 6.0, 8.0]], 32).deltas;
        let values: Vec<f32> = deltas.into_data().iter::<f32>().collect();
        let expected = [-1.0 / 16.0, 0.0, (14.0_f32 / 16.0).ln(), 0.0];
        assert_eq!(values[..4], expected);
        assert!(values[4..].iter().all(|d| *d == 0.0), "{values:?}");
    }
}
