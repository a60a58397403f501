//! Image files to 8-bit RGB.

mod config;
mod content;
mod samples;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{
    ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage,
};

use crate::DataError;
use crate::exif::Exif;

pub use config::{DecodeConfig, SixteenBit};
pub(crate) use content::signed;

/// An image as 8-bit RGB, interleaved, rows from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedImage {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `height * width * 3` bytes.
    pub pixels: Vec<u8>,
    /// What the file holds.
    pub stored: Stored,
}

/// An image as it is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Height and width in pixels.
    pub size: [usize; 2],
    /// The EXIF orientation, 1 to 8; 1 where the file says nothing. From 5 on, height and width
    /// are exchanged to show the image upright.
    pub orientation: u8,
    /// The smallest and the largest sample, if they have 16 bits.
    pub samples: Option<[u16; 2]>,
}

impl Stored {
    /// Maps a box `[x1, y1, x2, y2]` of the stored pixels to the upright image.
    pub fn upright(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let [height, width] = self.size.map(|side| side as f32);
        match self.orientation {
            2 => [width - x2, y1, width - x1, y2],
            3 => [width - x2, height - y2, width - x1, height - y1],
            4 => [x1, height - y2, x2, height - y1],
            5 => [y1, x1, y2, x2],
            6 => [height - y2, x1, height - y1, x2],
            7 => [height - y2, width - x2, height - y1, width - x1],
            8 => [y1, width - x2, y2, width - x1],
            _ => [x1, y1, x2, y2],
        }
    }

    /// Whether boxes that were drawn upright may be taken for boxes of the stored pixels, or the
    /// other way round, without the size of the image telling.
    pub(crate) fn is_doubtful(&self, exif: Exif) -> bool {
        let told_by_size = self.orientation >= 5 && self.size[0] != self.size[1];
        // A size of the stored pixels says little: programs that do not turn images write it
        // beside boxes of programs that do.
        self.orientation != 1 && !(told_by_size && exif == Exif::Apply)
    }

    /// The samples, if they become next to one grey level.
    pub(crate) fn narrow(&self, mode: SixteenBit) -> Option<[u16; 2]> {
        self.samples
            .filter(|extent| samples::is_narrow(*extent, mode))
    }
}

impl DecodedImage {
    /// Turns pixels that are as stored ([`Exif::Ignore`]) upright;
    /// [`Stored::upright`] does the same to a box.
    ///
    /// # Panics
    /// If there are not three bytes per pixel.
    pub fn turned_upright(self) -> Self {
        let Self { stored, pixels, .. } = self;
        let orientation = Orientation::from_exif(stored.orientation);
        let image = RgbImage::from_raw(self.width as u32, self.height as u32, pixels);
        let mut image = DynamicImage::from(image.expect("three bytes per pixel"));
        image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
        Self::new(image.into_rgb8(), stored)
    }

    /// An image that is in no file: of 8 bits, without an orientation.
    pub(crate) fn made([height, width]: [usize; 2], pixels: Vec<u8>) -> Self {
        let stored = Stored {
            size: [height, width],
            orientation: 1,
            samples: None,
        };
        Self {
            width,
            height,
            pixels,
            stored,
        }
    }

    fn new(image: RgbImage, stored: Stored) -> Self {
        Self {
            width: image.width() as usize,
            height: image.height() as usize,
            pixels: image.into_raw(),
            stored,
        }
    }
}

/// Reads a JPEG, PNG, BMP, WebP or TIFF file; the format is recognised by the content.
///
/// Grey and CMYK images become RGB, and an alpha channel is dropped. Of a file with several images
/// the first is taken.
///
/// # Errors
/// If the file cannot be read, is not such an image or is cut off, or if the configuration refuses
/// its size or orientation, or has no range for its samples of 16 bits.
pub fn decode(path: &Path, config: &DecodeConfig) -> Result<DecodedImage, DataError> {
    let bytes = std::fs::read(path).map_err(|reason| DataError::ImageFile {
        path: path.to_path_buf(),
        reason,
    })?;
    let format = content::recognise(&bytes).map_err(|held| failed(path, held))?;
    let broken = |error| failed(path, explain(format, &error));
    let mut decoder = open(path, &bytes, format, config.max_pixels)?;
    let (width, height) = decoder.dimensions();
    let orientation = orientation(&mut decoder).map_err(broken)?;
    if config.exif == Exif::Error && orientation != Orientation::NoTransforms {
        return Err(DataError::Orientation {
            path: path.to_path_buf(),
            orientation: orientation.to_exif(),
        });
    }
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    if config.exif == Exif::Apply {
        image.apply_orientation(orientation);
    }
    let (image, samples) = samples::to_rgb8(image, config.sixteen_bit)?;
    let stored = Stored {
        size: [height as usize, width as usize],
        orientation: orientation.to_exif(),
        samples,
    };
    Ok(DecodedImage::new(image, stored))
}

fn failed(path: &Path, reason: impl Into<String>) -> DataError {
    DataError::Decode {
        path: path.to_path_buf(),
        reason: reason.into(),
    }
}

