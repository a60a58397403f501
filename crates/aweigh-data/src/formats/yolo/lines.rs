//! The lines of a file of labels.

use std::path::Path;

use crate::DataError;
use crate::formats::Object;

/// Rounding of the programs that write numbers from 0 to 1.
const SLACK: f64 = 0.01;

const EXPECTED: &str = "expected `class x y width height`, or a class and the corners of a polygon";

/// What all lines of a dataset are read by.
pub(super) struct LineReader {
    /// Number of classes.
    pub(super) classes: usize,
    /// Whether key points follow the box.
    pub(super) with_key_points: bool,
}

impl LineReader {
    /// The objects of a file, in pixels of a picture of `[height, width]`.
    ///
    /// # Errors
    /// If a line is wrong; the message names it.
    pub(super) fn read(&self, path: &Path, size: [u32; 2]) -> Result<Vec<Object>, DataError> {
        let text = std::fs::read_to_string(path).map_err(|reason| DataError::AnnotationFile {
            path: path.to_path_buf(),
            reason,
        })?;
        let text = text.trim_start_matches('\u{feff}');
        let lines = text.lines().enumerate();
        let lines = lines.filter(|(_, line)| !line.trim().is_empty());
        let object = |(at, line): (usize, &str)| {
            self.object(line, size).map_err(|reason| DataError::Labels {
                path: path.to_path_buf(),
                line: Some(at + 1),
                reason,
            })
        };
        lines.map(object).collect()
    }

    fn object(&self, line: &str, [height, width]: [u32; 2]) -> Result<Object, String> {
        let numbers = line.split_whitespace().map(|word| {
            let number: Option<f64> = word.parse().ok().filter(|n: &f64| n.is_finite());
            number.ok_or_else(|| format!("`{word}` is no number; {EXPECTED}"))
        });
        let numbers = numbers.collect::<Result<Vec<f64>, String>>()?;
        let class = self.class(numbers[0])?;
        let [x1, y1, x2, y2] = self.edges(&numbers[1..])?;
        let [width, height] = [f64::from(width), f64::from(height)];
        let bbox = [
            x1 * width,
            y1 * height,
            (x2 - x1) * width,
            (y2 - y1) * height,
        ];
        Ok(Object::plain(class, bbox))
    }

    fn class(&self, number: f64) -> Result<usize, String> {
        let last = self.classes.saturating_sub(1);
        // Some programs write 0.0.
        if number.fract() == 0.0 && (0.0..=last as f64).contains(&number) {
            Ok(number as usize)
        } else {
            Err(format!(
                "the class is {number}; expected 0 to {last}, as names are listed"
            ))
        }
    }

    /// Left, top, right and bottom, from 0 to 1.
    fn edges(&self, numbers: &[f64]) -> Result<[f64; 4], String> {
        let fits = |number: &&f64| !(-SLACK..=1.0 + SLACK).contains(*number);
        let checked = if self.with_key_points {
            &numbers[..numbers.len().min(4)]
        } else {
            numbers
        };
        if let Some(number) = checked.iter().find(fits) {
            return Err(format!(
                "{number} is not from 0 to 1, relative to the picture; {EXPECTED}"
            ));
        }
        match checked {
            [x, y, width, height] => Ok([
                x - width / 2.0,
                y - height / 2.0,
                x + width / 2.0,
                y + height / 2.0,
            ]),
            points if points.len() >= 6 && points.len().is_multiple_of(2) => Ok(around(points)),
            other => Err(format!("{} numbers; {EXPECTED}", other.len() + 1)),
        }
    }
}

/// The box around points.
fn around(points: &[f64]) -> [f64; 4] {
    let mut edges = [
        f64::INFINITY,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NEG_INFINITY,
    ];
    for point in points.chunks_exact(2) {
        edges[0] = edges[0].min(point[0]);
        edges[1] = edges[1].min(point[1]);
        edges[2] = edges[2].max(point[0]);
        edges[3] = edges[3].max(point[1]);
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: LineReader = LineReader {
        classes: 2,
        with_key_points: false,
    };

    #[test]
    fn boxes_and_polygons_become_boxes_in_pixels() {
        let check = |line: &str, class: usize, bbox: [f64; 4]| {
            let object = READER.object(line, [100, 200]).expect(line);
            assert_eq!((object.class, object.bbox), (class, bbox), "{line}");
        };
        check("1 0.5 0.5 0.25 0.5", 1, [75.0, 25.0, 50.0, 50.0]);
        check("0.0 .5 .5 1 1", 0, [0.0, 0.0, 200.0, 100.0]);
        check(
            "0 0.25 0.5 0.5 0.25 0.75 0.75",
            0,
            [50.0, 25.0, 100.0, 50.0],
        );
        check(
            "0 0.25 0.25 0.5 0.25 0.5 0.5 0.25 0.5",
            0,
            [50.0, 25.0, 50.0, 25.0],
        );
        let poses = LineReader {
            with_key_points: true,
            ..READER
        };
        let object = poses.object("0 0.5 0.5 0.5 0.5 0.1 0.1 2 0.2 0.2 2", [100, 100]);
        assert_eq!(object.expect("reads").bbox, [25.0, 25.0, 50.0, 50.0]);
    }

    #[test]
    fn wrong_lines_say_what_was_expected() {
        let check = |line: &str, part: &str| {
            let error = READER.object(line, [100, 200]).expect_err(line);
            assert!(error.contains(part), "`{part}` is not in: {error}");
        };
        check(
            "cat 0.5 0.5 0.1 0.1",
            "`cat` is no number; expected `class x y width height`",
        );
        check("2 0.5 0.5 0.1 0.1", "the class is 2; expected 0 to 1");
        check("0 0.5 0.5 0.1", "4 numbers; expected");
        check("0 0.5 0.5 0.1 0.1 0.9", "6 numbers; expected");
        check("0 320 240 64 64", "320 is not from 0 to 1");
        check("0", "1 numbers; expected");
    }
}
