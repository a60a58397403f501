//! The look into the pictures of a run before its first step.

use std::time::{Duration, Instant};

use aweigh_data::{
    CocoDataset, DataError, Exif, Loader, OnBadImage, Pictures, SixteenBit, look_into,
    measure_range,
};

use crate::TrainError;
use crate::config::{DataConfig, Experiment};
use crate::evaluate::Validation;

/// How long a run may wait for the look into one dataset.
const PATIENCE: Duration = Duration::from_secs(2);

/// Measures the range of the training pictures where the configuration wants it measured, and
/// writes it there and into the dataset: evaluation, prediction and a resumed run use the same.
///
/// # Errors
///
/// When all samples are the same.
pub(crate) fn settle_range(
    data: &mut DataConfig,
    dataset: &mut CocoDataset,
) -> Result<(), TrainError> {
    if data.sixteen_bit != SixteenBit::Measured {
        return Ok(());
    }
    let annotations = dataset.name();
    data.sixteen_bit = match measure_range(dataset, data.workers) {
        Some([low, high]) if low == high => {
            return Err(TrainError::Data(DataError::Config {
                key: "data.sixteen_bit",
                reason: format!(
                    "\"range\" needs different samples, but all 16-bit pictures of {annotations} \
                     hold nothing but {low}"
                ),
            }));
        }
        Some(range) => SixteenBit::Range(range),
        None => {
            tracing::warn!(
                "`data.sixteen_bit = \"range\"` has nothing to measure: no readable picture of \
                 {annotations} has 16 bits; \"full\" takes its place"
            );
            SixteenBit::Full
        }
    };
    tracing::info!("data.sixteen_bit = {}", data.sixteen_bit);
    dataset.set_decoding(data.decoding());
    Ok(())
}

/// Decodes pictures of both datasets for a short time, and warns of what is wrong with them, a
/// line for each kind.
///
/// # Errors
///
/// When some cannot be used, unless the configuration does without them.
pub(crate) fn look(
    experiment: &Experiment,
    training: &Loader,
    validation: Option<&Validation>,
) -> Result<(), TrainError> {
    let data = &experiment.data;
    for loader in std::iter::once(training).chain(validation.map(Validation::loader)) {
        let started = Instant::now();
        let go_on = || started.elapsed() < PATIENCE;
        let pictures = look_into(loader.dataset(), data.workers, go_on);
        let annotations = loader.dataset().name();
        warn(&pictures, data, &annotations);
        loader.tell(&pictures);
        refuse(pictures, data.on_bad_image, &annotations)?;
    }
    Ok(())
}

/// One line for each kind of what was seen but is no error.
fn warn(pictures: &Pictures, data: &DataConfig, annotations: &str) {
    let of = |count: usize| {
        let looked = pictures.looked;
        format!("{count} of the {looked} pictures looked at in {annotations}")
    };
    let (oriented, doubtful) = (&pictures.oriented, &pictures.doubtful);
    match (&doubtful.first, &oriented.first) {
        (Some((file, orientation)), _) if data.exif == Exif::Ignore => tracing::warn!(
            "{} have an EXIF orientation, which `data.exif = \"ignore\"` does not apply: make \
             sure that their boxes refer to the pixels as they are stored; the first is {} \
             (orientation {orientation})",
            of(doubtful.count),
            file.display()
        ),
        (Some((file, orientation)), _) => tracing::warn!(
            "{} are turned upright, and their size does not tell whether their boxes are: make \
             sure that they lie on their objects (`aweigh explain` draws them); for boxes of the \
             pixels as they are stored set `data.exif = \"ignore\"`; the first is {} (EXIF \
             orientation {orientation})",
            of(doubtful.count),
            file.display()
        ),
        (None, Some(_)) => tracing::info!("{} are turned upright", of(oriented.count)),
        (None, None) => {}
    }
    if let Some((file, [low, high])) = &pictures.narrow.first {
        let [lowest, highest] = pictures.samples.unwrap_or([*low, *high]);
        tracing::warn!(
            "{} hold 16-bit samples of which `data.sixteen_bit = {}` leaves next to one grey \
             level; the first is {} ({low} to {high}); for all that was seen, set it to \
             {{ range = [{lowest}, {highest}] }}, or to \"range\" to have it measured",
            of(pictures.narrow.count),
            data.sixteen_bit,
            file.display()
        );
    }
}

/// Ends with the first picture that cannot be used, or warns where such pictures are skipped.
fn refuse(
    pictures: Pictures,
    on_bad_image: OnBadImage,
    annotations: &str,
) -> Result<(), TrainError> {
    let looked = pictures.looked;
    for seen in [pictures.unreadable, pictures.other_size] {
        let bad = seen.count;
        match (seen.first, on_bad_image) {
            (None, _) => {}
            (Some(first), OnBadImage::Error) => {
                return Err(TrainError::Pictures {
                    annotations: annotations.into(),
                    bad,
                    looked,
                    first: Box::new(first),
                });
            }
            (Some(first), OnBadImage::Skip) => tracing::warn!(
                "{bad} of the {looked} pictures looked at in {annotations} will be skipped, the \
                 first because: {first}"
            ),
        }
    }
    Ok(())
}