/// The smallest and the largest sample of an image of 16 bits; none of another image, or of a file
/// that cannot be decoded.
pub(crate) fn extent(path: &Path, config: &DecodeConfig) -> Option<[u16; 2]> {
    let mut start = Vec::new();
    let mut file = File::open(path).ok()?;
    // The other formats have no such images: their files need not be read.
    Read::by_ref(&mut file)
        .take(16)
        .read_to_end(&mut start)
        .ok()?;
    let format = content::recognise(&start).ok()?;
    if !matches!(format, ImageFormat::Png | ImageFormat::Tiff) {
        return None;
    }
    file.read_to_end(&mut start).ok()?;
    let decoder = open(path, &start, format, config.max_pixels).ok()?;
    match decoder.color_type() {
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            let image = DynamicImage::from_decoder(decoder).ok()?;
            samples::extent(image.into_rgb16().as_raw())
        }
        _ => None,
    }
}

/// Height and width of the upright picture in a file, of which no pixel is decoded.
///
/// # Errors
/// If the file cannot be read, or is no image of a format that is decoded.
pub(crate) fn upright_size(path: &Path) -> Result<[usize; 2], DataError> {
    let unreadable = |reason| DataError::ImageFile {
        path: path.to_path_buf(),
        reason,
    };
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let start = file.fill_buf().map_err(unreadable)?;
    let format = content::recognise(start).map_err(|held| failed(path, held))?;
    let broken = |error| failed(path, explain(format, &error));
    let decoder = ImageReader::with_format(file, format).into_decoder();
    let mut decoder = decoder.map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let turned = orientation(&mut decoder).map_err(broken)?.to_exif() >= 5;
    let [height, width] = [height as usize, width as usize];
    Ok(if turned {
        [width, height]
    } else {
        [height, width]
    })
}

/// Reads the header of an image, and checks its size before anything of that size is made.
fn open<'a>(
    path: &Path,
    bytes: &'a [u8],
    format: ImageFormat,
    max_pixels: u64,
) -> Result<impl ImageDecoder + use<'a>, DataError> {
    if format == ImageFormat::Jpeg && is_truncated_jpeg(bytes) {
        return Err(failed(path, "the JPEG data ends early"));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits(max_pixels));
    let decoder = reader.into_decoder();
    let decoder = decoder.map_err(|error| failed(path, explain(format, &error)))?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > max_pixels {
        return Err(DataError::TooLarge {
            path: path.to_path_buf(),
            size: [height as usize, width as usize],
            max_pixels,
        });
    }
    match decoder.color_type() {
        _ if pixels == 0 => Err(failed(path, format!("it has {width}x{height} pixels"))),
        ColorType::Rgb32F | ColorType::Rgba32F => Err(failed(
            path,
            "its samples are floating-point numbers; 8 and 16 bits are read",
        )),
        _ => Ok(decoder),
    }
}

/// What decoders may allocate: twice as much as the largest image takes, and what metadata needs,
/// so that of all limits ours is the one that speaks.
fn limits(max_pixels: u64) -> Limits {
    let mut limits = Limits::default();
    let metadata = limits.max_alloc.unwrap_or(0);
    limits.max_alloc = Some(max_pixels.saturating_mul(16).saturating_add(metadata));
    limits
}

/// The orientation that the metadata of an image gives.
fn orientation(decoder: &mut impl ImageDecoder) -> Result<Orientation, ImageError> {
    let found = decoder.orientation()?;
    if found != Orientation::NoTransforms {
        return Ok(found);
    }
    // PNG and WebP files of some programs begin their metadata as JPEG files do.
    let metadata = decoder.exif_metadata()?.unwrap_or_default();
    let inner = metadata.strip_prefix(b"Exif\0\0");
    Ok(inner
        .and_then(Orientation::from_exif_chunk)
        .unwrap_or(found))
}

/// What a file is whose decoder fails, and what the decoder says.
fn explain(format: ImageFormat, error: &ImageError) -> String {
    let name = content::name(format);
    let text = error.to_string();
    let text = text.trim_end();
    match (error, format) {
        (ImageError::IoError(error), _) if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("the {name} data ends early")
        }
        // Such a file may hold anything.
        (ImageError::Unsupported(_), ImageFormat::Tiff) => format!(
            "it is a TIFF image of a kind that is not read: {text}; grey, RGB and CMYK images of \
             8 and 16 bits are"
        ),
        _ => format!("it is a {name} image, but broken or of a kind that is not read: {text}"),
    }
}

/// Whether a JPEG lacks its end-of-image marker.
///
/// The decoder fills a missing rest with grey and reports success, so a half-copied file would
/// train as a half-grey image. Coded data cannot hold the marker FF D9 by accident, because an FF
/// in it is always followed by 00 or a restart marker; segments before the first scan can (a
/// thumbnail has its own), so they are stepped over.
fn is_truncated_jpeg(bytes: &[u8]) -> bool {
    if !bytes.starts_with(&[0xFF, 0xD8]) {
        return false;
    }
    let mut at = 2;
    while let Some(&[0xFF, marker, high, low]) = bytes.get(at..at + 4) {
        if marker == 0xFF {
            at += 1; // A fill byte before a marker.
            continue;
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
        if marker == 0xDA {
            let coded = bytes.get(at..).unwrap_or_default();
            return !coded.windows(2).rev().any(|pair| pair == [0xFF, 0xD9]);
        }
    }
    // No scan at all: the decoder knows better what is wrong.
    false
}

#[cfg(test)]
mod tests;
