//! What is done to training images at random.

mod config;
mod jitter;
mod min_iou_crop;
mod mixup;
mod mosaic;
#[cfg(test)]
mod parity;
mod photometric;
mod scene;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use crate::random::{Stream, Topic};
use crate::reader::Reader;
use crate::{DecodedImage, TransformConfig};
use config::is_on;

pub use config::AugmentConfig;
pub use jitter::LargeScaleJitter;
pub use min_iou_crop::MinIouCrop;
pub use mixup::Mixup;
pub use mosaic::Mosaic;
pub use photometric::Photometric;
pub(crate) use scene::Scene;

/// The EXIF orientation of an image whose top and bottom are exchanged.
const UPSIDE_DOWN: u8 = 4;

/// The EXIF orientations of images turned by 90, 180 and 270 degrees clockwise.
const TURNS: [u8; 3] = [6, 3, 8];

/// Images that are drawn at most to find one with boxes (mmdetection's `max_iters`).
const TRIALS: usize = 15;

/// A place in the run, which decides all that is drawn for an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) seed: u64,
    pub(crate) epoch: u64,
    /// That of the sample: an image that an epoch has twice has two.
    pub(crate) index: u64,
}

impl Position {
    pub(crate) fn stream(self, topic: Topic) -> Stream {
        Stream::new(self.seed, topic, self.epoch, self.index)
    }
}

/// A training image, ready for a batch but for its horizontal flip, which is drawn.
#[derive(Debug)]
pub(crate) struct Augmented {
    pub(crate) scene: Scene<'static>,
    /// Least height and width of the network input.
    pub(crate) room: [usize; 2],
    pub(crate) flipped: bool,
    /// Whether anything but a resize moved pixels.
    pub(crate) moved: bool,
}

/// Makes training images.
#[derive(Clone, Copy)]
pub(crate) struct Augmenter<'a> {
    pub(crate) transform: &'a TransformConfig,
    pub(crate) augment: &'a AugmentConfig,
    /// Gives the other images of mosaics and mixtures.
    pub(crate) reader: &'a Reader,
    pub(crate) position: Position,
}

