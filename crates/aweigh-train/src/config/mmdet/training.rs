//! Optimiser, schedule and length, of mmdetection 2.x and 3.x.

use super::super::train::Span;
use super::super::{
    OptimizerConfig, OptimizerKind, ScheduleConfig, ScheduleKind, TrainConfig, WarmupConfig,
    WarmupKind,
};
use serde_json::{Map, Value};

use super::Version;
use super::options::{Options, Refusal};

/// Everything of a run but its images; `repeats` is the number of passes over them in what the
/// configuration calls an epoch.
pub(super) fn training(
    config: &Options<'_>,
    version: Version,
    repeats: usize,
) -> Result<TrainConfig, Refusal> {
    let (length, mut train) = match version {
        Version::Two => (length_2(config)?, optimizer_2(config)?),
        Version::Three => (length_3(config)?, optimizer_3(config)?),
    };
    match length {
        Span::Epochs(epochs) => train.epochs = Some(epochs * repeats),
        Span::Iterations(iterations) => train.iterations = Some(iterations),
    }
    let mut schedule = match version {
        Version::Two => schedule_2(config)?,
        Version::Three => schedule_3(config, length, train.lr)?,
    };
    if let Some(milestones) = &mut schedule.milestones {
        milestones.iter_mut().for_each(|epoch| *epoch *= repeats);
    }
    train.schedule = schedule;
    Ok(train)
}

fn length_3(config: &Options<'_>) -> Result<Span, Refusal> {
    let options = config.needed_table("train_cfg")?;
    options.ignore(&["val_interval", "val_begin", "dynamic_intervals", "by_epoch"]);
    options.ignore(&["type"]);
    let length = match options.size("max_iters")? {
        Some(iterations) => Span::Iterations(iterations),
        None => Span::Epochs(options.needed_size("max_epochs")?),
    };
    options.finish()?;
    Ok(length)
}

fn length_2(config: &Options<'_>) -> Result<Span, Refusal> {
    let Some(runner) = config.table("runner")? else {
        return config.needed_size("total_epochs").map(Span::Epochs);
    };
    config.ignore(&["total_epochs"]);
    runner.ignore(&["type"]);
    let length = match runner.size("max_iters")? {
        Some(iterations) => Span::Iterations(iterations),
        None => Span::Epochs(runner.needed_size("max_epochs")?),
    };
    runner.finish()?;
    Ok(length)
}

fn optimizer_3(config: &Options<'_>) -> Result<TrainConfig, Refusal> {
    let wrapper = config.needed_table("optim_wrapper")?;
    if wrapper.get("type").is_some() {
        wrapper.expect_class(&["OptimWrapper"])?;
    }
    wrapper.expect("accumulative_counts", 1)?;
    let optimizer = wrapper.needed_table("optimizer")?;
    let train = TrainConfig {
        clip_norm: clip_norm(&wrapper, "clip_grad")?,
        lr: optimizer.number("lr")?,
        optimizer: optimizer_config(optimizer, wrapper.table("paramwise_cfg")?)?,
        ..TrainConfig::default()
    };
    wrapper.finish()?;
    Ok(train)
}

fn optimizer_2(config: &Options<'_>) -> Result<TrainConfig, Refusal> {
    let clip_norm = match config.table("optimizer_config")? {
        Some(options) => {
            options.expect("type", "OptimizerHook")?;
            let norm = clip_norm(&options, "grad_clip")?;
            options.finish()?;
            norm
        }
        None => None,
    };
    let optimizer = config.needed_table("optimizer")?;
    optimizer.expect("constructor", "DefaultOptimizerConstructor")?;
    let multipliers = optimizer.table("paramwise_cfg")?;
    Ok(TrainConfig {
        clip_norm,
        lr: optimizer.number("lr")?,
        optimizer: optimizer_config(optimizer, multipliers)?,
        ..TrainConfig::default()
    })
}

fn clip_norm(options: &Options<'_>, key: &str) -> Result<Option<f64>, Refusal> {
    let Some(clip) = options.table(key)? else {
        return Ok(None);
    };
    clip.expect("norm_type", 2)?;
    clip.expect("type", "norm")?;
    let norm = clip.number("max_norm")?;
    clip.finish()?;
    Ok(Some(norm))
}

