//! Batches that nobody photographed, for timing and for comparing devices.

use aweigh_data::{HostBatch, ImageMeta};
use aweigh_geometry::{HostTruth, ImageFrame};

/// A batch of noise of unit scale, of `[height, width]` pixels, with one image for each of `truth`.
pub(crate) fn batch(truth: Vec<HostTruth>, [height, width]: [usize; 2]) -> HostBatch {
    let size = [height, width];
    let shape = [truth.len(), 3, height, width];
    // Values need no more than to be different and of unit scale.
    let noise = |i: usize| ((i * 2_654_435_761) % 2048) as f32 / 512.0 - 2.0;
    let meta = ImageMeta {
        image_id: 0,
        file: "made up".into(),
        original: size,
        frame: ImageFrame::new(size, size),
        padded: size,
        flipped: false,
        augmented: false,
    };
    HostBatch {
        index: 0,
        images: (0..shape.iter().product()).map(noise).collect(),
        shape,
        meta: vec![meta; truth.len()],
        truth,
        stand_in: false,
    }
}
