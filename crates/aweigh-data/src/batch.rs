//! Batches in host memory.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use aweigh_geometry::{HostTruth, ImageFrame};

use crate::augment::{Augmented, Scene};
use crate::remark::Remark;
use crate::{CocoDataset, DataError, DecodedImage, TransformConfig, decode};

/// What happened to an image on its way into a batch; sizes are `[height, width]` in pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageMeta {
    /// The `id` in the annotation file; 0 for an image without one.
    pub image_id: i64,
    /// The file.
    pub file: PathBuf,
    /// Size after decoding: the upright one where the EXIF orientation is applied.
    pub original: [usize; 2],
    /// Size after resizing, without padding, and its scale.
    pub frame: ImageFrame,
    /// The resized size, or the target of large-scale jitter, rounded up to multiples of the transform's
    /// `size_divisor`: the network input of the image alone. What a batch adds beyond is not part of
    /// the image.
    pub padded: [usize; 2],
    /// Whether left and right are exchanged, after all else.
    pub flipped: bool,
    /// Whether an augmentation of training moved pixels, other than by the resize and by this flip:
    /// the image is a part of the file then, turned, or one of several in a mosaic. `frame` still
    /// has its size in the network input.
    pub augmented: bool,
}

impl ImageMeta {
    /// Maps a box of the network input back to original pixels.
    ///
    /// # Panics
    /// If the image is augmented: its pixels come from elsewhere in the file, or from other files.
    pub fn to_original(&self, bbox: [f32; 4]) -> [f32; 4] {
        assert!(!self.augmented, "an augmented image has no original pixels");
        let upright = if self.flipped {
            self.frame.mirror(bbox)
        } else {
            bbox
        };
        self.frame.to_original(upright)
    }
}

/// A batch, ready to become a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct HostBatch {
    /// Number of the batch in its epoch, from 0.
    pub index: usize,
    /// `[B, 3, H, W]`, normalised; zeros right of and below each image.
    pub images: Vec<f32>,
    /// `[B, 3, H, W]`.
    pub shape: [usize; 4],
    /// Ground truth of each image, in pixels of the network input.
    pub truth: Vec<HostTruth>,
    /// The way of each image into the batch.
    pub meta: Vec<ImageMeta>,
    /// Whether its one image is empty and stands for none, which trains nothing: a process that has
    /// nothing of a batch of several processes takes part with it.
    pub stand_in: bool,
}

impl HostBatch {
    /// Transforms a picture without annotations, as evaluation does.
    pub fn from_picture(picture: &DecodedImage, file: &Path, transform: &TransformConfig) -> Self {
        let source = Source {
            image_id: 0,
            file,
            truth: &HostTruth::default(),
        };
        let prepared = prepare(Cow::Borrowed(picture), source, transform);
        collate(0, vec![prepared], transform)
    }

    /// The batch in parts of up to `size` images, in order, each as high and wide as the batch.
    ///
    /// # Panics
    /// If `size` is 0.
    pub fn split(self, size: usize) -> Vec<Self> {
        let [images, channels, height, width] = self.shape;
        if size >= images {
            return vec![self];
        }
        let of_images = self.images.chunks(size * channels * height * width);
        let of_truth = self.truth.chunks(size).zip(self.meta.chunks(size));
        let part = |(images, (truth, meta)): (&[f32], (&[HostTruth], &[ImageMeta]))| Self {
            index: self.index,
            images: images.to_vec(),
            shape: [truth.len(), channels, height, width],
            truth: truth.to_vec(),
            meta: meta.to_vec(),
            stand_in: self.stand_in,
        };
        of_images.zip(of_truth).map(part).collect()
    }

    /// A batch of one empty image of `[height, width]`, which stands for none.
    pub fn empty(index: usize, size: [usize; 2]) -> Self {
        let [height, width] = size;
        Self {
            index,
            images: vec![0.0; 3 * height * width],
            shape: [1, 3, height, width],
            truth: vec![HostTruth::default()],
            meta: vec![ImageMeta {
                image_id: 0,
                file: PathBuf::new(),
                original: size,
                frame: ImageFrame::new(size, size),
                padded: size,
                flipped: false,
                augmented: false,
            }],
            stand_in: true,
        }
    }

