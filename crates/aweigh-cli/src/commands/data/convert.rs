//! `aweigh data convert`: labels of one format in another.

use std::path::PathBuf;

use anyhow::{Result, bail};
use aweigh_data::formats::{
    self, Corners, Format, Labels, PictureFiles, ReadOptions, WriteOptions, Written,
};
use aweigh_data::{Existing, Finding};
use clap::{Args, ValueEnum};

use crate::output::print;

const HELP: &str = "\
Examples:
  aweigh data convert VOCdevkit/VOC2007 --to coco --out datasets/voc2007
  aweigh data convert --from yolo my/data.yaml --to coco --out datasets/mine --copy
  aweigh data convert datasets/bccd --to yolo --out bccd_yolo --copy

Layouts that are read:
  coco  *.json, also _annotations.coco.json of Roboflow beside its pictures
  voc   Annotations, JPEGImages and ImageSets, or XML files beside their pictures
  yolo  data.yaml with images/ and labels/, or a folder with classes.txt
  cvat  one XML file of 'CVAT for images'
  dota  labelTxt/*.txt
  oid   a CSV of Open Images, with class-descriptions*.csv";

/// Convert labels from one format to another
///
/// Pictures stay where they are: the COCO files name them relative to the folder that is printed,
/// ready for [data] of a configuration. Pascal VOC and YOLO find pictures beside their labels: copy
/// them with --copy. Boxes refer to upright pictures.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct ConvertArgs {
    /// Folder of the dataset, or the file that describes it
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// Format of the source [default: what the folder looks like]
    #[arg(long, value_name = "FORMAT")]
    from: Option<From>,
    /// Format to write
    #[arg(long, value_name = "FORMAT")]
    to: To,
    /// Folder to make
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Folder of the pictures, where the layout does not tell
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    /// Copy the pictures into the folder too
    #[arg(long)]
    copy: bool,
    /// Where the folder exists, keep it as FOLDER.old
    #[arg(long)]
    force: bool,
    /// What corners of Pascal VOC are
    #[arg(long, value_name = "KIND", default_value = "auto")]
    voc_corners: VocCorners,
}

/// Formats that are read.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    Coco,
    Voc,
    Yolo,
    Cvat,
    Dota,
    Oid,
}

/// Formats that are written.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum To {
    Coco,
    Voc,
    Yolo,
}

/// What corners are.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum VocCorners {
    /// Edges if any corner is 0, pixels otherwise
    Auto,
    /// Pixels from 1, both in the box
    Pixels,
    /// Edges from 0
    Edges,
}

impl ConvertArgs {
    pub(super) fn run(self) -> Result<()> {
        let options = WriteOptions {
            format: self.to.format(),
            existing: if self.force {
                Existing::SetAside
            } else {
                Existing::Refuse
            },
            pictures: if self.copy {
                PictureFiles::Copy
            } else {
                PictureFiles::Stay
            },
        };
        if options.existing == Existing::Refuse && self.out.symlink_metadata().is_ok() {
            bail!(
                "{} exists already: choose another folder, or keep it as {0}.old with --force",
                self.out.display()
            );
        }
        let labels = self.read()?;
        let written = formats::write(&labels, &self.out, &options)?;
        self.report(&labels, &written)
    }

    fn read(&self) -> Result<Labels> {
        let format = match self.from {
            Some(from) => from.format(),
            None => formats::detect(&self.source)?,
        };
        let options = ReadOptions {
            images: self.images.clone(),
            corners: match self.voc_corners {
                VocCorners::Auto => Corners::Auto,
                VocCorners::Pixels => Corners::Pixels,
                VocCorners::Edges => Corners::Edges,
            },
        };
        let labels = formats::read(format, &self.source, &options)?;
        tracing::info!("{} is {format}", self.source.display());
        labels.findings.iter().for_each(Finding::log);
        Ok(labels)
    }

    fn report(&self, labels: &Labels, written: &Written) -> Result<()> {
        written.findings.iter().for_each(Finding::log);
        print(format_args!(
            "{}: {} images, {} objects, {} classes",
            self.out.display(),
            labels.pictures(),
            labels.objects(),
            labels.classes.len()
        ))?;
        for (name, annotations, images) in &written.sets {
            print(format_args!(
                "{name} = {{ annotations = {annotations:?}, images = {images:?} }}"
            ))?;
        }
        Ok(())
    }
}

impl From {
    fn format(self) -> Format {
        match self {
            Self::Coco => Format::Coco,
            Self::Voc => Format::Voc,
            Self::Yolo => Format::Yolo,
            Self::Cvat => Format::Cvat,
            Self::Dota => Format::Dota,
            Self::Oid => Format::OpenImages,
        }
    }
}

impl To {
    fn format(self) -> Format {
        match self {
            Self::Coco => Format::Coco,
            Self::Voc => Format::Voc,
            Self::Yolo => Format::Yolo,
        }
    }
}
