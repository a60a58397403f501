//! The deterministic parallel loader.

mod share;
mod told;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::augment::{AugmentConfig, Augmenter, Position, Scene};
use crate::batch::{Prepared, Source, collate, prepare};
use crate::ordered::OrderedMap;
use crate::reader::Reader;
use crate::remark::Remark;
use crate::sampler::{Grouping, Order, Sampler};
use crate::sampling::{Sample, Samples};
use crate::{
    CocoDataset, DataError, DecodedImage, HostBatch, Pictures, Purpose, SamplingConfig,
    TransformConfig,
};
pub use share::Share;
use told::Told;

/// What to do about an image that is missing, broken or of another size than declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadImage {
    /// Stop with an error that names the file.
    #[default]
    Error,
    /// Log a warning and go on without the image.
    Skip,
}

/// How batches are formed and how many threads decode them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoaderConfig {
    /// Images in a batch. Default: 2. The last batch of an epoch can be smaller.
    pub batch_size: usize,
    /// Threads that decode; 0 decodes in the thread that asks for the batch. Default: 2.
    /// The batches are the same for any number.
    pub workers: usize,
    /// Decoded batches kept ready beyond the one that each worker makes. Default: 2.
    /// At most `workers + prefetch` batches are in memory besides the one in use.
    pub prefetch: usize,
    /// Seed of everything random. Not a key of its own: it is set from the seed of the experiment.
    #[serde(skip)]
    pub seed: u64,
    /// What to do about a bad image: `error` or `skip`. Default: `error`.
    pub on_bad_image: OnBadImage,
    /// In training, put images wider than high, and the others, into batches of their own, which
    /// saves padding. Default: true.
    pub aspect_grouping: bool,
    /// Memory for decoded images of training, in units of 2^20 bytes; 0 decodes every image anew in
    /// every epoch. The first images that fit are kept to the end. The batches are the same for any
    /// number. Default: 0.
    pub cache_mb: usize,
    /// What is done to images of training at random, besides what the transform draws.
    /// Default: nothing.
    pub augment: AugmentConfig,
    /// Which images an epoch of training has. Evaluation has every image.
    pub sampling: SamplingConfig,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            batch_size: 2,
            workers: 2,
            prefetch: 2,
            seed: 0,
            on_bad_image: OnBadImage::Error,
            aspect_grouping: true,
            cache_mb: 0,
            augment: AugmentConfig::default(),
            sampling: SamplingConfig::default(),
        }
    }
}

/// Yields the batches of a dataset, epoch after epoch.
#[derive(Clone, Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    sampler: Sampler,
}

/// What the workers need.
#[derive(Debug)]
struct Shared {
    reader: Reader,
    transform: TransformConfig,
    config: LoaderConfig,
    purpose: Purpose,
    /// Which remarks the user has met.
    told: Told,
}

impl Loader {
    /// A loader for training: shuffled, flipped, scaled and augmented at random, grouped by aspect
    /// ratio if asked to. Logs which images an epoch has, unless it is every image once.
    ///
    /// # Errors
    /// If a value of `transform` or `config` is out of range, or the dataset has not the images that
    /// `config` asks for.
    pub fn train(
        dataset: Arc<CocoDataset>,
        transform: TransformConfig,
        config: LoaderConfig,
    ) -> Result<Self, DataError> {
        let samples = Samples::new(&dataset, &config.sampling, config.seed)?;
        for text in samples.report(&dataset, config.sampling.kind) {
            tracing::info!("{}: {text}", dataset.name());
        }
        let sampler = Sampler {
            batch_size: config.batch_size,
            order: Order::Random(samples.into()),
            grouping: if config.aspect_grouping {
                Grouping::AspectRatio
            } else {
                Grouping::None
            },
        };
        let shared = Shared::new(dataset, transform, config, Purpose::Train)?;
        Ok(Self { shared, sampler })
    }

