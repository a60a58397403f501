//! The five shapes and their outlines.

/// A class of the synthetic dataset; category ids are 1..=5 in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A filled circle.
    Circle,
    /// A filled square, turned by up to 20 degrees.
    Square,
    /// A filled equilateral triangle, turned by up to 20 degrees from upright.
    Triangle,
    /// A five-pointed star, turned by up to 20 degrees from upright.
    Star,
    /// A circle with a hole of half its diameter.
    Ring,
}

impl Shape {
    /// Every class, in the order of the category ids.
    pub const ALL: [Self; 5] = [
        Self::Circle,
        Self::Square,
        Self::Triangle,
        Self::Star,
        Self::Ring,
    ];

    /// Name of the class.
    pub fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::Ring => "ring",
        }
    }

    /// Id in the annotation files.
    pub fn category_id(self) -> u64 {
        self as u64 + 1
    }

    /// The colour that objects of this class vary around. As in photographs, colour tells classes
    /// apart before shape does: a small detector learns them in minutes.
    pub(super) fn color(self) -> [u8; 3] {
        match self {
            Self::Circle => [215, 60, 50],
            Self::Square => [60, 165, 70],
            Self::Triangle => [60, 90, 210],
            Self::Star => [225, 195, 60],
            Self::Ring => [190, 70, 190],
        }
    }

    /// Corners in a circle of radius 1, y downwards; empty for the round shapes.
    fn corners(self) -> &'static [[f64; 2]] {
        match self {
            Self::Circle | Self::Ring => &[],
            Self::Square => &SQUARE,
            Self::Triangle => &TRIANGLE,
            Self::Star => &STAR,
        }
    }
}

const SQUARE: [[f64; 2]; 4] = [[-0.7, -0.7], [0.7, -0.7], [0.7, 0.7], [-0.7, 0.7]];
const TRIANGLE: [[f64; 2]; 3] = [[0.0, -1.0], [0.866, 0.5], [-0.866, 0.5]];
/// Tips at radius 1, dents at radius 0.45: fatter than a pentagram, to be told apart when small.
const STAR: [[f64; 2]; 10] = [
    [0.0, -1.0],
    [0.2645, -0.3641],
    [0.9511, -0.309],
    [0.428, 0.1391],
    [0.5878, 0.809],
    [0.0, 0.45],
    [-0.5878, 0.809],
    [-0.428, 0.1391],
    [-0.9511, -0.309],
    [-0.2645, -0.3641],
];

/// A shape at its place: what is inside and how far it reaches.
pub(super) struct Outline {
    kind: Kind,
    /// `[x1, y1, x2, y2]` in pixels.
    pub(super) bounds: [f64; 4],
}

enum Kind {
    /// Corners in pixels.
    Polygon(Vec<[f64; 2]>),
    /// Centre, squared outer and squared inner radius.
    Round([f64; 2], f64, f64),
}

impl Outline {
    /// A shape whose bounds have a longer side of `side` pixels and start at `[x, y]`.
    ///
    /// `turn` is the tangent of half the angle of rotation, which gives sine and cosine without
    /// trigonometric functions.
    pub(super) fn new(shape: Shape, turn: f64, side: f64, [x, y]: [f64; 2]) -> Self {
        let radius = side / 2.0;
        let inner = match shape {
            Shape::Ring => radius * radius / 4.0,
            _ => -1.0,
        };
        if shape.corners().is_empty() {
            return Self {
                kind: Kind::Round([x + radius, y + radius], radius * radius, inner),
                bounds: [x, y, x + side, y + side],
            };
        }
        let norm = 1.0 + turn * turn;
        let (cos, sin) = ((1.0 - turn * turn) / norm, 2.0 * turn / norm);
        let turned = shape
            .corners()
            .iter()
            .map(|[u, v]| [u * cos - v * sin, u * sin + v * cos]);
        let mut corners: Vec<[f64; 2]> = turned.collect();
        let [left, top, right, bottom] = bounds(&corners);
        let scale = side / (right - left).max(bottom - top);
        for [u, v] in &mut corners {
            (*u, *v) = (x + (*u - left) * scale, y + (*v - top) * scale);
        }
        Self {
            bounds: bounds(&corners),
            kind: Kind::Polygon(corners),
        }
    }

    /// Whether a point, in pixels, is inside.
    pub(super) fn contains(&self, [x, y]: [f64; 2]) -> bool {
        match &self.kind {
            Kind::Round([cx, cy], outer, inner) => {
                let distance = (x - cx) * (x - cx) + (y - cy) * (y - cy);
                distance <= *outer && distance >= *inner
            }
            Kind::Polygon(corners) => {
                let mut inside = false;
                let mut previous = corners[corners.len() - 1];
                for &corner in corners {
                    // An edge that crosses the horizontal line through the point, right of it.
                    let ([x1, y1], [x2, y2]) = (previous, corner);
                    if (y1 > y) != (y2 > y) && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1 {
                        inside = !inside;
                    }
                    previous = corner;
                }
                inside
            }
        }
    }
}

fn bounds(corners: &[[f64; 2]]) -> [f64; 4] {
    let start = [f64::MAX, f64::MAX, f64::MIN, f64::MIN];
    corners.iter().fold(start, |[x1, y1, x2, y2], &[x, y]| {
        [x1.min(x), y1.min(y), x2.max(x), y2.max(y)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_have_the_asked_side_for_any_rotation() {
        for shape in Shape::ALL {
            for turn in [-0.17, 0.0, 0.1] {
                let [x1, y1, x2, y2] = Outline::new(shape, turn, 40.0, [3.0, 5.0]).bounds;
                let long = (x2 - x1).max(y2 - y1);
                // Rounding of f64.
                assert!((long - 40.0).abs() < 1e-9, "{shape:?} {turn} {long}");
                assert!(
                    x1.min(3.0) == 3.0 && y1.min(5.0) == 5.0,
                    "{shape:?} starts outside"
                );
            }
        }
    }

    #[test]
    fn insides() {
        let check = |shape, point, expected| {
            let outline = Outline::new(shape, 0.0, 20.0, [0.0, 0.0]);
            assert_eq!(outline.contains(point), expected, "{shape:?} {point:?}");
        };
        check(Shape::Circle, [10.0, 10.0], true);
        check(Shape::Circle, [1.0, 1.0], false);
        check(Shape::Ring, [10.0, 10.0], false);
        check(Shape::Ring, [10.0, 2.0], true);
        check(Shape::Square, [1.0, 1.0], true);
        check(Shape::Triangle, [10.0, 10.0], true);
        check(Shape::Triangle, [2.0, 2.0], false);
        check(Shape::Star, [10.0, 10.0], true);
        // Between two tips.
        check(Shape::Star, [3.0, 3.0], false);
    }
}
