//! Ground truth of one image in host memory.

/// Ground truth of one image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostTruth {
    /// Boxes `[x1, y1, x2, y2]`, in pixels: of the network input in a batch, of the file in a
    /// dataset.
    pub boxes: Vec<[f32; 4]>,
    /// Class in `0..C` of each box.
    pub labels: Vec<usize>,
    /// Regions in which nothing is background, crowds and annotations to ignore: their points get
    /// no classification loss.
    pub ignore: Vec<[f32; 4]>,
}

impl HostTruth {
    /// The same ground truth with every box and ignore region moved by `map`.
    pub fn map_boxes(&self, map: impl Fn([f32; 4]) -> [f32; 4]) -> Self {
        let all = |boxes: &[[f32; 4]]| boxes.iter().map(|bbox| map(*bbox)).collect();
        Self {
            boxes: all(&self.boxes),
            labels: self.labels.clone(),
            ignore: all(&self.ignore),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_and_ignore_regions_move_together() {
        let truth = HostTruth {
            boxes: vec![[1.0, 2.0, 3.0, 4.0]],
            labels: vec![7],
            ignore: vec![[5.0, 6.0, 7.0, 8.0]],
        };
        let expected = HostTruth {
            boxes: vec![[2.0, 4.0, 6.0, 8.0]],
            labels: vec![7],
            ignore: vec![[10.0, 12.0, 14.0, 16.0]],
        };
        assert_eq!(truth.map_boxes(|bbox| bbox.map(|v| 2.0 * v)), expected);
    }
}
