//! Files of the synthetic dataset.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::scene::Object;
use super::shapes::Shape;
use super::{Split, SynthConfig, SynthSummary};
use crate::DataError;

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

    fn add(&mut self, object: &Object) {
        self.annotations.push(Annotation {
            id: self.annotations.len() + 1,
            image_id: self.images.len(),
            category_id: object.shape.category_id(),
            bbox: object.bbox,
            area: object.area,
            iscrowd: object.crowd.into(),
        });
    }
}

/// Writes the images and the annotation file of one set.
pub(super) fn split(
    folder: &Path,
    config: &SynthConfig,
    (split, count): (Split, usize),
    summary: &mut SynthSummary,
) -> Result<(), DataError> {
    let (width, height) = (config.width, config.height);
    let mut annotations = Annotations::new(config, split);
    let images = split.images(folder);
    create_folder(&images)?;
    for index in 0..count {
        let scene = super::draw(config, split, index);
        let id = index + 1;
        let file_name = format!("{id:06}.png");
        write_png(
            &images.join(&file_name),
            scene.canvas.pixels(),
            [height, width],
        )?;
        annotations.images.push(Image {
            id,
            file_name,
            width,
            height,
        });
        scene
            .objects
            .iter()
            .for_each(|object| annotations.add(object));
        let crowds = scene.objects.iter().filter(|object| object.crowd).count();
        summary.images += 1;
        summary.crowds += crowds;
        summary.boxes += scene.objects.len() - crowds;
        summary.empty += usize::from(scene.objects.is_empty());
    }
    let path = split.annotations(folder);
    create_folder(path.parent().unwrap_or(folder))?;
    let json = serde_json::to_vec(&annotations).expect("plain records serialise");
    fs::write(&path, json).map_err(|reason| failed(&path, reason))
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

/// Lets `fill` fill a folder next to `out`, then gives it the name `out`; removes it on failure.
pub(super) fn atomically<T>(
    out: &Path,
    fill: impl FnOnce(&Path) -> Result<T, DataError>,
) -> Result<T, DataError> {
    if out.exists() {
        return Err(DataError::Exists {
            path: out.to_path_buf(),
        });
    }
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".partial-{}", std::process::id()));
    let partial = out.with_file_name(name);
    create_folder(&partial)?;
    let result = fill(&partial).and_then(|value| {
        let renamed = fs::rename(&partial, out);
        renamed
            .map(|()| value)
            .map_err(|reason| failed(out, reason))
    });
    if result.is_err() {
        // The first error is the one to report; a left-over folder does no harm.
        let _ = fs::remove_dir_all(&partial);
    }
    result
}

fn create_folder(path: &Path) -> Result<(), DataError> {
    fs::create_dir_all(path).map_err(|reason| failed(path, reason))
}

fn failed(path: &Path, reason: io::Error) -> DataError {
    DataError::Write {
        path: path.to_path_buf(),
        reason,
    }
}
