//! The box and the area of a segmentation: polygons or run lengths.

use hotcoco::mask::{self, RleRef};
use serde_json::Value;

/// What a segmentation covers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extent {
    /// `[x, y, width, height]` in pixels.
    pub(super) bbox: [f64; 4],
    /// In square pixels: of polygons the sum of their areas.
    pub(super) area: f64,
}

/// The extent of all parts of a segmentation together; none where it covers nothing, or is none.
pub(super) fn extent(json: &str) -> Option<Extent> {
    let value: Value = serde_json::from_str(json).ok()?;
    let mut parts = Vec::new();
    collect(&value, &mut parts);
    let mut parts = parts.into_iter();
    let first = parts.next()?;
    Some(parts.fold(first, union))
}

/// The extents of the parts: a polygon is a list of numbers or of pairs, a mask is an object.
fn collect(value: &Value, parts: &mut Vec<Extent>) {
    match value {
        Value::Object(_) => parts.extend(of_runs(value)),
        Value::Array(items) if items.iter().all(is_point) => {
            let points = items.iter().filter_map(Value::as_array).flatten();
            parts.extend(of_polygon(points));
        }
        Value::Array(items) if items.iter().any(Value::is_number) => {
            parts.extend(of_polygon(items.iter()));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, parts)),
        _ => {}
    }
}

fn is_point(value: &Value) -> bool {
    let pair = value.as_array().filter(|pair| pair.len() == 2);
    pair.is_some_and(|pair| pair.iter().all(Value::is_number))
}

/// The extent of a polygon `x, y, x, y, ...`, its area by the shoelace formula.
fn of_polygon<'a>(numbers: impl Iterator<Item = &'a Value>) -> Option<Extent> {
    let numbers: Option<Vec<f64>> = numbers.map(Value::as_f64).collect();
    let numbers = numbers?;
    let points: Vec<[f64; 2]> = numbers.chunks_exact(2).map(|p| [p[0], p[1]]).collect();
    let last = points.last()?;
    let mut before = last;
    let (mut twice, mut low, mut high) = (0.0, *last, *last);
    for point in &points {
        twice += before[0] * point[1] - point[0] * before[1];
        for axis in [0, 1] {
            low[axis] = low[axis].min(point[axis]);
            high[axis] = high[axis].max(point[axis]);
        }
        before = point;
    }
    let bbox = [low[0], low[1], high[0] - low[0], high[1] - low[1]];
    let area = f64::abs(twice) / 2.0;
    Some(Extent { bbox, area })
}

/// The extent of run lengths, compressed or not.
fn of_runs(value: &Value) -> Option<Extent> {
    let side = |index: usize| u32::try_from(value.get("size")?.get(index)?.as_u64()?).ok();
    let (h, w) = (side(0)?, side(1)?);
    let (area, bbox) = match value.get("counts")? {
        Value::String(counts) => mask::area_and_bbox_from_string(counts, h, w).ok()?,
        counts => {
            let counts: Vec<u32> = serde_json::from_value(counts.clone()).ok()?;
            let runs = RleRef::Runs {
                counts: &counts,
                h,
                w,
            };
            runs.area_and_bbox().ok()?
        }
    };
    (area > 0).then_some(Extent {
        bbox,
        area: area as f64,
    })
}

fn union(a: Extent, b: Extent) -> Extent {
    let end = |extent: &Extent, axis: usize| extent.bbox[axis] + extent.bbox[axis + 2];
    let [x, y] = [0, 1].map(|axis| a.bbox[axis].min(b.bbox[axis]));
    let [x2, y2] = [0, 1].map(|axis| end(&a, axis).max(end(&b, axis)));
    Extent {
        bbox: [x, y, x2 - x, y2 - y],
        area: a.area + b.area,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Option<([f64; 4], f64)>) {
        let expected = expected.map(|(bbox, area)| Extent { bbox, area });
        assert_eq!(extent(json), expected, "{json}");
    }

    #[test]
    fn polygons_in_every_layout() {
        let triangle = Some(([10.0, 10.0, 20.0, 20.0], 200.0));
        check("[[10, 10, 30, 10, 30, 30]]", triangle);
        check("[[30, 30, 30.0, 10, 10, 10]]", triangle);
        check("[10, 10, 30, 10, 30, 30]", triangle);
        check("[[[10, 10], [30, 10], [30, 30]]]", triangle);
        check("[[10, 10], [30, 10], [30, 30]]", triangle);
        check(
            "[[10, 10, 30, 10, 30, 30], [0, 5, 4, 5, 4, 9, 0, 9]]",
            Some(([0.0, 5.0, 30.0, 25.0], 216.0)),
        );
    }

    #[test]
    fn run_lengths_in_every_layout() {
        // Columns of 4 rows: rows 1 and 2 of columns 1 and 2.
        let expected = Some(([1.0, 1.0, 2.0, 2.0], 4.0));
        let runs = r#"{"size": [4, 5], "counts": [5, 2, 2, 2, 9]}"#;
        check(runs, expected);
        check(&format!("[{runs}]"), expected);
        check(r#"{"size": [4, 5], "counts": "52207"}"#, expected);
    }

    #[test]
    fn what_covers_nothing_has_no_extent() {
        for json in [
            "[]",
            "{}",
            "null",
            "[[]]",
            "[[1]]",
            "\"\"",
            "[[\"a\", 1]]",
            "[null]",
            r#"{"size": [4, 5], "counts": [20]}"#,
            r#"{"size": [4, 5], "counts": [5, 90]}"#,
            r#"{"size": [4], "counts": "52207"}"#,
        ] {
            check(json, None);
        }
    }
}