impl Augmenter<'_> {
    /// All that is drawn for an image, in the order of [`AugmentConfig`].
    pub(crate) fn apply(&self, scene: Scene<'_>) -> Augmented {
        let drawn = self
            .transform
            .draw(&mut self.position.stream(Topic::Augment));
        let trained = self.transform.resized(drawn.short_edge, scene.size());
        let mut moved = false;
        let scene = self.mosaic(scene, trained, &mut moved);
        let scene = self.mixup(scene, trained, &mut moved);
        let scene = self.crop(scene, &mut moved);
        let (scene, room) = self.resize(scene, drawn.short_edge, &mut moved);
        let (scene, room) = self.turn(scene, room, &mut moved);
        Augmented {
            scene: self.recolour(scene),
            room,
            flipped: drawn.flipped,
            moved,
        }
    }

    fn mosaic<'a>(&self, scene: Scene<'a>, size: [usize; 2], moved: &mut bool) -> Scene<'a> {
        let mut random = self.position.stream(Topic::Mosaic);
        let mosaic = self.augment.mosaic.as_ref();
        let mosaic = mosaic.filter(|mosaic| is_on(mosaic.until_epoch, self.position.epoch));
        let Some(mosaic) = mosaic.filter(|mosaic| random.unit() < mosaic.prob) else {
            return scene;
        };
        *moved = true;
        let layout = mosaic.layout(size, &mut random);
        let others = [(); 3].map(|()| random.below(self.reader.len()));
        let mut made = Scene::grey(size);
        layout.paste(&mut made, scene, 0, self.transform.resize);
        for (other, quarter) in others.into_iter().zip(1..) {
            if let Some(image) = self.read_other(other) {
                let scene = self.other(other, &image);
                layout.paste(&mut made, scene, quarter, self.transform.resize);
            }
        }
        made
    }

    fn mixup<'a>(&self, scene: Scene<'a>, size: [usize; 2], moved: &mut bool) -> Scene<'a> {
        let mut random = self.position.stream(Topic::Mixup);
        let mixup = self.augment.mixup.as_ref();
        let mixup = mixup.filter(|mixup| is_on(mixup.until_epoch, self.position.epoch));
        let Some(mixup) = mixup.filter(|mixup| random.unit() < mixup.prob) else {
            return scene;
        };
        let images = self.reader.dataset().images();
        let mut others = (0..TRIALS).map(|_| random.below(images.len()));
        let other = others.find(|other| !images[*other].truth.boxes.is_empty());
        let read = other.and_then(|other| Some((other, self.read_other(other)?)));
        let Some((other, image)) = read else {
            return scene;
        };
        *moved = true;
        let resize = self.transform.resize;
        let (first, second) = (scene.resize(size, resize), self.other(other, &image));
        mixup.apply(first, second, resize, &mut random)
    }

    fn crop<'a>(&self, scene: Scene<'a>, moved: &mut bool) -> Scene<'a> {
        let mut random = self.position.stream(Topic::Crop);
        let crop = self.augment.min_iou_crop.as_ref();
        let crop = crop.filter(|crop| random.unit() < crop.prob);
        match crop.and_then(|crop| crop.draw(&scene, &mut random)) {
            Some(crop) => {
                *moved = true;
                crop.apply(scene)
            }
            None => scene,
        }
    }

    /// Resizes; gives the least height and width of the network input, too.
    fn resize(
        &self,
        scene: Scene<'_>,
        short_edge: u32,
        moved: &mut bool,
    ) -> (Scene<'static>, [usize; 2]) {
        let mut random = self.position.stream(Topic::Jitter);
        let jitter = self.augment.large_scale_jitter.as_ref();
        match jitter.filter(|jitter| random.unit() < jitter.prob) {
            Some(jitter) => {
                *moved = true;
                let room = jitter.target(self.transform, scene.size());
                (jitter.apply(scene, self.transform, &mut random), room)
            }
            None => {
                let size = self.transform.resized(short_edge, scene.size());
                (scene.resize(size, self.transform.resize), size)
            }
        }
    }

    fn turn(
        &self,
        mut scene: Scene<'static>,
        mut room: [usize; 2],
        moved: &mut bool,
    ) -> (Scene<'static>, [usize; 2]) {
        let mut random = self.position.stream(Topic::Turn);
        let mirrored = random.unit() < self.augment.vertical_flip_prob;
        let turned = random.unit() < self.augment.rotate90_prob;
        let turn = TURNS[random.below(TURNS.len())];
        if mirrored {
            scene = scene.turn(UPSIDE_DOWN);
        }
        if turned {
            scene = scene.turn(turn);
        }
        if turned && turn != TURNS[1] {
            room.reverse();
        }
        *moved |= mirrored || turned;
        (scene, room)
    }

    fn recolour(&self, mut scene: Scene<'static>) -> Scene<'static> {
        let mut random = self.position.stream(Topic::Photometric);
        let colours = self.augment.photometric.as_ref();
        if let Some(colours) = colours.filter(|colours| random.unit() < colours.prob) {
            let distortion = colours.draw(&mut random);
            distortion.apply(&mut scene.image.to_mut().pixels);
        }
        scene
    }

    /// The pixels of another image of the dataset. One that cannot be read is left out here: it has
    /// its own turn in the epoch, where that is an error or a warning.
    fn read_other(&self, index: usize) -> Option<Arc<DecodedImage>> {
        self.reader.read(index).ok()
    }

    fn other<'a>(&self, index: usize, image: &'a DecodedImage) -> Scene<'a> {
        Scene {
            image: Cow::Borrowed(image),
            truth: self.reader.dataset().images()[index].truth.clone(),
        }
    }
}
