//! Which points each ground-truth box trains, for people to look at.

use aweigh_geometry::{GroundTruth, LevelShape, PointOrigin, points::point_count};
use burn::tensor::{Bool, Int, Tensor};

/// What the loss of a batch wants from a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointRole {
    /// To find no object; nothing in a stage that learns boxes only.
    Background,
    /// Nothing.
    Ignored,
    /// To find the box of an index.
    Positive {
        /// Index of the box in the ground truth of its image.
        slot: usize,
    },
    /// To find no object, but nothing about the class of a box nearby.
    Shadowed,
    /// As [`Shadowed`](Self::Shadowed): it could find the box of an index, which trains another
    /// level.
    OtherLevel {
        /// Index of the box in the ground truth of its image.
        slot: usize,
    },
}

/// What the points of a stage learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learns {
    /// Positive points learn class and box, background points that there is no object.
    ClassesAndBoxes,
    /// Positive points learn their box, the others nothing.
    Boxes,
}

/// The points of one level.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelRoles {
    /// Size and stride of the level.
    pub shape: LevelShape,
    /// Coordinates of every point (of an anchor: its centre), in pixels of the network input.
    pub points: Vec<[f32; 2]>,
    /// The role of each point.
    pub roles: Vec<PointRole>,
}

impl LevelRoles {
    /// Number of points whose role `wanted` accepts.
    pub fn count(&self, wanted: impl Fn(PointRole) -> bool) -> usize {
        self.roles.iter().filter(|role| wanted(**role)).count()
    }

    /// Number of points that learn the box of index `slot`.
    pub fn trained_by(&self, slot: usize) -> usize {
        self.count(|role| role == PointRole::Positive { slot })
    }

    /// Whether a point learns the box of index `slot`, or would if the box trained this level.
    fn reached_by(&self, slot: usize) -> bool {
        let elsewhere = PointRole::OtherLevel { slot };
        self.trained_by(slot) > 0 || self.roles.contains(&elsewhere)
    }
}

/// One assignment of all points; a method has one or two.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// The name of the stage, for use in texts and file names.
    pub name: &'static str,
    /// What its points learn.
    pub learns: Learns,
    /// Every level, in the order of the pyramid.
    pub levels: Vec<LevelRoles>,
    /// Where losses choose the level of each box: the loss of each box on each level, infinite
    /// where the box reaches no point; `[box][level]`.
    pub level_losses: Option<Vec<Vec<f32>>>,
}

/// How the ground truth of one image was assigned.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Every stage.
    pub stages: Vec<Stage>,
}

/// A stage of a batch as its assigner left it, on the device.
#[derive(Debug)]
pub(crate) struct StageRoles {
    pub(crate) name: &'static str,
    pub(crate) learns: Learns,
    /// `P` points, level after level.
    pub(crate) points: Vec<[f32; 2]>,
    /// `[B, P]`: slot of the point's box; only meaningful where positive or on another level.
    pub(crate) slot: Tensor<2, Int>,
    /// `[B, P]`.
    pub(crate) positive: Tensor<2, Bool>,
    /// `[B, P]`.
    pub(crate) ignored: Tensor<2, Bool>,
    /// Of a method with points that are left out of a class.
    pub(crate) left_out: Option<LeftOut>,
    /// `[B, M, L]`: where they choose the level of each box, the losses on every level.
    pub(crate) level_losses: Option<Tensor<3>>,
}

/// Points that are left out of a class, `[B, P]` each.
#[derive(Debug)]
pub(crate) struct LeftOut {
    pub(crate) shadowed: Tensor<2, Bool>,
    pub(crate) other_level: Tensor<2, Bool>,
}

