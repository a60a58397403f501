//! `aweigh data show`: pictures as the network gets them.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use aweigh_train::show::{Shown, ShownImage, show};
use clap::{Args, ValueEnum};
use image::{RgbImage, imageops};

use crate::colour::{FAINT, WHITE};
use crate::draw::{LabelledBox, draw_boxes, save, to_picture};
use crate::options::ConfigOptions;
use crate::output::print;
use crate::pen::Pen;
use crate::text::Fonts;

const HELP: &str = "\
Examples:
  aweigh data show --config my.toml --out sheet.png
  aweigh data show --config my.toml --images 24 --epoch 3 --out epoch3.png
  aweigh data show --config my.toml --split val --out val.png";

/// Width that a sheet is to have at least and about, in pixels.
const WIDTH: u32 = 1600;
/// Space between pictures, in pixels.
const GAP: u32 = 8;
/// Smallest width of a picture on which names are read, in pixels.
const READABLE: u32 = 360;

/// Draw images with their boxes exactly as the network gets them
///
/// The first images of an epoch, in its order, resized, flipped and augmented as the configuration
/// and its seed say; ignore regions are hatched. Padding is not shown.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    config: ConfigOptions,
    /// Picture to write (.png or .jpg)
    #[arg(long, value_name = "FILE", default_value = "sheet.png")]
    out: PathBuf,
    /// Number of images
    #[arg(long, value_name = "N", default_value_t = 12)]
    images: usize,
    /// Epoch of training, from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    epoch: u64,
    /// Which images
    #[arg(long, value_name = "SET", default_value = "train")]
    split: Split,
}

/// Which images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Split {
    /// Those to train on, augmented
    Train,
    /// Those to validate on
    Val,
}

impl ShowArgs {
    pub(super) fn run(self) -> Result<()> {
        if self.out.exists() {
            bail!(
                "{} exists already; choose another name with --out",
                self.out.display()
            );
        }
        ensure!(self.images > 0, "--images is 0; expected at least 1");
        let experiment = self.config.load()?;
        let shown = match self.split {
            Split::Train => Shown::Train { epoch: self.epoch },
            Split::Val => Shown::Val,
        };
        let (names, images) = show(&experiment, shown, self.images)?;
        let fonts = Fonts::new();
        let count = images.len();
        let drawn = images.into_iter().map(|image| draw(image, &names, &fonts));
        save(&sheet(&drawn.collect::<Vec<_>>()), &self.out)?;
        print(format_args!("{}: {count} images", self.out.display()))
    }
}

/// An image with its boxes, enlarged where it is too small for letters.
fn draw(image: ShownImage, names: &[String], fonts: &Fonts) -> RgbImage {
    let picture = to_picture(image.picture);
    let zoom = READABLE.div_ceil(picture.width()).clamp(1, 4);
    let size = [picture.width() * zoom, picture.height() * zoom];
    let mut picture = imageops::resize(&picture, size[0], size[1], imageops::FilterType::Nearest);
    let enlarged = |bbox: [f32; 4]| bbox.map(|side| side * zoom as f32);
    let mut pen = Pen {
        picture: &mut picture,
    };
    for region in &image.truth.ignore {
        pen.hatch(enlarged(*region), 8, FAINT);
    }
    let boxes = image.truth.boxes.iter().zip(&image.truth.labels);
    let labelled = boxes.map(|(bbox, label)| LabelledBox {
        bbox: enlarged(*bbox),
        class: *label,
        name: names[*label].clone(),
        detail: String::new(),
    });
    draw_boxes(&mut picture, &labelled.collect::<Vec<_>>(), fonts);
    picture
}

/// Pictures beside and below each other, each in the middle of its cell.
fn sheet(pictures: &[RgbImage]) -> RgbImage {
    let largest = |side: fn(&RgbImage) -> u32| pictures.iter().map(side).max().unwrap_or(1);
    let [width, height] = [largest(RgbImage::width), largest(RgbImage::height)];
    let columns = (WIDTH / (width + GAP)).clamp(1, pictures.len().max(1) as u32);
    let rows = (pictures.len() as u32).div_ceil(columns);
    let size = [columns * (width + GAP) + GAP, rows * (height + GAP) + GAP];
    let mut sheet = RgbImage::from_pixel(size[0], size[1], WHITE);
    for (at, picture) in (0..).zip(pictures) {
        let x = GAP + at % columns * (width + GAP) + (width - picture.width()) / 2;
        let y = GAP + at / columns * (height + GAP) + (height - picture.height()) / 2;
        imageops::replace(&mut sheet, picture, x.into(), y.into());
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_arranged_in_rows_of_the_same_width() {
        let check = |sizes: &[[u32; 2]], expected: [u32; 2]| {
            let pictures = sizes
                .iter()
                .map(|[width, height]| RgbImage::new(*width, *height));
            let sheet = sheet(&pictures.collect::<Vec<_>>());
            assert_eq!([sheet.width(), sheet.height()], expected, "{sizes:?}");
        };
        check(&[[400, 300]], [416, 316]);
        check(&[[400, 300], [300, 400]], [824, 416]);
        check(&[[400, 300]; 4], [3 * 408 + 8, 2 * 308 + 8]);
        check(&[[2000, 100]; 2], [2016, 2 * 108 + 8]);
    }
}