/// The optimiser with PyTorch's defaults.
fn optimizer_config(
    options: Options<'_>,
    multipliers: Option<Options<'_>>,
) -> Result<OptimizerConfig, Refusal> {
    let config = match options.class()? {
        "SGD" => {
            options.expect("nesterov", false)?;
            options.expect("dampening", 0)?;
            OptimizerConfig {
                kind: OptimizerKind::Sgd,
                momentum: Some(options.number_or("momentum", 0.0)?),
                weight_decay: options.number_or("weight_decay", 0.0)?,
                ..OptimizerConfig::default()
            }
        }
        "AdamW" => {
            options.expect("amsgrad", false)?;
            let betas = options
                .numbers("betas")?
                .unwrap_or_else(|| vec![0.9, 0.999]);
            let &[beta1, beta2] = betas.as_slice() else {
                return Err(options.refuse("betas", "expected two numbers"));
            };
            OptimizerConfig {
                kind: OptimizerKind::Adamw,
                weight_decay: options.number_or("weight_decay", 0.01)?,
                beta1: Some(beta1),
                beta2: Some(beta2),
                eps: Some(options.number_or("eps", 1e-8)?),
                ..OptimizerConfig::default()
            }
        }
        _ => return Err(options.refuse("type", "known: SGD, AdamW")),
    };
    options.finish()?;
    let Some(multipliers) = multipliers else {
        return Ok(config);
    };
    // Parameters that are there twice are left out once.
    multipliers.ignore(&["bypass_duplicate"]);
    multipliers.expect("dcn_offset_lr_mult", 1)?;
    multipliers.expect("dwconv_decay_mult", 1)?;
    multipliers.expect("flat_decay_mult", 1)?;
    multipliers.expect("custom_keys", Map::new())?;
    let config = OptimizerConfig {
        bias_lr_mult: multipliers.number_or("bias_lr_mult", 1.0)?,
        bias_decay_mult: multipliers.number_or("bias_decay_mult", 1.0)?,
        norm_decay_mult: multipliers.number_or("norm_decay_mult", 1.0)?,
        ..config
    };
    multipliers.finish()?;
    Ok(config)
}

fn schedule_3(config: &Options<'_>, length: Span, lr: f64) -> Result<ScheduleConfig, Refusal> {
    let mut schedule = ScheduleConfig {
        kind: ScheduleKind::Constant,
        ..ScheduleConfig::default()
    };
    let key = "param_scheduler";
    for part in parts(config, key)? {
        part.ignore(&["verbose"]);
        part.expect("begin", 0)?;
        match part.class()? {
            "LinearLR" => {
                part.expect("end_factor", 1)?;
                schedule.warmup = Some(warmup_3(&part, WarmupKind::Linear, "start_factor")?);
            }
            "ConstantLR" => {
                schedule.warmup = Some(warmup_3(&part, WarmupKind::Constant, "factor")?);
            }
            _ if schedule.kind != ScheduleKind::Constant => {
                return Err(part.refuse("type", "one schedule after warm-up is known"));
            }
            "MultiStepLR" => {
                schedule.kind = ScheduleKind::MultiStep;
                schedule.gamma = Some(part.number_or("gamma", 0.1)?);
                let milestones = milestones_3(&part)?;
                match part.flag_or("by_epoch", true)? {
                    true => schedule.milestones = Some(milestones),
                    false => schedule.milestones_iterations = Some(milestones),
                }
            }
            "CosineAnnealingLR" => {
                schedule.kind = ScheduleKind::Cosine;
                schedule.final_ratio = Some(cosine_3(&part, length, lr)?);
            }
            _ => {
                let known = "known: LinearLR, ConstantLR, MultiStepLR, CosineAnnealingLR";
                return Err(part.refuse("type", known));
            }
        }
        part.finish()?;
    }
    let cosine_to_zero = schedule.final_ratio.is_none_or(|ratio| ratio == 0.0);
    if schedule.warmup.is_some() && !cosine_to_zero {
        // Its steps are factors of the rate above the last one, which warm-up lowers too.
        return Err(config.refuse(key, "warm-up is known with a cosine that ends at 0 only"));
    }
    Ok(schedule)
}

/// The dictionaries of a list, or the only one.
fn parts<'a>(config: &Options<'a>, key: &str) -> Result<Vec<Options<'a>>, Refusal> {
    match config.get(key) {
        Some(Value::Object(_)) => Ok(vec![config.needed_table(key)?]),
        _ => {
            let parts = config.list(key)?.unwrap_or_default().iter().enumerate();
            let part = |(i, part)| Options::of(&config.path(&format!("{key}[{i}]")), part);
            parts.map(part).collect()
        }
    }
}

