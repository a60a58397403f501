//! Evaluations as text.
//!
//! The lines are those of pycocotools to the letter; the table has no wishes that `format!` does not
//! meet.

use super::{ClassRow, Evaluation};

/// IoU thresholds and area range of pycocotools' twelve lines, and which limit they are at.
const LINES: [(Kind, &str, &str, Limit); 12] = {
    use Kind::{Precision, Recall};
    use Limit::{Headline, Nth};
    let sweep = "0.50:0.95";
    [
        (Precision, sweep, "all", Headline),
        (Precision, "0.50", "all", Nth(2)),
        (Precision, "0.75", "all", Nth(2)),
        (Precision, sweep, "small", Nth(2)),
        (Precision, sweep, "medium", Nth(2)),
        (Precision, sweep, "large", Nth(2)),
        (Recall, sweep, "all", Nth(0)),
        (Recall, sweep, "all", Nth(1)),
        (Recall, sweep, "all", Nth(2)),
        (Recall, sweep, "small", Nth(2)),
        (Recall, sweep, "medium", Nth(2)),
        (Recall, sweep, "large", Nth(2)),
    ]
};

#[derive(Clone, Copy)]
enum Kind {
    Precision,
    Recall,
}

impl Kind {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Precision => ("Average Precision", "(AP)"),
            Self::Recall => ("Average Recall", "(AR)"),
        }
    }
}

#[derive(Clone, Copy)]
enum Limit {
    Headline,
    Nth(usize),
}

impl Evaluation {
    /// The twelve figures in pycocotools' layout, one line each, without a final line break.
    pub fn summary(&self) -> String {
        let line = |((kind, iou, area, limit), value): ((Kind, &str, &str, Limit), f64)| {
            let (title, short) = kind.names();
            let limit = match limit {
                Limit::Headline => self.options.headline_dets,
                Limit::Nth(at) => self.options.max_dets[at],
            };
            format!(
                " {title:<18} {short} @[ IoU={iou:<9} | area={area:>6} | maxDets={limit:>3} ] = {value:.3}"
            )
        };
        let lines: Vec<String> = LINES
            .into_iter()
            .zip(self.stats.to_array())
            .map(line)
            .collect();
        lines.join("\n")
    }

    /// A table of the figures per class, aligned, without a final line break; `n/a` where a class
    /// has no ground truth.
    pub fn class_table(&self) -> String {
        let titles = ["class", "AP", "AP50", "AP75", "APs", "APm", "APl", "AR"];
        let mut rows = vec![titles.map(String::from)];
        rows.extend(self.per_class.iter().map(cells));
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..titles.len()).map(width).collect();
        let lines: Vec<String> = rows.iter().map(|row| align(row, &widths)).collect();
        lines.join("\n")
    }
}

fn cells(row: &ClassRow) -> [String; 8] {
    let value = |v: f64| match v {
        v if v < 0.0 => "n/a".into(),
        v => format!("{v:.3}"),
    };
    [
        row.name.clone(),
        value(row.ap),
        value(row.ap50),
        value(row.ap75),
        value(row.ap_small),
        value(row.ap_medium),
        value(row.ap_large),
        value(row.ar),
    ]
}

/// Names to the left, numbers to the right.
fn align(row: &[String; 8], widths: &[usize]) -> String {
    let mut line = format!("{:<1$}", row[0], widths[0]);
    for (cell, width) in row.iter().zip(widths).skip(1) {
        line.push_str(&format!("  {cell:>width$}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use crate::evaluation::{CocoResult, EvalOptions, Evaluation, fixture};

    fn evaluation(max_dets: &[usize]) -> Evaluation {
        let dir = tempfile::tempdir().unwrap();
        let truth = fixture::annotations(dir.path());
        let miss = CocoResult {
            bbox: [300.0, 10.0, 40.0, 40.0],
            ..fixture::hit(0.9)
        };
        let options = EvalOptions {
            max_dets: max_dets.into(),
            ..EvalOptions::default()
        };
        let results = vec![fixture::hit(0.5), miss];
        truth.evaluate(&results, &options).unwrap()
    }

    #[test]
    fn the_summary_is_laid_out_as_in_pycocotools() {
        // Every line starts with a space, which a line continuation would swallow.
        let expected = "
 Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.500
 Average Precision  (AP) @[ IoU=0.50      | area=   all | maxDets=100 ] = 0.500
 Average Precision  (AP) @[ IoU=0.75      | area=   all | maxDets=100 ] = 0.500
 Average Precision  (AP) @[ IoU=0.50:0.95 | area= small | maxDets=100 ] = -1.000
 Average Precision  (AP) @[ IoU=0.50:0.95 | area=medium | maxDets=100 ] = 0.500
 Average Precision  (AP) @[ IoU=0.50:0.95 | area= large | maxDets=100 ] = -1.000
 Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets=  1 ] = 0.000
 Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets= 10 ] = 1.000
 Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 1.000
 Average Recall     (AR) @[ IoU=0.50:0.95 | area= small | maxDets=100 ] = -1.000
 Average Recall     (AR) @[ IoU=0.50:0.95 | area=medium | maxDets=100 ] = 1.000
 Average Recall     (AR) @[ IoU=0.50:0.95 | area= large | maxDets=100 ] = -1.000";
        let summary = evaluation(&[1, 10, 100]).summary();
        assert_eq!(format!("\n{summary}"), expected);
    }

    #[test]
    fn the_summary_names_the_limits_in_use() {
        let summary = evaluation(&[1000, 2, 30]).summary();
        let limits: Vec<&str> = summary
            .lines()
            .map(|line| {
                line.split("maxDets=")
                    .nth(1)
                    .unwrap()
                    .split(" ]")
                    .next()
                    .unwrap()
            })
            .collect();
        let expected = ["100", "1000", "1000", "1000", "1000", "1000", "  2", " 30"];
        assert_eq!(limits[..8], expected);
        assert!(summary.lines().next().unwrap().ends_with("= -1.000"));
    }

    #[test]
    fn the_table_is_aligned() {
        let expected = "\
class     AP   AP50   AP75  APs    APm  APl     AR
ring   0.500  0.500  0.500  n/a  0.500  n/a  1.000
cat_7    n/a    n/a    n/a  n/a    n/a  n/a    n/a";
        assert_eq!(evaluation(&[1, 10, 100]).class_table(), expected);
    }
}