    /// A loader for evaluation: in the order of the annotation file, nothing random, nothing kept.
    ///
    /// # Errors
    /// If a value of `transform` or `config` is out of range.
    pub fn eval(
        dataset: Arc<CocoDataset>,
        transform: TransformConfig,
        config: LoaderConfig,
    ) -> Result<Self, DataError> {
        let sampler = Sampler {
            batch_size: config.batch_size,
            order: Order::Sequential,
            grouping: Grouping::None,
        };
        let shared = Shared::new(dataset, transform, config, Purpose::Evaluate)?;
        Ok(Self { shared, sampler })
    }

    /// The dataset.
    pub fn dataset(&self) -> &CocoDataset {
        self.shared.reader.dataset()
    }

    /// Has the user know of what was seen in pictures of the dataset: its kinds are not warned of
    /// once more. Of any other the first picture is, whatever the epoch.
    pub fn tell(&self, pictures: &Pictures) {
        self.shared.told.all(pictures);
    }

    /// Batches in an epoch; the same in every epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.sampler.count(self.shared.reader.dataset().images())
    }

    /// The batches of an epoch from batch `start` on, equal to those of a full epoch.
    ///
    /// Workers start at once. A `start` at or beyond the end gives no batches.
    pub fn epoch(&self, epoch: u64, start: usize) -> Epoch {
        self.epoch_share(epoch, start, Share::default())
    }

    /// What one of several processes loads of an epoch from batch `start` on: in training a part of
    /// each batch, in evaluation every so many-th batch as a whole, so that no image is padded
    /// otherwise than in one process.
    pub fn epoch_share(&self, epoch: u64, start: usize, share: Share) -> Epoch {
        let shared = Arc::clone(&self.shared);
        let plan = self
            .sampler
            .batches(shared.reader.dataset().images(), epoch);
        let range = start.min(plan.len())..plan.len();
        let (workers, prefetch) = (shared.config.workers, shared.config.prefetch);
        let worker = Arc::clone(&shared);
        let batches = OrderedMap::new(range, workers, prefetch, move |index, stop| {
            let samples = worker.share_of(share, index, &plan[index]);
            worker.load(index, samples, epoch, stop)
        });
        Epoch {
            shared,
            batches: Some(batches),
            skipped: 0,
        }
    }
}

/// The batches of one epoch, in order; dropping it stops the workers.
///
/// It ends after the first error. With [`OnBadImage::Skip`] a batch lacks its bad images. A batch of
/// which there is nothing is left out, and [`HostBatch::index`] jumps then: one of nothing but bad
/// images, or one that another process evaluates.
pub struct Epoch {
    shared: Arc<Shared>,
    /// None after an error.
    batches: Option<OrderedMap<Result<Loaded, DataError>>>,
    skipped: usize,
}

impl Epoch {
    /// Bad images left out of the batches up to now.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The next batch, with none where there is nothing of it: processes that load an epoch together
    /// go through the same numbers.
    pub fn next_part(&mut self) -> Option<Result<Part, DataError>> {
        let part = match self.batches.as_mut()?.next()? {
            Ok(loaded) => {
                self.report(&loaded);
                Ok(Part {
                    index: loaded.index,
                    batch: loaded.batch,
                })
            }
            Err(error) => {
                self.batches = None;
                Err(error)
            }
        };
        Some(part)
    }

    /// Counts and logs what a batch lacks, and what is doubtful about its pictures. Done here and
    /// not in the workers, so that the log does not depend on their order.
    fn report(&mut self, loaded: &Loaded) {
        for error in &loaded.skipped {
            self.skipped += 1;
            tracing::warn!("image skipped ({} in this epoch): {error}", self.skipped);
        }
        for (file, remark) in &loaded.remarks {
            if self.shared.told.is_new(*remark) {
                remark.warn(file, &self.shared.reader.dataset().config().decoding);
            }
        }
    }
}

