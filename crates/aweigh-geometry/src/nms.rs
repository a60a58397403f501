//! Non-maximum suppression on the host, after candidates have been read back.

/// Keeps the best of each group of overlapping boxes of one class: their indices in the order of
/// falling score, the first index first where scores are equal.
///
/// A box is dropped when its overlap with a kept box is greater than (not equal to) the threshold.
/// The overlap of two boxes without area is not a number and drops nothing. Overlaps are f32. An
/// f64 threshold gives the comparison of torchvision's `nms`, an f32 threshold that of mmcv; they
/// differ where an overlap equals the threshold in f32.
///
/// Classes are processed one after the other; shifting them apart by a coordinate offset, as
/// torchvision and mmcv do, would round coordinates and may let classes touch.
///
/// # Panics
///
/// When `boxes`, `scores` and `labels` differ in length.
pub fn batched_nms(
    boxes: &[[f32; 4]],
    scores: &[f32],
    labels: &[usize],
    iou_threshold: impl Into<f64>,
) -> Vec<usize> {
    assert_lengths(boxes, scores.len(), "scores");
    assert_lengths(boxes, labels.len(), "labels");
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    sort_by_score(&mut order, scores);
    // Stable: within a class the order stays that of falling score.
    order.sort_by_key(|i| labels[*i]);
    let limit = threshold(iou_threshold.into());
    let mut kept: Vec<usize> = order
        .chunk_by(|a, b| labels[*a] == labels[*b])
        .flat_map(|class| suppress(boxes, class, limit))
        .collect();
    kept.sort_unstable();
    sort_by_score(&mut kept, scores);
    kept
}

/// Stable sort by falling score.
fn sort_by_score(order: &mut [usize], scores: &[f32]) {
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
}

/// Largest f32 that is not above `limit`: an f32 overlap is greater than one exactly when it is
/// greater than the other, and the inner loop stays in f32.
fn threshold(limit: f64) -> f32 {
    let rounded = limit as f32;
    if f64::from(rounded) > limit {
        rounded.next_down()
    } else {
        rounded
    }
}

/// Goes through `order` from the best to the worst, keeps what is left and drops what overlaps it.
fn suppress(boxes: &[[f32; 4]], order: &[usize], limit: f32) -> Vec<usize> {
    let sorted: Vec<[f32; 4]> = order.iter().map(|i| boxes[*i]).collect();
    let areas: Vec<f32> = sorted.iter().map(area).collect();
    let mut dropped = vec![false; order.len()];
    let mut kept = Vec::new();
    for (rank, index) in order.iter().enumerate() {
        if dropped[rank] {
            continue;
        }
        kept.push(*index);
        let rest = rank + 1..;
        let (best, best_area) = (sorted[rank], areas[rank]);
        let others = sorted[rest.clone()].iter().zip(&areas[rest.clone()]);
        for (flag, (other, other_area)) in dropped[rest].iter_mut().zip(others) {
            let overlap = intersection(&best, other);
            // Boxes without area give 0 / 0, which is not greater than any limit.
            *flag |= overlap / (best_area + other_area - overlap) > limit;
        }
    }
    kept
}

fn area([x1, y1, x2, y2]: &[f32; 4]) -> f32 {
    (x2 - x1) * (y2 - y1)
}

fn intersection(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    width * height
}