    /// The batch with zeros right of and below its images, up to `[height, width]`.
    ///
    /// # Panics
    /// If the batch is larger.
    pub fn pad_to(self, [height, width]: [usize; 2]) -> Self {
        let [images, channels, rows, stride] = self.shape;
        if [rows, stride] == [height, width] {
            return self;
        }
        assert!(
            rows <= height && stride <= width,
            "a batch of {rows} x {stride} pixels does not fit into {height} x {width}"
        );
        let mut padded = vec![0.0; images * channels * height * width];
        let planes = padded.chunks_exact_mut(height * width);
        for (to, from) in planes.zip(self.images.chunks_exact(rows * stride)) {
            for (to, from) in to.chunks_exact_mut(width).zip(from.chunks_exact(stride)) {
                to[..stride].copy_from_slice(from);
            }
        }
        Self {
            images: padded,
            shape: [images, channels, height, width],
            ..self
        }
    }

    /// Decodes and transforms one image of a dataset as evaluation does, with its ground truth.
    /// Warns of what is doubtful about its pixels.
    ///
    /// # Errors
    /// If the file is not a readable image or has another size than declared.
    ///
    /// # Panics
    /// If `index` is not below the number of images.
    pub fn from_dataset(
        dataset: &CocoDataset,
        index: usize,
        transform: &TransformConfig,
    ) -> Result<Self, DataError> {
        let image = read_record(dataset, index)?;
        let file = dataset.image_path(index);
        let decoding = &dataset.config().decoding;
        for remark in Remark::of(&image.stored, decoding) {
            remark.warn(&file, decoding);
        }
        let source = Source::of(dataset, index, &file);
        let prepared = prepare(Cow::Owned(image), source, transform);
        Ok(collate(0, vec![prepared], transform))
    }

    /// An image as the network sees it, without its padding, as 8-bit RGB. Its ground truth is
    /// `truth[at]`, in pixels of this picture.
    ///
    /// `transform` is the one that made the batch.
    ///
    /// # Panics
    /// If `at` is not below the number of images.
    pub fn picture(&self, at: usize, transform: &TransformConfig) -> DecodedImage {
        let [_, channels, rows, stride] = self.shape;
        let [height, width] = self.meta[at].frame.size;
        let planes = &self.images[at * channels * rows * stride..];
        let mut pixels = vec![0; height * width * 3];
        for channel in 0..channels {
            let (mean, std) = (transform.mean[channel], transform.std[channel]);
            let level = |value: f32| (value * std + mean).round() as u8;
            let plane = &planes[channel * rows * stride..];
            let values = plane.chunks(stride).flat_map(|row| &row[..width]);
            let shown = pixels.iter_mut().skip(transform.channel_order.rgb(channel));
            for (shown, value) in shown.step_by(3).zip(values) {
                *shown = level(*value);
            }
        }
        DecodedImage::made([height, width], pixels)
    }
}

/// What is known about an image before it is decoded.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) image_id: i64,
    pub(crate) file: &'a Path,
    pub(crate) truth: &'a HostTruth,
}

impl<'a> Source<'a> {
    /// Image `index` of a dataset, which is in `file`.
    pub(crate) fn of(dataset: &'a CocoDataset, index: usize, file: &'a Path) -> Self {
        let record = &dataset.images()[index];
        Self {
            image_id: record.id,
            file,
            truth: &record.truth,
        }
    }
}

/// A resized image that waits for its batch.
pub(crate) struct Prepared {
    /// RGB, interleaved; not flipped yet.
    pixels: Vec<u8>,
    truth: HostTruth,
    pub(crate) meta: ImageMeta,
    /// What is doubtful about the pixels of an image with annotations.
    pub(crate) remarks: Vec<Remark>,
}

/// Decodes an image of a dataset and checks its size.
pub(crate) fn read_record(dataset: &CocoDataset, index: usize) -> Result<DecodedImage, DataError> {
    let record = &dataset.images()[index];
    let decoding = &dataset.config().decoding;
    let path = dataset.image_path(index);
    let image = decode(&path, decoding)?;
    let found = [image.height, image.width];
    let declared = [record.height as usize, record.width as usize];
    if found == declared {
        return Ok(image);
    }
    Err(DataError::SizeMismatch {
        path,
        annotations: dataset.part_of(index).config.annotations.clone(),
        found,
        declared,
        orientation: image.stored.orientation,
        exif: decoding.exif,
    })
}

/// Resizes an image and moves its ground truth along.
pub(crate) fn prepare(
    image: Cow<'_, DecodedImage>,
    source: Source<'_>,
    transform: &TransformConfig,
) -> Prepared {
    let original = [image.height, image.width];
    let size = transform.resized(transform.short_edge, original);
    let truth = source.truth.clone();
    let plain = Augmented {
        scene: Scene { image, truth }.resize(size, transform.resize),
        room: size,
        flipped: false,
        moved: false,
    };
    Prepared::new(plain, original, source, transform)
}