/// Reads the stages of a batch back from the device; gives one explanation per image.
pub(crate) fn read(
    stages: &[StageRoles],
    levels: &[LevelShape],
    truth: &GroundTruth,
) -> Vec<Explanation> {
    let valid = flags(&truth.valid);
    let images = valid.chunks(truth.slots());
    let boxes: Vec<usize> = images
        .map(|slots| slots.iter().filter(|valid| **valid).count())
        .collect();
    let mut explanations = vec![Explanation { stages: Vec::new() }; boxes.len()];
    for stage in stages {
        let of_images = stage.read(levels, &boxes);
        for (explanation, stage) in explanations.iter_mut().zip(of_images) {
            explanation.stages.push(stage);
        }
    }
    explanations
}

impl StageRoles {
    /// The stage of every image, given the number of boxes of each.
    fn read(&self, levels: &[LevelShape], boxes: &[usize]) -> Vec<Stage> {
        let roles = self.roles();
        let images = roles.chunks(self.points.len());
        let mut stages: Vec<Stage> = images
            .map(|roles| Stage {
                name: self.name,
                learns: self.learns,
                levels: self.levels(levels, roles),
                level_losses: None,
            })
            .collect();
        if let Some(losses) = &self.level_losses {
            let [_, slots, count] = losses.dims();
            let values: Vec<f32> = losses.to_data().iter::<f32>().collect();
            let images = values.chunks(slots * count).zip(boxes);
            for (stage, (losses, boxes)) in stages.iter_mut().zip(images) {
                let rows = losses.chunks(count).take(*boxes);
                stage.level_losses = Some(reached(&stage.levels, rows));
            }
        }
        stages
    }

    /// The role of every point of every image.
    fn roles(&self) -> Vec<PointRole> {
        let slots = self.slot.to_data();
        let slots: Vec<usize> = slots.iter::<i64>().map(|slot| slot as usize).collect();
        let (positive, ignored) = (flags(&self.positive), flags(&self.ignored));
        let left_out = self.left_out.as_ref();
        let left_out = left_out.map(|l| (flags(&l.shadowed), flags(&l.other_level)));
        let role = |i: usize| {
            let (shadowed, other_level) = match &left_out {
                Some((shadowed, other_level)) => (shadowed[i], other_level[i]),
                None => (false, false),
            };
            match () {
                () if positive[i] => PointRole::Positive { slot: slots[i] },
                // Where nothing but boxes is learnt, all other points are alike.
                () if self.learns == Learns::Boxes => PointRole::Background,
                () if ignored[i] => PointRole::Ignored,
                () if other_level => PointRole::OtherLevel { slot: slots[i] },
                () if shadowed => PointRole::Shadowed,
                () => PointRole::Background,
            }
        };
        (0..slots.len()).map(role).collect()
    }

    /// The levels of an image whose points have these roles.
    fn levels(&self, levels: &[LevelShape], roles: &[PointRole]) -> Vec<LevelRoles> {
        let per_cell = self.points.len() / point_count(levels);
        let mut start = 0;
        let of_level = |shape: &LevelShape| {
            let range = start..start + per_cell * shape.points();
            start = range.end;
            LevelRoles {
                shape: *shape,
                points: self.points[range.clone()].to_vec(),
                roles: roles[range].to_vec(),
            }
        };
        levels.iter().map(of_level).collect()
    }
}

/// Losses of boxes, infinite on the levels that they reach no point of.
fn reached<'a>(levels: &[LevelRoles], rows: impl Iterator<Item = &'a [f32]>) -> Vec<Vec<f32>> {
    let of_box = |(slot, row): (usize, &[f32])| {
        let loss = |(level, loss): (&LevelRoles, &f32)| match level.reached_by(slot) {
            true => *loss,
            false => f32::INFINITY,
        };
        levels.iter().zip(row).map(loss).collect()
    };
    rows.enumerate().map(of_box).collect()
}

/// One point per cell, level after level.
pub(crate) fn cell_points(levels: &[LevelShape], origin: PointOrigin) -> Vec<[f32; 2]> {
    let points = levels.iter().flat_map(|level| level.host_points(origin));
    points.collect()
}

fn flags(tensor: &Tensor<2, Bool>) -> Vec<bool> {
    tensor.to_data().iter::<bool>().collect()
}
