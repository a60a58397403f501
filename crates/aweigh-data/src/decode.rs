//! Image files to 8-bit RGB.

use std::io::Cursor;
use std::path::Path;

use crate::DataError;

/// An image as 8-bit RGB, interleaved, rows from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedImage {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `height * width * 3` bytes.
    pub pixels: Vec<u8>,
}

/// Reads a JPEG, PNG, BMP or WebP file; the format is recognised by the content.
///
/// Grey and CMYK images become RGB, 16-bit samples are reduced to 8 bits, and an alpha channel is
/// dropped. The EXIF orientation is ignored: COCO's boxes refer to the pixels as they are stored.
///
/// # Errors
/// If the file cannot be read, is not such an image, or is cut off.
pub fn decode(path: &Path) -> Result<DecodedImage, DataError> {
    let bytes = std::fs::read(path).map_err(|reason| DataError::ImageFile {
        path: path.to_path_buf(),
        reason,
    })?;
    let failed = |reason: String| DataError::Decode {
        path: path.to_path_buf(),
        reason,
    };
    if is_truncated_jpeg(&bytes) {
        return Err(failed("the JPEG data ends early".to_string()));
    }
    let image = image::ImageReader::new(Cursor::new(&bytes))
        .with_guessed_format()
        .map_err(|error| failed(error.to_string()))?
        .decode()
        .map_err(|error| failed(error.to_string()))?
        .into_rgb8();
    Ok(DecodedImage {
        width: image.width() as usize,
        height: image.height() as usize,
        pixels: image.into_raw(),
    })
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
mod tests {
    use super::*;
    use image::{DynamicImage, ImageFormat};

    fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).expect("encodes");
        bytes.into_inner()
    }

    fn decode_bytes(bytes: &[u8]) -> Result<DecodedImage, DataError> {
        let folder = tempfile::tempdir().expect("temporary folder");
        // No extension: the content decides.
        let path = folder.path().join("image");
        std::fs::write(&path, bytes).expect("writes");
        decode(&path)
    }

    fn check(bytes: &[u8], size: [usize; 2], first: [u8; 3]) {
        let image = decode_bytes(bytes).expect("decodes");
        assert_eq!([image.height, image.width], size);
        assert_eq!(image.pixels.len(), image.height * image.width * 3);
        assert_eq!(image.pixels[..3], first);
    }

    /// An 8x8 CMYK JPEG whose four components are 128 everywhere: all coefficients are zero.
    fn cmyk_jpeg() -> Vec<u8> {
        let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xDB, 0x00, 0x43, 0x00];
        bytes.extend([1; 64]);
        bytes.extend([0xFF, 0xC0, 0x00, 0x14, 8, 0, 8, 0, 8, 4]);
        bytes.extend((1..=4).flat_map(|component| [component, 0x11, 0]));
        for table in [0x00, 0x10] {
            bytes.extend([0xFF, 0xC4, 0x00, 0x14, table, 1]);
            bytes.extend([0; 16]);
        }
        bytes.extend([0xFF, 0xDA, 0x00, 0x0E, 4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0]);
        bytes.extend([0x00, 0xFF, 0xD9]);
        bytes
    }

    #[test]
    fn every_kind_of_pixel_becomes_rgb() {
        let grey = DynamicImage::ImageLuma8(image::GrayImage::from_pixel(5, 3, [77].into()));
        let wide = image::ImageBuffer::from_pixel(5, 3, image::Rgb([65535u16, 0, 257]));
        let alpha = image::RgbaImage::from_pixel(5, 3, [9, 8, 7, 0].into());
        check(&encode(&grey, ImageFormat::Jpeg), [3, 5], [77; 3]);
        check(&encode(&grey, ImageFormat::Bmp), [3, 5], [77; 3]);
        check(&encode(&wide.into(), ImageFormat::Png), [3, 5], [255, 0, 1]);
        check(&encode(&alpha.into(), ImageFormat::WebP), [3, 5], [9, 8, 7]);
        // Subtractive colours: 128 of each ink on 128 of black is a dark grey.
        check(&cmyk_jpeg(), [8, 8], [64; 3]);
    }

    #[test]
    fn broken_files_are_errors_that_name_the_file() {
        let noise = image::RgbImage::from_fn(64, 64, |x, y| [(x * y) as u8, x as u8, 3].into());
        for format in [
            ImageFormat::Jpeg,
            ImageFormat::Png,
            ImageFormat::Bmp,
            ImageFormat::WebP,
        ] {
            let bytes = encode(&noise.clone().into(), format);
            for length in [0, 10, bytes.len() / 2, bytes.len() - 20] {
                let message = match decode_bytes(&bytes[..length]) {
                    Ok(_) => panic!("{format:?} of {length} bytes decoded"),
                    Err(error) => error.to_string(),
                };
                assert!(message.starts_with("cannot decode image "), "{message}");
            }
        }
        let message = decode(Path::new("no/such.jpg"))
            .expect_err("absent")
            .to_string();
        assert!(
            message.starts_with("cannot read image no/such.jpg: "),
            "{message}"
        );
    }
}