impl Prepared {
    /// An image of `original` height and width in its file. Flipping the pixels is left to
    /// [`collate`], which writes them once.
    pub(crate) fn new(
        made: Augmented,
        original: [usize; 2],
        source: Source<'_>,
        transform: &TransformConfig,
    ) -> Self {
        let Augmented { scene, flipped, .. } = made;
        let size = scene.size();
        let frame = ImageFrame::new(original, size);
        let room = [0, 1].map(|side| size[side].max(made.room[side]));
        Self {
            truth: match flipped {
                true => scene.truth.map_boxes(|bbox| frame.mirror(bbox)),
                false => scene.truth,
            },
            pixels: scene.image.into_owned().pixels,
            meta: ImageMeta {
                image_id: source.image_id,
                file: source.file.to_path_buf(),
                original,
                frame,
                padded: transform.padded_alone(room),
                flipped,
                augmented: made.moved,
            },
            remarks: Vec::new(),
        }
    }
}

/// Normalises the images into one block of the size of the largest, rounded up.
///
/// # Panics
/// If `prepared` is empty.
pub(crate) fn collate(
    index: usize,
    prepared: Vec<Prepared>,
    transform: &TransformConfig,
) -> HostBatch {
    assert!(!prepared.is_empty(), "a batch needs an image");
    let side = |side: usize| {
        prepared
            .iter()
            .map(move |image| image.meta.padded[side])
            .max()
    };
    let largest = [0, 1].map(|at| side(at).unwrap_or(0));
    let [height, width] = transform.padded(largest);
    let mut images = vec![0.0; prepared.len() * 3 * height * width];
    let tables = tables(transform);
    let planes = images.chunks_exact_mut(height * width);
    let places = prepared
        .iter()
        .flat_map(|image| [(image, 0), (image, 1), (image, 2)]);
    for (plane, (image, channel)) in planes.zip(places) {
        let source = transform.channel_order.rgb(channel);
        write_plane(plane, width, image, source, &tables[channel]);
    }
    HostBatch {
        index,
        images,
        shape: [prepared.len(), 3, height, width],
        meta: prepared.iter().map(|image| image.meta.clone()).collect(),
        truth: prepared.into_iter().map(|image| image.truth).collect(),
        stand_in: false,
    }
}

/// The normalised value of each of the 256 levels of each channel.
fn tables(transform: &TransformConfig) -> [[f32; 256]; 3] {
    [0, 1, 2].map(|channel| {
        let (mean, std) = (transform.mean[channel], transform.std[channel]);
        std::array::from_fn(|level| (level as f32 - mean) / std)
    })
}