impl Iterator for Epoch {
    type Item = Result<HostBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_part()? {
                Ok(Part { batch: None, .. }) => {}
                Ok(Part {
                    batch: Some(batch), ..
                }) => return Some(Ok(batch)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// What a process has of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Number of the batch in its epoch, from 0.
    pub index: usize,
    /// Its images; none where it has none.
    pub batch: Option<HostBatch>,
}

/// What a worker makes.
#[derive(Default)]
struct Loaded {
    /// Number of the batch in its epoch.
    index: usize,
    /// None where it has no image, or all are bad.
    batch: Option<HostBatch>,
    /// The errors of the images that the batch lacks.
    skipped: Vec<DataError>,
    /// What is doubtful about those that it has.
    remarks: Vec<(PathBuf, Remark)>,
}

impl Shared {
    fn new(
        dataset: Arc<CocoDataset>,
        transform: TransformConfig,
        config: LoaderConfig,
        purpose: Purpose,
    ) -> Result<Arc<Self>, DataError> {
        transform.validate()?;
        config.augment.validate()?;
        dataset.config().decoding.validate()?;
        dataset.config().decoding.sixteen_bit.ends()?;
        if config.batch_size == 0 {
            return Err(DataError::Config {
                key: "batch_size",
                reason: "0; expected at least 1".to_string(),
            });
        }
        let budget = match purpose {
            Purpose::Train => config.cache_mb,
            Purpose::Evaluate => 0,
        };
        Ok(Arc::new(Self {
            reader: Reader::new(dataset, budget),
            transform,
            config,
            purpose,
            told: Told::default(),
        }))
    }

    /// What a process loads of a batch.
    fn share_of<'a>(&self, share: Share, index: usize, samples: &'a [Sample]) -> &'a [Sample] {
        match self.purpose {
            Purpose::Train => share.part_of(samples),
            Purpose::Evaluate if share.has(index) => samples,
            Purpose::Evaluate => &[],
        }
    }

    /// Makes one batch.
    fn load(
        &self,
        index: usize,
        samples: &[Sample],
        epoch: u64,
        stop: &AtomicBool,
    ) -> Result<Loaded, DataError> {
        let mut prepared = Vec::with_capacity(samples.len());
        let mut loaded = Loaded {
            index,
            ..Loaded::default()
        };
        for &sample in samples {
            if stop.load(Ordering::Relaxed) {
                return Ok(Loaded::default());
            }
            match (self.prepare(sample, epoch), self.config.on_bad_image) {
                (Ok(image), _) => {
                    let file = &image.meta.file;
                    let remarks = image.remarks.iter();
                    loaded
                        .remarks
                        .extend(remarks.map(|remark| (file.clone(), *remark)));
                    prepared.push(image);
                }
                (Err(error), OnBadImage::Skip) => loaded.skipped.push(error),
                (Err(error), OnBadImage::Error) => return Err(error),
            }
        }
        if !prepared.is_empty() {
            loaded.batch = Some(collate(index, prepared, &self.transform));
        }
        Ok(loaded)
    }

    /// Makes one image; its random draws depend on the epoch, its place and how often the epoch has
    /// had it before.
    fn prepare(&self, sample: Sample, epoch: u64) -> Result<Prepared, DataError> {
        let dataset = self.reader.dataset();
        let image = self.reader.read(sample.place)?;
        let file = dataset.image_path(sample.place);
        let source = Source::of(dataset, sample.place, &file);
        let mut prepared = match self.purpose {
            Purpose::Train => {
                let position = Position {
                    seed: self.config.seed,
                    epoch,
                    index: sample.index(),
                };
                self.augment(&image, source, position)
            }
            Purpose::Evaluate => prepare(Cow::Borrowed(&image), source, &self.transform),
        };
        prepared.remarks = Remark::of(&image.stored, &dataset.config().decoding);
        Ok(prepared)
    }

    fn augment(&self, image: &DecodedImage, source: Source<'_>, position: Position) -> Prepared {
        let augmenter = Augmenter {
            transform: &self.transform,
            augment: &self.config.augment,
            reader: &self.reader,
            position,
        };
        let scene = Scene {
            image: Cow::Borrowed(image),
            truth: source.truth.clone(),
        };
        let original = scene.size();
        Prepared::new(augmenter.apply(scene), original, source, &self.transform)
    }
}
