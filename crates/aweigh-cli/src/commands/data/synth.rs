//! `aweigh data synth`: a made-up dataset.

use std::path::PathBuf;

use anyhow::Result;
use aweigh_data::synth::{self, Split, SynthConfig};
use clap::Args;

use crate::output::print;

const HELP: &str = "\
Example:
  aweigh data synth --out datasets/shapes --train 400 --val 100";

/// Draw a synthetic dataset of shapes with COCO annotations
///
/// Circles, squares, triangles, stars and rings of 8 to 200 pixels on textured backgrounds, with
/// overlap, some crowd regions and some empty images. The same seed gives the same files, byte for
/// byte, on every machine.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct SynthArgs {
    /// Folder to make; it must not exist yet
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Images for training
    #[arg(long, value_name = "N", default_value_t = SynthConfig::default().train)]
    train: usize,
    /// Images for validation
    #[arg(long, value_name = "N", default_value_t = SynthConfig::default().val)]
    val: usize,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = SynthConfig::default().seed)]
    seed: u64,
    /// Width of the images in pixels
    #[arg(long, value_name = "PX", default_value_t = SynthConfig::default().width)]
    width: usize,
    /// Height of the images in pixels
    #[arg(long, value_name = "PX", default_value_t = SynthConfig::default().height)]
    height: usize,
}

impl SynthArgs {
    pub(super) fn run(self) -> Result<()> {
        let config = SynthConfig {
            train: self.train,
            val: self.val,
            seed: self.seed,
            width: self.width,
            height: self.height,
        };
        let summary = synth::generate(&config, &self.out)?;
        print(format_args!(
            "{}: {} images, {} boxes, {} crowd regions, {} empty images",
            self.out.display(),
            summary.images,
            summary.boxes,
            summary.crowds,
            summary.empty,
        ))?;
        for split in [Split::Train, Split::Val] {
            let annotations = split.annotations(&self.out);
            let images = split.images(&self.out);
            print(format_args!(
                "{} = {{ annotations = {annotations:?}, images = {images:?} }}",
                split.name()
            ))?;
        }
        Ok(())
    }
}