/// Writes one channel of an image into its plane of a batch, from the right if it is flipped.
fn write_plane(
    plane: &mut [f32],
    stride: usize,
    image: &Prepared,
    channel: usize,
    table: &[f32; 256],
) {
    let [_, width] = image.meta.frame.size;
    let rows = image.pixels.chunks_exact(width * 3);
    for (out, row) in plane.chunks_exact_mut(stride).zip(rows) {
        let values = row
            .chunks_exact(3)
            .map(|pixel| table[usize::from(pixel[channel])]);
        let out = out[..width].iter_mut();
        if image.meta.flipped {
            out.rev().zip(values).for_each(|(out, value)| *out = value);
        } else {
            out.zip(values).for_each(|(out, value)| *out = value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChannelOrder;

    /// An image whose pixel `(y, x)` is `[10 y + x, 100, 200]`.
    fn image(height: usize, width: usize) -> DecodedImage {
        let pixel = |y, x| [(10 * y + x) as u8, 100, 200];
        let pixels = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(y, x)));
        DecodedImage::made([height, width], pixels.collect())
    }

    fn transform(channel_order: ChannelOrder) -> TransformConfig {
        TransformConfig {
            short_edge: 2,
            long_edge: 3,
            mean: [1.0, 2.0, 3.0],
            std: [2.0, 4.0, 8.0],
            channel_order,
            size_divisor: 4,
            ..TransformConfig::default()
        }
    }

    fn batch(channel_order: ChannelOrder, flipped: bool) -> HostBatch {
        let transform = transform(channel_order);
        let truth = HostTruth {
            boxes: vec![[0.0, 0.0, 1.0, 2.0]],
            labels: vec![1],
            ignore: vec![],
        };
        let source = Source {
            image_id: 5,
            file: Path::new("a.png"),
            truth: &truth,
        };
        let made = Augmented {
            scene: Scene {
                image: Cow::Owned(image(2, 3)),
                truth: truth.clone(),
            },
            room: [2, 3],
            flipped,
            moved: false,
        };
        let prepared = Prepared::new(made, [2, 3], source, &transform);
        collate(4, vec![prepared], &transform)
    }

    #[test]
    fn pixels_are_normalised_padded_and_ordered() {
        let check = |order, flipped, channel: usize, expected: [f32; 8]| {
            let batch = batch(order, flipped);
            assert_eq!((batch.index, batch.shape), (4, [1, 3, 4, 4]));
            let plane = &batch.images[channel * 16..][..16];
            assert_eq!(plane[..8], expected, "{order:?} {flipped} {channel}");
            assert_eq!(plane[8..], [0.0; 8]);
        };
        let red = [-0.5, 0.0, 0.5, 0.0, 4.5, 5.0, 5.5, 0.0];
        check(ChannelOrder::Rgb, false, 0, red);
        let flipped = [0.5, 0.0, -0.5, 0.0, 5.5, 5.0, 4.5, 0.0];
        check(ChannelOrder::Rgb, true, 0, flipped);
        let green = [24.5, 24.5, 24.5, 0.0, 24.5, 24.5, 24.5, 0.0];
        check(ChannelOrder::Bgr, true, 1, green);
        // Blue comes first, with the first mean and deviation.
        let blue = [99.5, 99.5, 99.5, 0.0, 99.5, 99.5, 99.5, 0.0];
        check(ChannelOrder::Bgr, false, 0, blue);
    }

    #[test]
    fn a_picture_is_what_the_network_sees() {
        for order in [ChannelOrder::Rgb, ChannelOrder::Bgr] {
            let picture = batch(order, false).picture(0, &transform(order));
            assert_eq!(picture, image(2, 3), "{order:?}");
            let flipped = batch(order, true).picture(0, &transform(order));
            let pixels = [2, 1, 0, 12, 11, 10].map(|red| [red, 100, 200]);
            assert_eq!(flipped.pixels, pixels.concat(), "{order:?}");
        }
    }

    #[test]
    fn boxes_are_scaled_and_clipped() {
        let check = |bbox, expected| {
            let truth = HostTruth {
                boxes: vec![bbox],
                labels: vec![0],
                ignore: vec![bbox],
            };
            let source = Source {
                image_id: 1,
                file: Path::new(""),
                truth: &truth,
            };
            let image = image(4, 6);
            let prepared = prepare(Cow::Owned(image), source, &transform(ChannelOrder::Rgb));
            assert_eq!(prepared.truth.boxes, [expected]);
            assert_eq!(prepared.truth.ignore, [expected]);
        };
        check([1.0, 1.0, 4.0, 3.0], [0.5, 0.5, 2.0, 1.5]);
        check([-5.0, -5.0, 500.0, 500.0], [0.0, 0.0, 3.0, 2.0]);
    }

    #[test]
    fn boxes_map_back_to_original_pixels() {
        for flipped in [false, true] {
            let batch = batch(ChannelOrder::Rgb, flipped);
            let bbox = batch.truth[0].boxes[0];
            let expected = if flipped { 2.0 } else { 0.0 };
            assert_eq!(bbox[0], expected);
            assert_eq!(batch.meta[0].to_original(bbox), [0.0, 0.0, 1.0, 2.0]);
        }
    }

    #[test]
    fn a_batch_that_is_padded_later_is_the_one_padded_at_once() {
        let transform = TransformConfig {
            long_edge: 9,
            ..transform(ChannelOrder::Rgb)
        };
        let prepared = |sizes: &[(usize, usize)]| {
            let of_size = |&(height, width): &(usize, usize)| {
                let source = Source {
                    image_id: 0,
                    file: Path::new(""),
                    truth: &HostTruth::default(),
                };
                prepare(Cow::Owned(image(height, width)), source, &transform)
            };
            collate(0, sizes.iter().map(of_size).collect(), &transform)
        };
        let whole = prepared(&[(2, 3), (2, 9)]);
        let [_, _, height, width] = whole.shape;
        let alone = prepared(&[(2, 3)]);
        assert_ne!(alone.shape[3], width);
        let padded = alone.pad_to([height, width]);
        assert_eq!(padded, whole.split(1).remove(0));
    }

    #[test]
    fn a_batch_has_the_size_of_its_largest_image() {
        let transform = transform(ChannelOrder::Rgb);
        let prepared = [(2, 3), (3, 2)].map(|(height, width)| {
            let source = Source {
                image_id: 0,
                file: Path::new(""),
                truth: &HostTruth::default(),
            };
            prepare(Cow::Owned(image(height, width)), source, &transform)
        });
        let batch = collate(0, prepared.into(), &transform);
        assert_eq!(batch.shape, [2, 3, 4, 4]);
        // Right of the narrow image.
        assert_eq!(batch.images[48 + 2..48 + 4], [0.0, 0.0]);
    }
}
