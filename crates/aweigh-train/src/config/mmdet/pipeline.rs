//! The steps from a file to a network input, of mmdetection 2.x and 3.x.

use aweigh_data::{AugmentConfig, ChannelOrder, MultiScale, TransformConfig};
use serde_json::Value;

use super::Version;
use super::augment::{min_iou_crop, photometric};
use super::options::{Options, Refusal};

/// Mean, standard deviation and order of the channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Colours {
    pub(super) mean: [f32; 3],
    pub(super) std: [f32; 3],
    pub(super) order: ChannelOrder,
}

impl Colours {
    /// Reads `mean` and `std`, and whether OpenCV's BGR becomes RGB.
    pub(super) fn read(options: &Options<'_>, version: Version) -> Result<Self, Refusal> {
        let three = |key: &str| {
            let numbers = options.numbers(key)?.unwrap_or_default();
            let numbers = <[f64; 3]>::try_from(numbers);
            let numbers = numbers.map_err(|_| options.refuse(key, "expected three numbers"))?;
            Ok(numbers.map(|number| number as f32))
        };
        let rgb = match version {
            Version::Two => options.flag_or("to_rgb", true)?,
            Version::Three => options.flag_or("bgr_to_rgb", false)?,
        };
        Ok(Self {
            mean: three("mean")?,
            std: three("std")?,
            order: match rgb {
                true => ChannelOrder::Rgb,
                false => ChannelOrder::Bgr,
            },
        })
    }
}

/// The longer and the shorter edge that images are resized to.
type Edges = [u32; 2];

/// Sizes to resize to.
#[derive(Debug, Clone, PartialEq)]
enum Scales {
    Fixed(Edges),
    Choice(Vec<Edges>),
    Range([Edges; 2]),
}

/// What a list of steps does to an image.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Pipeline {
    scales: Option<Scales>,
    flip_prob: f64,
    /// What else changes images at random.
    pub(super) augment: AugmentConfig,
    /// In 2.x; 3.x does it elsewhere.
    pub(super) colours: Option<Colours>,
    /// In 2.x; 3.x does it elsewhere.
    pub(super) divisor: Option<u32>,
}

impl Pipeline {
    /// The steps of the list at this key.
    pub(super) fn read(options: &Options<'_>, key: &str) -> Result<Self, Refusal> {
        let mut pipeline = Self::default();
        pipeline.steps(options, key)?;
        Ok(pipeline)
    }

    fn steps(&mut self, options: &Options<'_>, key: &str) -> Result<(), Refusal> {
        let steps = options.list(key)?;
        let steps = steps.ok_or_else(|| options.refuse(key, "expected a list of steps"))?;
        for (i, step) in steps.iter().enumerate() {
            self.step(Options::of(&options.path(&format!("{key}[{i}]")), step)?)?;
        }
        Ok(())
    }

    fn step(&mut self, step: Options<'_>) -> Result<(), Refusal> {
        match step.class()? {
            "LoadImageFromFile" => load(&step)?,
            "LoadAnnotations" => annotations(&step)?,
            "Resize" => self.resize(&step)?,
            "RandomChoiceResize" => {
                keep_ratio(&step, Version::Three)?;
                step.expect("resize_type", "Resize")?;
                let scales = step.pairs("scales")?.unwrap_or_default();
                self.scales = Some(Scales::Choice(all_edges(&step, "scales", &scales)?));
            }
            "RandomResize" => self.random_resize(&step)?,
            "RandomFlip" => self.flip(&step)?,
            "PhotoMetricDistortion" => self.photometric(&step)?,
            "MinIoURandomCrop" => self.min_iou_crop(&step)?,
            "Normalize" => self.colours = Some(Colours::read(&step, Version::Two)?),
            "Pad" => self.pad(&step)?,
            "MultiScaleFlipAug" => self.test_steps(&step)?,
            // Whatever they name is no pixel.
            "PackDetInputs" | "DefaultFormatBundle" | "Collect" | "ImageToTensor" => {
                step.ignore(&["keys", "meta_keys", "img_to_float", "pad_val"]);
            }
            _ => return Err(step.refuse("type", "this step is not known")),
        }
        step.finish()
    }

