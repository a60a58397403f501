//! Points, anchors and the borders of the input.

use aweigh_backbone::FeatureSpec;
use aweigh_geometry::{LevelShape, PointOrigin, PointSpacing, anchors::AnchorGrid};

use crate::graph::{Axis, Element, Graph, Value};

/// A level of the pyramid.
#[derive(Debug, Clone)]
pub(crate) struct Level {
    /// Its number, from 0.
    pub(crate) index: usize,
    /// Pixels of the input per cell.
    pub(crate) stride: usize,
    /// Its features, `[B, channels, H_l, W_l]`.
    pub(crate) features: Value,
    /// Its size and the distance of its points, where the input's size is known.
    pub(crate) shape: Option<LevelShape>,
    /// How far apart its points lie.
    pub(crate) spacing: PointSpacing,
    /// The input of the graph, `[B, 3, H, W]`.
    pub(crate) images: Value,
}

/// The levels of the pyramid and the input that they are of.
#[derive(Debug, Clone)]
pub(crate) struct Levels {
    pub(crate) levels: Vec<Level>,
    /// Channels and stride of every level.
    pub(crate) specs: Vec<FeatureSpec>,
    /// The input of the graph, `[B, 3, H, W]`.
    pub(crate) images: Value,
    /// Height and width of the input, where they are known.
    pub(crate) size: Option<[usize; 2]>,
}

impl Level {
    /// Coordinates of every point, row by row: `[P, 2]`, x before y.
    fn points(&self, graph: &mut Graph, origin: PointOrigin) -> Value {
        let Some(shape) = self.shape else {
            return self.computed_points(graph, origin);
        };
        let points: Vec<[f32; 2]> = shape.host_points(origin).collect();
        let name = format!("points of level {} ({origin:?})", self.index);
        graph.tensor(&name, &[points.len(), 2], points.as_flattened())
    }

    /// `(i + offset) * step` of every row and column of the features.
    fn computed_points(&self, graph: &mut Graph, origin: PointOrigin) -> Value {
        let size = graph.shape(&self.features, 2, 4);
        let [rows, columns] = [0, 1].map(|axis| {
            let count = graph.slice(&size, 0, [axis, axis + 1], 1);
            let index = graph.count_up(&count);
            let index = graph.cast(&index, Element::Float);
            let offset = graph.float(origin.offset());
            let place = graph.add(&index, &offset);
            let step = self.step(graph, axis, &count);
            graph.mul(&place, &step)
        });
        let rows = graph.reshape(&rows, &[-1, 1]);
        let axes = [columns, rows].map(|axis| {
            let spread = graph.node("Expand", &[&axis, &size], vec![]); // [H_l, W_l]
            graph.reshape(&spread, &[-1, 1])
        });
        graph.concat(&axes, 1)
    }

    /// Pixels between neighbouring points along an axis of `count` (`[1]`) cells.
    fn step(&self, graph: &mut Graph, axis: i64, count: &Value) -> Value {
        match self.spacing {
            PointSpacing::Stride => graph.float(self.stride as f32),
            PointSpacing::Input => {
                let side = graph.shape(&self.images, 2 + axis, 3 + axis);
                let step = graph.div(&side, count);
                graph.cast(&step, Element::Float)
            }
        }
    }

    /// The point of every cell twice, `[P, 4]`: what distances to the sides of a box start from.
    pub(crate) fn corners(&self, graph: &mut Graph, origin: PointOrigin) -> Value {
        let points = self.points(graph, origin);
        graph.concat(&[points.clone(), points], 1)
    }

    /// Every anchor, `[A P, 4]`: one shape at every point, row by row, then the next shape.
    pub(crate) fn anchors(&self, graph: &mut Graph, grid: &AnchorGrid) -> Value {
        if let Some(shape) = self.shape {
            let anchors = grid.host(&[shape]);
            let name = format!("anchors of level {}", self.index);
            return graph.tensor(&name, &[anchors.len(), 4], anchors.as_flattened());
        }
        // Those of the point at (0, 0), which the others repeat.
        let first = grid.host(&[LevelShape::new(1, 1, self.stride)]);
        let name = format!("anchors of a point of level {}", self.index);
        let first = graph.tensor(&name, &[first.len(), 1, 4], first.as_flattened());
        let corners = self.corners(graph, PointOrigin::Corner);
        let all = graph.add(&first, &corners); // [A, P, 4]
        graph.reshape(&all, &[-1, 4])
    }

    /// Names or lengths of the height and width of its maps.
    pub(crate) fn axes(&self) -> [Axis; 2] {
        match self.shape {
            Some(shape) => [shape.height, shape.width].map(Axis::Known),
            None => ["height", "width"].map(|side| Axis::named(format!("{side}_{}", self.index))),
        }
    }
}

impl Levels {
    /// Moves the corners of boxes `[B, P, 4]` into the input less `margin` pixels at the lower right.
    pub(crate) fn clip(&self, graph: &mut Graph, boxes: &Value, margin: f32) -> Value {
        let limit = self.limit(graph, margin);
        let zero = graph.float(0.0);
        let inside = graph.node("Max", &[boxes, &zero], vec![]);
        graph.node("Min", &[&inside, &limit], vec![])
    }

    /// The largest `x1, y1, x2, y2`, `[4]`.
    fn limit(&self, graph: &mut Graph, margin: f32) -> Value {
        if let Some(size) = self.size {
            let [height, width] = size.map(|side| side as f32 - margin);
            return graph.floats(&[width, height, width, height]);
        }
        let size = graph.shape(&self.images, 2, 4);
        let size = graph.pick(&size, &[1, 0, 1, 0], 0);
        let size = graph.cast(&size, Element::Float);
        let margin = graph.float(margin);
        graph.sub(&size, &margin)
    }
}
