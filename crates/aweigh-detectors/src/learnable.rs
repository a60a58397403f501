//! Which boxes a method can learn, whatever a detector predicts.

use aweigh_assign::fsaf::heuristic_levels;
use aweigh_assign::reppoints::{InitAssigner, ShortLevel};
use aweigh_geometry::{GroundTruth, HostTruth, LevelShape};
use burn::tensor::{Bool, Device, Int, Tensor};

use crate::Method;
use crate::fsaf::{FsafBranch, LevelSelection};

/// Boxes that are assigned at once where each is an image of its own.
const AT_ONCE: usize = 64;

/// Half side of FCOS's centre region, in strides, up to which the region may lie between points.
const NARROW: f32 = 0.5;

/// An image as assignment sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// The pyramid of the network input.
    pub levels: Vec<LevelShape>,
    /// `[height, width]` of the image with its own padding, in pixels of the network input.
    pub size: [usize; 2],
    /// Boxes, labels and ignore regions in pixels of the network input.
    pub truth: HostTruth,
}

/// Why nothing learns a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// No point lies where the box takes points, or no anchor overlaps it enough.
    BetweenPoints,
    /// The levels that have points for it are for boxes of other sizes.
    OutOfRange,
    /// An ignore region takes its points.
    Ignored,
    /// Other boxes take its points.
    Hidden,
}

/// Who learns which box, [`Matches`](aweigh_assign::Matches) as far as they matter here.
struct Taken {
    /// `[B, P]`
    slot: Tensor<2, Int>,
    /// `[B, P]`
    positive: Tensor<2, Bool>,
}

impl Scene {
    /// One batch of images of this size.
    fn batch(&self, images: &[HostTruth], device: &Device) -> GroundTruth {
        GroundTruth::from_host(images, device).with_sizes(&vec![self.size; images.len()])
    }
}

