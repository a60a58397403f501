//! Which points each ground-truth box trains, for people to look at.

use aweigh_assign::Matches;
use aweigh_geometry::{GroundTruth, LevelShape, points::point_count};
use burn::tensor::{Bool, Tensor};

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
    /// Number of points whose role `is` accepts.
    pub fn count(&self, is: impl Fn(PointRole) -> bool) -> usize {
        self.roles.iter().filter(|role| is(**role)).count()
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
pub struct StageRoles {
    name: &'static str,
    learns: Learns,
    /// `P` points, level after level.
    points: Vec<[f32; 2]>,
    matches: Matches,
    left_out: Option<LeftOut>,
    level_losses: Option<Tensor<3>>,
}

/// Points that are left out of a class, `[B, P]` each.
#[derive(Debug)]
pub struct LeftOut {
    /// The point learns nothing about the class of a box nearby.
    pub shadowed: Tensor<2, Bool>,
    /// Of these, the points of a box that trains another level; their slots are that box's.
    pub other_level: Tensor<2, Bool>,
}

impl StageRoles {
    /// A stage with these points (of anchors the centres), level after level.
    pub fn new(
        name: &'static str,
        learns: Learns,
        points: Vec<[f32; 2]>,
        matches: Matches,
    ) -> Self {
        Self {
            name,
            learns,
            points,
            matches,
            left_out: None,
            level_losses: None,
        }
    }

    /// With points that are left out of a class.
    pub fn with_left_out(self, left_out: LeftOut) -> Self {
        let left_out = Some(left_out);
        Self { left_out, ..self }
    }

    /// With the losses of every box on every level, `[B, M, L]`, by which levels were chosen.
    pub fn with_level_losses(self, level_losses: Option<Tensor<3>>) -> Self {
        Self {
            level_losses,
            ..self
        }
    }
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
        let slots = self.matches.slot.to_data();
        let slots: Vec<usize> = slots.iter::<i64>().map(|slot| slot as usize).collect();
        let (positive, ignored) = (flags(&self.matches.positive), flags(&self.matches.ignored));
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
        let loss = |(level, loss): (&LevelRoles, &f32)| {
            if level.reached_by(slot) {
                *loss
            } else {
                f32::INFINITY
            }
        };
        levels.iter().zip(row).map(loss).collect()
    };
    rows.enumerate().map(of_box).collect()
}

fn flags(tensor: &Tensor<2, Bool>) -> Vec<bool> {
    tensor.to_data().iter::<bool>().collect()
}
