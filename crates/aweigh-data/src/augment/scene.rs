//! Images with their ground truth, moved together.

use std::borrow::Cow;

use aweigh_geometry::{HostTruth, ImageFrame};

use crate::DecodedImage;
use crate::resize::{self, Part, Resize};

/// Level of what no image covers (mmdetection's `pad_val`).
pub(super) const GREY: u8 = 114;

/// Smallest side of a box that is kept where images are cut, in pixels.
const SMALLEST: f32 = 1.0;

/// An image on its way into a batch, with its ground truth in its own pixels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scene<'a> {
    pub(crate) image: Cow<'a, DecodedImage>,
    pub(crate) truth: HostTruth,
}

impl Scene<'_> {
    /// Height and width in pixels.
    pub(crate) fn size(&self) -> [usize; 2] {
        [self.image.height, self.image.width]
    }

    /// Resizes to height and width. Boxes are moved into the image.
    pub(crate) fn resize(self, size: [usize; 2], resize: Resize) -> Scene<'static> {
        let frame = ImageFrame::new(self.size(), size);
        let to_input = |bbox| frame.clip(frame.to_input(bbox));
        Scene {
            truth: self.truth.map_boxes(to_input),
            image: Cow::Owned(DecodedImage::made(
                size,
                resize::resize(self.image, size, resize),
            )),
        }
    }

    /// Resizes, and makes a part of the result only; boxes as [`paste`](Self::paste) has them.
    pub(super) fn resize_part(
        self,
        part: Part,
        resize: Resize,
        visible: Visible,
    ) -> Scene<'static> {
        let frame = ImageFrame::new(self.size(), part.whole);
        let pixels = resize::resize_part(&self.image, part, resize);
        let mut made = Scene {
            image: Cow::Owned(DecodedImage::made(part.size, pixels)),
            truth: HostTruth::default(),
        };
        let truth = self
            .truth
            .map_boxes(|bbox| frame.clip(frame.to_input(bbox)));
        let [height, width] = part.size.map(|side| side as f32);
        let by = [1, 0].map(|side| -(part.at[side] as f32));
        made.add(&truth, by, [0.0, 0.0, width, height], visible);
        made
    }

    /// Turns or mirrors, by an EXIF orientation.
    pub(super) fn turn(self, orientation: u8) -> Scene<'static> {
        let [height, width] = self.size();
        let mut image = DecodedImage::made([height, width], self.image.into_owned().pixels);
        image.stored.orientation = orientation;
        let truth = self.truth.map_boxes(|bbox| image.stored.upright(bbox));
        let image = image.turned_upright();
        Scene {
            image: Cow::Owned(image),
            truth,
        }
    }

    /// The part of height and width `size` whose upper left corner is at row and column `at`.
    pub(super) fn crop(self, at: [usize; 2], size: [usize; 2]) -> Scene<'static> {
        let mut canvas = Scene::grey(size);
        canvas.paste(&self, at.map(|at| -(at as isize)), Visible::Any);
        canvas
    }

    /// A grey image of this height and width, without boxes.
    pub(super) fn grey(size: [usize; 2]) -> Scene<'static> {
        let pixels = vec![GREY; size[0] * size[1] * 3];
        Scene {
            image: Cow::Owned(DecodedImage::made(size, pixels)),
            truth: HostTruth::default(),
        }
    }

    /// Copies a scene onto this one, its upper left corner to row and column `at`, which may lie
    /// outside.
    ///
    /// Boxes and ignore regions keep their visible part. What is less than a pixel wide or high of
    /// them is dropped, and boxes that are not `visible` enough are.
    pub(super) fn paste(&mut self, scene: &Scene<'_>, at: [isize; 2], visible: Visible) {
        let (size, own) = (scene.size(), self.size());
        let from = |side: usize| at[side].clamp(0, own[side] as isize);
        let to = |side: usize| (at[side] + size[side] as isize).clamp(0, own[side] as isize);
        let [top, left] = [from(0), from(1)];
        let [bottom, right] = [to(0), to(1)];
        if top >= bottom || left >= right {
            return;
        }
        let bytes = 3 * (right - left) as usize;
        let pixels = &mut self.image.to_mut().pixels;
        for row in top..bottom {
            let start = 3 * ((row - at[0]) as usize * size[1] + (left - at[1]) as usize);
            let out = 3 * (row as usize * own[1] + left as usize);
            pixels[out..out + bytes].copy_from_slice(&scene.image.pixels[start..start + bytes]);
        }
        let shown = [left, top, right, bottom].map(|side| side as f32);
        self.add(&scene.truth, [at[1] as f32, at[0] as f32], shown, visible);
    }

    /// Adds ground truth, moved by `[x, y]` and cut to the part that is `shown`.
    fn add(&mut self, truth: &HostTruth, by: [f32; 2], shown: [f32; 4], visible: Visible) {
        let moved = |[x1, y1, x2, y2]: [f32; 4]| [x1 + by[0], y1 + by[1], x2 + by[0], y2 + by[1]];
        for (bbox, label) in truth.boxes.iter().zip(&truth.labels) {
            let whole = moved(*bbox);
            let part = cut(whole, shown);
            if is_kept(part) && visible.holds(part, whole) {
                self.truth.boxes.push(part);
                self.truth.labels.push(*label);
            }
        }
        let ignore = truth.ignore.iter().map(|bbox| cut(moved(*bbox), shown));
        self.truth
            .ignore
            .extend(ignore.filter(|part| is_kept(*part)));
    }
}

/// How much of a box must be left for it to be kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Visible {
    /// As little as a pixel each way.
    Any,
    /// More than this part of its area.
    Above(f32),
}

impl Visible {
    fn holds(self, part: [f32; 4], whole: [f32; 4]) -> bool {
        match self {
            Self::Any => true,
            Self::Above(least) => area(part) > least * area(whole),
        }
    }
}

fn cut(bbox: [f32; 4], shown: [f32; 4]) -> [f32; 4] {
    std::array::from_fn(|side| bbox[side].clamp(shown[side % 2], shown[side % 2 + 2]))
}

fn is_kept([x1, y1, x2, y2]: [f32; 4]) -> bool {
    x2 - x1 >= SMALLEST && y2 - y1 >= SMALLEST
}

fn area([x1, y1, x2, y2]: [f32; 4]) -> f32 {
    (x2 - x1) * (y2 - y1)
}