/// The factor reaches 1 at the last of the steps from `begin` to `end` (mmengine
/// `LinearParamScheduler`), so that one step less is below it.
fn warmup_3(part: &Options<'_>, kind: WarmupKind, key: &str) -> Result<WarmupConfig, Refusal> {
    if part.flag_or("by_epoch", true)? {
        return Err(part.refuse(
            "by_epoch",
            "warm-up is known in iterations only, by_epoch=False",
        ));
    }
    let end = part.needed_size("end")?;
    Ok(WarmupConfig {
        kind,
        iterations: end.saturating_sub(1),
        ratio: part.number_or(key, 1.0 / 3.0)?,
    })
}

fn milestones_3(part: &Options<'_>) -> Result<Vec<usize>, Refusal> {
    let milestones = part.sizes("milestones")?;
    let milestones = milestones.ok_or_else(|| part.refuse("milestones", "expected a list"))?;
    match part.size("end")? {
        Some(end) if milestones.iter().any(|milestone| *milestone >= end) => Err(part.refuse(
            "end",
            format!("expected more than the milestones {milestones:?}"),
        )),
        _ => Ok(milestones),
    }
}

/// The rate at the end of a cosine over the whole run, over that at its start.
fn cosine_3(part: &Options<'_>, length: Span, lr: f64) -> Result<f64, Refusal> {
    let by_epoch = part.flag_or("by_epoch", true)?;
    if by_epoch && !part.flag_or("convert_to_iter_based", false)? {
        let expected = "a cosine in epochs is known with convert_to_iter_based=True only";
        return Err(part.refuse("by_epoch", expected));
    }
    part.ignore(&["convert_to_iter_based"]);
    let end = part.size("end")?;
    let period = part.size("T_max")?.or(end);
    let whole = match length {
        Span::Epochs(epochs) => by_epoch.then_some(epochs),
        Span::Iterations(iterations) => (!by_epoch).then_some(iterations),
    };
    let runs_through = end.is_none() || end == whole;
    if period != whole || !runs_through {
        return Err(part.refuse("T_max", "only a cosine over the whole run is known"));
    }
    let ratio = part.number_or("eta_min", 0.0)? / lr;
    part.number_or("eta_min_ratio", ratio)
}

fn schedule_2(config: &Options<'_>) -> Result<ScheduleConfig, Refusal> {
    config.expect_none("momentum_config")?;
    let options = config.needed_table("lr_config")?;
    let warmup = warmup_2(&options)?;
    let by_epoch = options.flag_or("by_epoch", true)?;
    let constant = ScheduleConfig {
        kind: ScheduleKind::Constant,
        warmup,
        ..ScheduleConfig::default()
    };
    let schedule = match options.text("policy")? {
        Some("fixed") => constant,
        Some("step") => {
            options.expect_none("min_lr")?;
            let wrong = || options.refuse("step", "expected a list");
            let milestones = options.sizes("step")?.ok_or_else(wrong)?;
            let (milestones, iterations) = match by_epoch {
                true => (Some(milestones), None),
                false => (None, Some(milestones)),
            };
            ScheduleConfig {
                kind: ScheduleKind::MultiStep,
                gamma: Some(options.number_or("gamma", 0.1)?),
                milestones,
                milestones_iterations: iterations,
                ..constant
            }
        }
        Some("CosineAnnealing") if by_epoch => {
            return Err(options.refuse("by_epoch", "a cosine is known in iterations only"));
        }
        Some("CosineAnnealing") => {
            options.expect_none("min_lr")?;
            ScheduleConfig {
                kind: ScheduleKind::Cosine,
                final_ratio: Some(options.number_or("min_lr_ratio", 0.0)?),
                ..constant
            }
        }
        _ => return Err(options.refuse("policy", "known: 'step', 'CosineAnnealing', 'fixed'")),
    };
    options.finish()?;
    Ok(schedule)
}

fn warmup_2(options: &Options<'_>) -> Result<Option<WarmupConfig>, Refusal> {
    let kind = match options.text("warmup")? {
        None => {
            options.ignore(&["warmup_iters", "warmup_ratio", "warmup_by_epoch"]);
            return Ok(None);
        }
        Some("linear") => WarmupKind::Linear,
        Some("constant") => WarmupKind::Constant,
        _ => return Err(options.refuse("warmup", "known: 'linear', 'constant'")),
    };
    options.expect("warmup_by_epoch", false)?;
    Ok(Some(WarmupConfig {
        kind,
        iterations: options.needed_size("warmup_iters")?,
        ratio: options.number_or("warmup_ratio", 0.1)?,
    }))
}