    fn resize(&mut self, step: &Options<'_>) -> Result<(), Refusal> {
        step.expect("interpolation", "bilinear")?;
        step.expect("backend", "cv2")?;
        step.expect("clip_object_border", true)?;
        step.expect("bbox_clip_border", true)?;
        step.expect("override", false)?;
        step.expect_none("scale_factor")?;
        step.expect_none("ratio_range")?;
        let mode = step.text("multiscale_mode")?;
        if step.get("scale").is_some() {
            keep_ratio(step, Version::Three)?;
            self.scales = Some(Scales::Fixed(edges_at(step, "scale")?));
            return Ok(());
        }
        keep_ratio(step, Version::Two)?;
        let key = "img_scale";
        self.scales = match step.get(key) {
            // Within `MultiScaleFlipAug`, which has the sizes.
            None => return Ok(()),
            Some(Value::Array(scales)) if scales.iter().all(Value::is_array) => {
                let pairs = step.pairs(key)?.unwrap_or_default();
                let scales = all_edges(step, key, &pairs)?;
                match (mode, scales.as_slice()) {
                    (_, [only]) => Some(Scales::Fixed(*only)),
                    (Some("value"), _) => Some(Scales::Choice(scales)),
                    (None | Some("range"), [first, second]) => {
                        Some(Scales::Range([*first, *second]))
                    }
                    _ => {
                        return Err(
                            step.refuse("multiscale_mode", "known: 'value', and 'range' of two")
                        );
                    }
                }
            }
            Some(_) => Some(Scales::Fixed(edges_at(step, key)?)),
        };
        Ok(())
    }

    fn random_resize(&mut self, step: &Options<'_>) -> Result<(), Refusal> {
        keep_ratio(step, Version::Three)?;
        step.expect("resize_type", "Resize")?;
        step.expect_none("ratio_range")?;
        let pairs = step.pairs("scale")?.unwrap_or_default();
        self.scales = match all_edges(step, "scale", &pairs)?.as_slice() {
            [first, second] => Some(Scales::Range([*first, *second])),
            _ => return Err(step.refuse("scale", "expected two sizes")),
        };
        Ok(())
    }

    fn flip(&mut self, step: &Options<'_>) -> Result<(), Refusal> {
        let prob = step.number_or("flip_ratio", 0.0)?;
        let prob = step.number_or("prob", prob)?;
        match step.text("direction")? {
            None | Some("horizontal") => self.flip_prob = prob,
            Some("vertical") => self.augment.vertical_flip_prob = prob,
            Some(_) => return Err(step.refuse("direction", "known: 'horizontal', 'vertical'")),
        }
        Ok(())
    }

    fn photometric(&mut self, step: &Options<'_>) -> Result<(), Refusal> {
        if self.colours.is_some() {
            return Err(step.refuse("type", "known ahead of `Normalize` only"));
        }
        self.augment.photometric = Some(photometric(step)?);
        Ok(())
    }

    fn min_iou_crop(&mut self, step: &Options<'_>) -> Result<(), Refusal> {
        if self.scales.is_some() {
            return Err(step.refuse("type", "known ahead of the resize only"));
        }
        self.augment.min_iou_crop = Some(min_iou_crop(step)?);
        Ok(())
    }

    fn pad(&mut self, step: &Options<'_>) -> Result<(), Refusal> {
        step.expect("pad_to_square", false)?;
        step.expect_none("size")?;
        step.expect("pad_val", 0)?;
        self.divisor = step.size("size_divisor")?.map(|divisor| divisor as u32);
        Ok(())
    }

    /// How 2.x tests.
    fn test_steps(&mut self, step: &Options<'_>) -> Result<(), Refusal> {
        step.expect("flip", false)?;
        step.expect_none("scale_factor")?;
        step.ignore(&["flip_direction"]);
        self.steps(step, "transforms")?;
        let nested = step.get("img_scale").and_then(|scale| scale.get(0));
        self.scales = Some(match nested.is_some_and(Value::is_array) {
            true => match all_edges(
                step,
                "img_scale",
                &step.pairs("img_scale")?.unwrap_or_default(),
            )?
            .as_slice()
            {
                [only] => Scales::Fixed(*only),
                _ => return Err(step.refuse("img_scale", "tests at one size only are known")),
            },
            false => Scales::Fixed(edges_at(step, "img_scale")?),
        });
        Ok(())
    }
}