fn assert_lengths(boxes: &[[f32; 4]], length: usize, what: &str) {
    assert_eq!(
        boxes.len(),
        length,
        "{} boxes need as many {what}",
        boxes.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: [f32; 4] = [0.0, 0.0, 10.0, 10.0];
    const HALF: [f32; 4] = [0.0, 0.0, 10.0, 5.0]; // overlap with UNIT exactly 0.5
    const APART: [f32; 4] = [20.0, 20.0, 30.0, 30.0];
    const POINT: [f32; 4] = [3.0, 3.0, 3.0, 3.0];

    fn check(
        boxes: &[[f32; 4]],
        scores: &[f32],
        iou_threshold: impl Into<f64>,
        expected: &[usize],
    ) {
        let one_class = vec![0; boxes.len()];
        let kept = batched_nms(boxes, scores, &one_class, iou_threshold);
        assert_eq!(kept, expected);
    }

    #[test]
    fn one_class_is_suppressed() {
        check(&[], &[], 0.5, &[]);
        check(&[UNIT], &[0.3], 0.5, &[0]);
        check(&[UNIT, UNIT, APART], &[0.3, 0.9, 0.5], 0.5, &[1, 2]);
        check(&[UNIT, UNIT], &[0.5, 0.5], 0.5, &[0]);
        check(&[HALF, UNIT], &[0.9, 0.8], 0.5, &[0, 1]);
        check(&[HALF, UNIT], &[0.9, 0.8], 0.499, &[0]);
        check(&[POINT, POINT, UNIT], &[0.9, 0.8, 0.7], 0.5, &[0, 1, 2]);
    }

    #[test]
    fn a_dropped_box_drops_nothing() {
        // The second overlaps the first, the third only the second.
        let chain = [
            [0.0, 0.0, 10.0, 1.0],
            [3.0, 0.0, 13.0, 1.0],
            [6.0, 0.0, 16.0, 1.0],
        ];
        check(&chain, &[0.9, 0.8, 0.7], 0.5, &[0, 2]);
    }

    #[test]
    fn thresholds_are_compared_in_double_precision() {
        // 6 / 10 rounds to an f32 just above the f64 threshold, and equals the f32 one.
        let part = [0.0, 0.0, 10.0, 6.0];
        check(&[UNIT, part], &[0.9, 0.8], 0.6, &[0]);
        check(&[UNIT, part], &[0.9, 0.8], 0.6_f32, &[0, 1]);
    }

    #[test]
    fn classes_do_not_suppress_each_other() {
        let boxes = [UNIT, UNIT, UNIT, APART];
        let scores = [0.5, 0.9, 0.7, 0.6];
        assert_eq!(batched_nms(&boxes, &scores, &[0, 0, 1, 7], 0.5), [1, 2, 3]);
        assert_eq!(
            batched_nms(&boxes, &[0.5; 4], &[9, 3, 1, 2], 0.5),
            [0, 1, 2, 3]
        );
    }

    #[test]
    fn thousands_of_boxes_agree_with_the_definition() {
        let boxes: Vec<[f32; 4]> = (0..3000_u32)
            .map(|i| {
                let spread = |k: u32| (i.wrapping_mul(k) >> 8) as f32 % 97.0;
                let (x, y) = (spread(2_654_435_761), spread(2_246_822_519));
                let (w, h) = (spread(3_266_489_917), spread(668_265_263));
                [x, y, x + 1.0 + w, y + 1.0 + h]
            })
            .collect();
        let scores: Vec<f32> = (0..3000).map(|i| ((i * 37) % 1009) as f32).collect();
        let kept = batched_nms(&boxes, &scores, &[0; 3000], 0.5);
        let overlap = |a: usize, b: usize| {
            let (a, b) = (boxes[a], boxes[b]);
            let common = |axis: usize| a[axis + 2].min(b[axis + 2]) - a[axis].max(b[axis]);
            let shared = common(0).max(0.0) * common(1).max(0.0);
            let area = |[x1, y1, x2, y2]: [f32; 4]| (x2 - x1) * (y2 - y1);
            shared / (area(a) + area(b) - shared)
        };
        for (rank, best) in kept.iter().enumerate() {
            assert!(kept[..rank].iter().all(|k| overlap(*k, *best) <= 0.5));
        }
        for lost in (0..3000).filter(|i| !kept.contains(i)) {
            let beaten = |k: &&usize| scores[**k] >= scores[lost] && overlap(**k, lost) > 0.5;
            assert!(kept.iter().find(beaten).is_some(), "box {lost}");
        }
    }
}