impl Method {
    /// What learns boxes, for use in texts.
    pub fn learner(&self) -> &'static str {
        match self {
            Self::Fcos(_) | Self::Fovea(_) | Self::RepPoints(_) | Self::Fsaf(_) => "point",
            Self::Retina(config) => match config.fsaf {
                Some(_) => "anchor or point",
                None => "anchor",
            },
        }
    }

    /// For each box of an image, why nothing learns it, or `None` where something does.
    ///
    /// This is geometry alone, so that it holds for any weights:
    ///
    /// - FCOS, FoveaBox and RetinaNet assign by nothing else;
    /// - FSAF chooses the level of a box by losses, among the levels where the box has effective
    ///   points: it is learnt if it has one on any level (with levels by size, on that level);
    /// - of RepPoints the first stage counts, since what the second learns depends on predictions;
    /// - of RetinaNet joint with FSAF a box is learnt if either branch learns it.
    pub fn unlearnt(&self, scene: &Scene, device: &Device) -> Vec<Option<Cause>> {
        let boxes = scene.truth.boxes.len();
        let batch = scene.batch(std::slice::from_ref(&scene.truth), device);
        let learnt = self.learnt(&scene.levels, &batch);
        let missed: Vec<usize> = (0..boxes).filter(|slot| !learnt[*slot]).collect();
        let mut causes = vec![None; boxes];
        for part in missed.chunks(AT_ONCE) {
            for (slot, cause) in part.iter().zip(self.causes(scene, part, device)) {
                causes[*slot] = Some(cause);
            }
        }
        causes
    }

    /// What to change in the configuration so that such boxes are learnt, besides the size of the
    /// network input and the pyramid.
    pub fn remedy(&self, cause: Cause) -> Option<String> {
        use Cause::{BetweenPoints, Hidden, OutOfRange};
        match (self, cause) {
            (Self::Fcos(_), OutOfRange) => Some("widen detector.fcos.regress_ranges".to_owned()),
            (Self::Fcos(config), BetweenPoints) => {
                let radius = config.center_sample_radius;
                let narrow = config.center_sampling && radius <= NARROW;
                narrow.then(|| format!("raise detector.fcos.center_sample_radius (now {radius})"))
            }
            (Self::Fovea(_), OutOfRange) => Some("widen detector.fovea.scale_ranges".to_owned()),
            (Self::Fovea(config), BetweenPoints) if config.sigma < 1.0 => {
                Some(format!("raise detector.fovea.sigma (now {})", config.sigma))
            }
            (Self::RepPoints(config), cause) => match (&config.init_assigner, cause) {
                (InitAssigner::Point(point), Hidden) => Some(format!(
                    "raise detector.reppoints.init_assigner.point.pos_num (now {})",
                    point.pos_num
                )),
                (InitAssigner::MaxIou(_), BetweenPoints) => {
                    Some("lower the thresholds of detector.reppoints.init_assigner.max_iou".into())
                }
                _ => None,
            },
            (Self::Fsaf(config), cause) => {
                branch_remedy("detector.fsaf.branch", &config.branch, cause)
            }
            (Self::Retina(config), cause) => match (&config.fsaf, cause) {
                (Some(branch), _) => branch_remedy("detector.retina.fsaf", branch, cause),
                (None, BetweenPoints) => {
                    Some("lower the thresholds of detector.retina.assigner".to_owned())
                }
                (None, _) => None,
            },
            _ => None,
        }
    }

    /// Why nothing learns these boxes: each is assigned once more as the only one of its image.
    fn causes(&self, scene: &Scene, slots: &[usize], device: &Device) -> Vec<Cause> {
        let Scene { levels, truth, .. } = scene;
        let alone = |ignore: &[[f32; 4]]| -> GroundTruth {
            let image = |slot: &usize| HostTruth {
                boxes: vec![truth.boxes[*slot]],
                labels: vec![truth.labels[*slot]],
                ignore: ignore.to_vec(),
            };
            scene.batch(&slots.iter().map(image).collect::<Vec<_>>(), device)
        };
        let with_regions = self.learnt(levels, &alone(&truth.ignore));
        let free = alone(&[]);
        let without = self.learnt(levels, &free);
        let of_any_size = self.for_any_size().learnt(levels, &free);
        let cause = |i: usize| match () {
            () if with_regions[i] => Cause::Hidden,
            () if without[i] => Cause::Ignored,
            () if of_any_size[i] => Cause::OutOfRange,
            () => Cause::BetweenPoints,
        };
        (0..slots.len()).map(cause).collect()
    }

    /// The method with a finest level for boxes of every size, where sizes decide about levels.
    fn for_any_size(&self) -> Self {
        let mut method = self.clone();
        match &mut method {
            Self::Fcos(config) => config.regress_ranges[0] = [-1.0, f32::MAX],
            Self::Fovea(config) => config.scale_ranges[0] = [0.0, f32::MAX],
            Self::Fsaf(config) => config.branch.level_selection = LevelSelection::Online,
            Self::Retina(config) => {
                if let Some(branch) = &mut config.fsaf {
                    branch.level_selection = LevelSelection::Online;
                }
            }
            Self::RepPoints(_) => {}
        }
        method
    }

    /// Whether something learns each slot, image after image.
    fn learnt(&self, levels: &[LevelShape], truth: &GroundTruth) -> Vec<bool> {
        let slots = truth.slots();
        let mut learnt = vec![false; truth.images() * slots];
        for Taken { slot, positive } in self.taken(levels, truth) {
            let [_, points] = positive.dims();
            let (slot, positive) = (slot.to_data(), positive.to_data());
            let all = slot.iter::<i64>().zip(positive.iter::<bool>()).enumerate();
            for (at, (slot, _)) in all.filter(|(_, (_, positive))| *positive) {
                learnt[at / points * slots + slot as usize] = true;
            }
        }
        learnt
    }

    /// Who learns which box, for every branch.
    fn taken(&self, levels: &[LevelShape], truth: &GroundTruth) -> Vec<Taken> {
        let taken = |slot, positive| Taken { slot, positive };
        match self {
            Self::Fcos(config) => {
                let targets = config.targets(levels, truth);
                vec![taken(targets.slot, targets.positive)]
            }
            Self::Fovea(config) => {
                let targets = config.targets(levels, truth);
                vec![taken(targets.slot, targets.positive)]
            }
            Self::RepPoints(config) => {
                let mut assigner = config.assigner();
                if let InitAssigner::Point(point) = &mut assigner.init {
                    // To count boxes is no reason to panic.
                    point.short_level = ShortLevel::TakeAll;
                }
                let targets = assigner.assign_init(levels, truth);
                vec![taken(targets.slot, targets.positive)]
            }
            Self::Fsaf(config) => vec![taken_by_branch(&config.branch, levels, truth)],
            Self::Retina(config) => {
                let targets = config.assigner().assign(levels, truth);
                let mut branches = vec![taken(targets.slot, targets.positive)];
                let free = config.fsaf.as_ref();
                branches.extend(free.map(|branch| taken_by_branch(branch, levels, truth)));
                branches
            }
        }
    }
}

/// Who learns which box in an anchor-free branch.
fn taken_by_branch(branch: &FsafBranch, levels: &[LevelShape], truth: &GroundTruth) -> Taken {
    // The number of classes matters only for what points are left out of.
    let regions = branch.regions(1, levels, truth);
    match branch.level_selection {
        LevelSelection::Online => Taken {
            slot: regions.slot,
            positive: regions.effective,
        },
        LevelSelection::Heuristic => {
            let targets = regions.select(heuristic_levels(levels, truth), levels);
            Taken {
                slot: targets.slot,
                positive: targets.positive,
            }
        }
    }
}

/// What to change in the branch whose table is `path`.
fn branch_remedy(path: &str, branch: &FsafBranch, cause: Cause) -> Option<String> {
    match cause {
        Cause::OutOfRange => Some(format!("set {path}.level_selection = \"online\"")),
        Cause::BetweenPoints => Some(format!(
            "raise {path}.assigner.pos_scale (now {})",
            branch.assigner.pos_scale
        )),
        Cause::Ignored | Cause::Hidden => None,
    }
}