fn load(step: &Options<'_>) -> Result<(), Refusal> {
    step.ignore(&["backend_args", "file_client_args"]);
    step.expect("to_float32", false)?;
    step.expect("color_type", "color")?;
    step.expect("imdecode_backend", "cv2")?;
    step.expect("ignore_empty", false)
}

fn annotations(step: &Options<'_>) -> Result<(), Refusal> {
    // Masks do not move boxes.
    step.ignore(&[
        "backend_args",
        "file_client_args",
        "with_label",
        "with_mask",
        "poly2mask",
    ]);
    step.expect("with_bbox", true)?;
    step.expect("box_type", "hbox")?;
    step.expect("denorm_bbox", false)
}

/// The ratio is kept where 2.x is not told otherwise, and where 3.x is told so.
fn keep_ratio(step: &Options<'_>, version: Version) -> Result<(), Refusal> {
    if step.flag_or("keep_ratio", version == Version::Two)? {
        return Ok(());
    }
    Err(step.refuse("keep_ratio", "only True is known"))
}

fn edges_at(step: &Options<'_>, key: &str) -> Result<Edges, Refusal> {
    let pair = step.numbers(key)?.unwrap_or_default();
    let pair = <[f64; 2]>::try_from(pair);
    let pair = pair.map_err(|_| step.refuse(key, "expected two numbers"))?;
    edges(step, key, pair)
}

fn all_edges(step: &Options<'_>, key: &str, pairs: &[[f64; 2]]) -> Result<Vec<Edges>, Refusal> {
    pairs.iter().map(|pair| edges(step, key, *pair)).collect()
}

/// The longer edge and the shorter one, in whichever order they are given.
fn edges(step: &Options<'_>, key: &str, [a, b]: [f64; 2]) -> Result<Edges, Refusal> {
    let whole = |edge: f64| edge.fract() == 0.0 && edge >= 1.0 && edge <= f64::from(u32::MAX);
    if whole(a) && whole(b) {
        return Ok([a.max(b) as u32, a.min(b) as u32]);
    }
    Err(step.refuse(key, "expected whole numbers of pixels"))
}

/// The transform of training and evaluation; the sizes of both must have one longer edge.
pub(super) fn transform(
    train: &Pipeline,
    test: &Pipeline,
    colours: Colours,
    divisor: u32,
) -> Result<TransformConfig, String> {
    let Some(Scales::Fixed([long_edge, short_edge])) = test.scales else {
        return Err("a test at one size is needed".to_owned());
    };
    if test.augment != AugmentConfig::default() {
        return Err("the test changes images at random".to_owned());
    }
    let scales = train.scales.as_ref().ok_or("a step `Resize` is needed")?;
    let shorts = |edges: &[Edges]| {
        let short = |[long, short]: &Edges| match *long == long_edge {
            true => Ok(*short),
            false => Err(format!(
                "a longer edge of {long} pixels in training, but of {long_edge} in the test"
            )),
        };
        edges
            .iter()
            .map(short)
            .collect::<Result<Vec<u32>, String>>()
    };
    let multi_scale = match scales {
        Scales::Fixed(edges) => {
            let shorts = shorts(&[*edges])?;
            (shorts != [short_edge]).then_some(MultiScale::Choice(shorts))
        }
        Scales::Choice(edges) => Some(MultiScale::Choice(shorts(edges)?)),
        Scales::Range(ends) => {
            let shorts = shorts(ends)?;
            Some(MultiScale::Range([
                shorts[0].min(shorts[1]),
                shorts[0].max(shorts[1]),
            ]))
        }
    };
    Ok(TransformConfig {
        short_edge,
        long_edge,
        multi_scale,
        flip_prob: train.flip_prob,
        mean: colours.mean,
        std: colours.std,
        channel_order: colours.order,
        size_divisor: divisor,
        ..TransformConfig::default()
    })
}
