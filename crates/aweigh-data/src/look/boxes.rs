//! Boxes that are left out, or that are probably meant otherwise.

use std::path::Path;

use aweigh_geometry::boxes::{xywh_to_xyxy, xyxy_to_xywh};

use crate::annotations::{Annotation, Category, ImageEntry};
use crate::finding::{Counter, Finding, counted};
use crate::record::ImageRecord;

/// What becomes of a box in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is learnt.
    Learnt,
    /// It is a region in which nothing is background.
    Ignored,
    /// Left out: less than 1 pixel wide or high.
    Tiny,
    /// Left out: the `area` is not positive.
    NoArea,
    /// Left out: no overlap with the image.
    Outside,
}

/// Looks at every box of a file.
#[derive(Debug, Default)]
pub(crate) struct BoxLook {
    all: usize,
    ignored: usize,
    tiny: Counter,
    no_area: Counter,
    outside: Counter,
    /// Within 0..1 on both axes.
    normalised: Counter,
    /// More than half outside of their image, but not all.
    leaving: Counter,
    /// Leaving their image at all.
    crossing: usize,
    /// Possible as `[x1, y1, x2, y2]`.
    corners: usize,
    first: Option<String>,
}

impl BoxLook {
    pub(crate) fn see(&mut self, annotation: &Annotation, image: &ImageEntry, fate: Fate) {
        let example = || format!("{}, {:?}", annotation.name(), annotation.bbox);
        self.all += 1;
        self.first.get_or_insert_with(example);
        match fate {
            Fate::Learnt => {}
            Fate::Ignored => self.ignored += 1,
            Fate::Tiny => self.tiny.add(example),
            Fate::NoArea => {
                let area = annotation.area;
                self.no_area
                    .add(|| format!("{}, {area}", annotation.name()));
            }
            Fate::Outside => self.outside.add(example),
        }
        self.see_place(annotation.bbox, image, &example);
    }

    fn see_place(&mut self, bbox: [f64; 4], image: &ImageEntry, example: &dyn Fn() -> String) {
        /// Rounding of the tool that wrote the file.
        const SLACK: f64 = 1.0;
        let [x, y, w, h] = bbox;
        let [x1, y1, x2, y2] = xywh_to_xyxy(bbox);
        let (width, height) = (f64::from(image.width), f64::from(image.height));
        if x >= 0.0 && y >= 0.0 && w > 0.0 && h > 0.0 && x2 <= 1.0 && y2 <= 1.0 {
            self.normalised.add(example);
        }
        if x2 > width + SLACK || y2 > height + SLACK {
            self.crossing += 1;
        }
        if w > x && h > y && w <= width + SLACK && h <= height + SLACK {
            self.corners += 1;
        }
        let inside = |low: f64, high: f64, side: f64| (high.min(side) - low.max(0.0)).max(0.0);
        let seen = inside(x1, x2, width) * inside(y1, y2, height);
        if w > 0.0 && h > 0.0 && 0.0 < seen && seen < 0.5 * w * h {
            self.leaving.add(example);
        }
    }

    /// What to say of a file that is trained on.
    pub(crate) fn left_out(&self, file: &Path) -> Vec<Finding> {
        let reasons = [
            (&self.tiny, "are less than 1 px wide or high"),
            (&self.no_area, "have an `area` of zero or less"),
            (&self.outside, "lie outside of their image"),
        ];
        let mut findings = Vec::new();
        for (counter, reason) in reasons {
            if let Some(first) = counter.first() {
                let text = format!(
                    "{} of {} boxes {reason} and are left out (first: {first})",
                    counter.count(),
                    self.all
                );
                findings.push(self.rated(file, counter.count(), text));
            }
        }
        if self.ignored > 0 && self.ignored == self.all {
            let text = format!(
                "all {} annotations are crowd or ignore regions (`iscrowd`, `ignore`): there is \
                 no box to learn",
                self.all
            );
            findings.push(Finding::warning(file, text));
        }
        findings
    }

    /// What to say of boxes that are probably meant otherwise. Boxes of another layout leave their
    /// image as well, which is no news then.
    pub(crate) fn suspicious(&self, file: &Path) -> Option<Finding> {
        let layout = self.normalised().or_else(|| self.corners());
        let layout = layout.map(|text| Finding::warning(file, text));
        layout.or_else(|| {
            let first = self.leaving.first()?;
            let count = self.leaving.count();
            let text = format!(
                "{count} of {} boxes lie more than half outside of their image (first: {first})",
                self.all
            );
            Some(self.rated(file, count, text))
        })
    }

    fn normalised(&self) -> Option<String> {
        let first = self.normalised.first()?;
        let count = self.normalised.count();
        (2 * count > self.all).then(|| {
            format!(
                "{count} of {} boxes lie within 0 to 1: they look normalised by the size of the \
                 image; expected [x, y, width, height] in pixels (first: {first})",
                self.all
            )
        })
    }

    fn corners(&self) -> Option<String> {
        /// Share of boxes that cross the right or lower side of their image, from which on corners
        /// are likely: of corners of boxes anywhere, three quarters do.
        const CROSSING: f64 = 0.25;
        let all = self.all as f64;
        let first = self.first.as_deref()?;
        let likely = self.crossing as f64 > CROSSING * all && self.corners as f64 > 0.99 * all;
        likely.then(|| {
            format!(
                "{} of {} boxes reach beyond their image, and all look like [x1, y1, x2, y2]; \
                 expected [x, y, width, height] (first: {first})",
                self.crossing, self.all
            )
        })
    }

    /// A warning, unless only a few of many boxes are concerned.
    fn rated(&self, file: &Path, count: usize, text: String) -> Finding {
        const FEW: f64 = 0.01;
        if count as f64 > FEW * self.all as f64 {
            Finding::warning(file, text)
        } else {
            Finding::note(file, text)
        }
    }
}

/// Boxes that an image has twice, with the same class.
pub(crate) fn repeated_boxes(
    file: &Path,
    images: &[ImageRecord],
    classes: &[Category],
) -> Option<Finding> {
    let mut repeated = Counter::default();
    for image in images {
        let truth = &image.truth;
        let key = |at: usize| (truth.labels[at], truth.boxes[at].map(f32::to_bits));
        let mut order: Vec<usize> = (0..truth.boxes.len()).collect();
        order.sort_unstable_by_key(|at| key(*at));
        for pair in order.windows(2).filter(|pair| key(pair[0]) == key(pair[1])) {
            repeated.add(|| {
                let name = &classes[truth.labels[pair[0]]].name;
                let bbox = xyxy_to_xywh(truth.boxes[pair[0]]);
                format!("{bbox:?} of `{name}` in `{}`", image.file_name)
            });
        }
    }
    let first = repeated.first()?;
    let count = counted(repeated.count(), "box is", "boxes are");
    let text = format!("{count} there twice, with the same class (first: {first})");
    Some(Finding::warning(file, text))
}
