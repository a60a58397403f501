//! `bbox_head`, `train_cfg` and `test_cfg`: one file per method.

mod assigners;
mod fcos;
mod fovea;
mod fsaf;
mod reppoints;
mod retina;

use aweigh_detectors::{DetectorConfig, FocalLoss, InferenceConfig, RankBy, Score, TowerNorm};
use serde_json::Value;

use super::options::{Options, Refusal};

/// Strides that the classes of FCOS and FoveaBox have by default.
const STRIDES_FROM_4: [usize; 5] = [4, 8, 16, 32, 64];
/// Strides that the classes of RepPoints and RetinaNet have by default.
const STRIDES_FROM_8: [usize; 5] = [8, 16, 32, 64, 128];

/// What a detector learns by and how it detects.
#[derive(Default)]
pub(super) struct Sections<'a> {
    pub(super) train: Option<Options<'a>>,
    pub(super) test: Option<Options<'a>>,
}

/// Adds the method of a head to a detector's configuration.
pub(super) fn head(
    head: Options<'_>,
    sections: Sections<'_>,
    mut config: DetectorConfig,
) -> Result<DetectorConfig, Refusal> {
    config.num_classes = Some(head.needed_size("num_classes")?);
    head.expect("in_channels", config.neck.out_channels)?;
    head.ignore(&["init_cfg", "train_cfg", "test_cfg"]);
    head.expect_none("conv_cfg")?;
    let test = inference(sections.test)?;
    let train = sections.train;
    match head.class()? {
        "FCOSHead" => config.fcos = Some(fcos::read(&head, test, &config)?),
        "FoveaHead" => config.fovea = Some(fovea::read(&head, test, &config)?),
        "RepPointsHead" => config.reppoints = Some(reppoints::read(&head, train, test, &config)?),
        "FSAFHead" => config.fsaf = Some(fsaf::read(&head, train, test, &config)?),
        "RetinaHead" => config.retina = Some(retina::read(&head, train, test, &config)?),
        _ => {
            let known = "known: FCOSHead, FoveaHead, RepPointsHead, FSAFHead, RetinaHead";
            return Err(head.refuse("type", known));
        }
    }
    head.finish()?;
    Ok(config)
}

/// Refuses strides that are not those of the pyramid.
fn check_strides(
    options: &Options<'_>,
    key: &str,
    absent: [usize; 5],
    config: &DetectorConfig,
) -> Result<(), Refusal> {
    let strides = options.sizes(key)?.unwrap_or(absent.into());
    let levels = config.levels();
    let levels =
        levels.map_err(|e| options.refuse(key, format!("no such pyramid is known: {e}")))?;
    let given: Vec<usize> = levels.iter().map(|level| level.stride).collect();
    if strides == given {
        return Ok(());
    }
    let expected = format!("it means {strides:?}, but the pyramid has {given:?}");
    Err(options.refuse(key, expected))
}

/// Normalisation of the towers; `absent` is what the class has.
fn norm(head: &Options<'_>, absent: TowerNorm) -> Result<TowerNorm, Refusal> {
    if head.raw("norm_cfg").is_none() {
        return Ok(absent);
    }
    let Some(options) = head.table("norm_cfg")? else {
        return Ok(TowerNorm::None);
    };
    options.expect_class(&["GN"])?;
    options.expect("requires_grad", true)?;
    options.expect("eps", 1e-5)?;
    let groups = options.needed_size("num_groups")?;
    options.finish()?;
    Ok(TowerNorm::GroupNorm { groups })
}

/// Whether the convolutions of the towers have a bias; nothing means where no norm follows.
fn conv_bias(head: &Options<'_>) -> Result<Option<bool>, Refusal> {
    match head.get("conv_bias") {
        None => Ok(None),
        Some(Value::Bool(bias)) => Ok(Some(*bias)),
        Some(value) if value == "auto" => Ok(None),
        Some(_) => Err(head.refuse("conv_bias", "known: 'auto', True, False")),
    }
}

/// Focal loss of the classes, by default that of the classes of FCOS, FoveaBox and RepPoints.
fn focal_or_default(head: &Options<'_>) -> Result<FocalLoss, Refusal> {
    match head.table("loss_cls")? {
        Some(loss) => focal(loss),
        None => Ok(FocalLoss::default()),
    }
}

fn focal(loss: Options<'_>) -> Result<FocalLoss, Refusal> {
    loss.expect_class(&["FocalLoss"])?;
    // What is reduced is decided where the loss is called.
    loss.ignore(&["reduction"]);
    loss.expect("use_sigmoid", true)?;
    loss.expect("activated", false)?;
    let focal = FocalLoss {
        gamma: loss.number_or("gamma", 2.0)?,
        alpha: loss.number_or("alpha", 0.25)?,
        weight: loss.number_or("loss_weight", 1.0)?,
    };
    loss.finish()?;
    Ok(focal)
}

/// Thresholds and limits of inference.
fn inference(options: Option<Options<'_>>) -> Result<InferenceConfig, Refusal> {
    let options = options.ok_or_else(|| Refusal {
        option: "model.test_cfg".to_owned(),
        found: "absent".to_owned(),
        expected: "a dictionary is needed".to_owned(),
    })?;
    let nms = options.needed_table("nms")?;
    nms.expect_class(&["nms"])?;
    // From how many boxes on classes are taken one by one.
    nms.ignore(&["split_thr"]);
    nms.expect("class_agnostic", false)?;
    let config = InferenceConfig {
        score_threshold: options.number("score_thr")? as f32,
        nms_pre: options.needed_size("nms_pre")?,
        nms_iou: nms.number("iou_threshold")? as f32,
        max_per_image: options.needed_size("max_per_img")?,
        min_box_size: options.number_or("min_bbox_size", -1.0)? as f32,
        score: Score::Product,
        rank_by: RankBy::Class,
    };
    nms.finish()?;
    options.finish()?;
    Ok(config)
}

/// What a head of anchors learns by, down to its assigner.
fn assigner<'a>(train: Option<Options<'a>>) -> Result<Options<'a>, Refusal> {
    let train = section(train)?;
    if let Some(sampler) = train.table("sampler")? {
        sampler.expect_class(&["PseudoSampler"])?;
        sampler.finish()?;
    }
    stage(train)
}

/// The options of training, which a method needs.
fn section(train: Option<Options<'_>>) -> Result<Options<'_>, Refusal> {
    train.ok_or_else(|| Refusal {
        option: "model.train_cfg".to_owned(),
        found: "absent".to_owned(),
        expected: "a dictionary is needed".to_owned(),
    })
}

/// The assigner of options of training without sampling.
fn stage(options: Options<'_>) -> Result<Options<'_>, Refusal> {
    options.ignore(&["debug"]);
    let assigner = options.needed_table("assigner")?;
    // Both are off below 0, the second up to 0.
    if options.number_or("allowed_border", -1.0)? >= 0.0 {
        return Err(options.refuse("allowed_border", "only -1 is known"));
    }
    if options.number_or("pos_weight", -1.0)? > 0.0 {
        return Err(options.refuse("pos_weight", "only -1 is known"));
    }
    options.finish()?;
    Ok(assigner)
}

fn narrow(values: Vec<f64>) -> Vec<f32> {
    values.into_iter().map(|value| value as f32).collect()
}

fn narrow_pairs(pairs: Vec<[f64; 2]>) -> Vec<[f32; 2]> {
    let narrow = |pair: [f64; 2]| pair.map(|value| value as f32);
    pairs.into_iter().map(narrow).collect()
}
