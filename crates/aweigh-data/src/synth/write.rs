//! Files of the synthetic dataset.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::config::{Split, SynthConfig, SynthSummary};
use super::scene::{self, Object};
use super::shapes::Shape;
use crate::DataError;
use crate::output::{create_folder, failed};

#[derive(Serialize)]
struct Info {
    description: String,
}

#[derive(Serialize)]
struct Image {
    id: usize,
    file_name: String,
    width: usize,
    height: usize,
}

#[derive(Serialize)]
struct Annotation {
    id: usize,
    image_id: usize,
    category_id: u64,
    bbox: [usize; 4],
    area: usize,
    iscrowd: u8,
}

#[derive(Serialize)]
struct Category {
    id: u64,
    name: &'static str,
    supercategory: &'static str,
}

/// COCO's layout.
#[derive(Serialize)]
struct Annotations {
    info: Info,
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

impl Annotations {
    fn new(config: &SynthConfig, split: Split) -> Self {
        let category = |shape: Shape| Category {
            id: shape.category_id(),
            name: shape.name(),
            supercategory: "shape",
        };
        let name = split.name();
        Self {
            info: Info {
                description: format!("Aweigh synthetic shapes, {name}, seed {}", config.seed),
            },
            images: Vec::new(),
            annotations: Vec::new(),
            categories: Shape::ALL.map(category).into(),
        }
    }

    /// Adds an image of `[height, width]` pixels with its objects.
    fn add(&mut self, file_name: String, [height, width]: [usize; 2], objects: &[Object]) {
        let image_id = self.images.len() + 1;
        self.images.push(Image {
            id: image_id,
            file_name,
            width,
            height,
        });
        for object in objects {
            self.annotations.push(Annotation {
                id: self.annotations.len() + 1,
                image_id,
                category_id: object.shape.category_id(),
                bbox: object.bbox,
                area: object.area,
                iscrowd: object.crowd.into(),
            });
        }
    }
}

/// Writes the images and the annotation file of one set.
pub(super) fn split(
    folder: &Path,
    config: &SynthConfig,
    split: Split,
) -> Result<SynthSummary, DataError> {
    let mut annotations = Annotations::new(config, split);
    let mut summary = SynthSummary::default();
    let images = split.images(folder);
    create_folder(&images)?;
    for index in 0..config.images(split) {
        let scene = scene::numbered(config, split, index);
        let file_name = format!("{:06}.png", index + 1);
        let size = [config.height, config.width];
        write_png(&images.join(&file_name), scene.canvas.pixels(), size)?;
        annotations.add(file_name, size, &scene.objects);
        summary += counts(&scene.objects);
    }
    let path = split.annotations(folder);
    create_folder(path.parent().unwrap_or(folder))?;
    let json = serde_json::to_vec(&annotations).expect("plain records serialise");
    fs::write(&path, json).map_err(|reason| failed(&path, reason))?;
    Ok(summary)
}

/// The summary of one image.
fn counts(objects: &[Object]) -> SynthSummary {
    let crowds = objects.iter().filter(|object| object.crowd).count();
    SynthSummary {
        images: 1,
        boxes: objects.len() - crowds,
        crowds,
        empty: usize::from(objects.is_empty()),
    }
}

fn write_png(path: &Path, pixels: &[u8], [height, width]: [usize; 2]) -> Result<(), DataError> {
    let size = (width as u32, height as u32);
    let format = image::ImageFormat::Png;
    let mut bytes = io::Cursor::new(Vec::new());
    image::write_buffer_with_format(
        &mut bytes,
        pixels,
        size.0,
        size.1,
        image::ExtendedColorType::Rgb8,
        format,
    )
    .map_err(|error| failed(path, io::Error::other(error)))?;
    fs::write(path, bytes.into_inner()).map_err(|reason| failed(path, reason))
}
