use super::*;
use image::codecs::png::PngEncoder;
use image::{ImageBuffer, ImageEncoder, Luma};

const FORMATS: [ImageFormat; 5] = [
    ImageFormat::Jpeg,
    ImageFormat::Png,
    ImageFormat::Bmp,
    ImageFormat::WebP,
    ImageFormat::Tiff,
];

fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("encodes");
    bytes.into_inner()
}

fn decode_with(bytes: &[u8], config: DecodeConfig) -> Result<DecodedImage, DataError> {
    let folder = tempfile::tempdir().expect("temporary folder");
    // No extension: the content decides.
    let path = folder.path().join("image");
    std::fs::write(&path, bytes).expect("writes");
    decode(&path, &config)
}

fn decode_bytes(bytes: &[u8]) -> Result<DecodedImage, DataError> {
    decode_with(bytes, DecodeConfig::default())
}

/// The message of a file that is refused, from the name of the file on.
fn refuse(bytes: &[u8], config: DecodeConfig) -> String {
    let message = decode_with(bytes, config).expect_err("refused").to_string();
    let (_, end) = message.split_once("/image").expect("names the file");
    end.to_string()
}

fn check(bytes: &[u8], size: [usize; 2], first: [u8; 3]) {
    let image = decode_bytes(bytes).expect("decodes");
    assert_eq!([image.height, image.width], size);
    assert_eq!(image.pixels.len(), image.height * image.width * 3);
    assert_eq!(image.pixels[..3], first);
    assert_eq!(image.stored.size, size);
    assert_eq!(image.stored.orientation, 1);
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

/// A grey TIFF file of 3x2 samples of 8 or 32 bits, all bytes 7, with a tag of its own.
fn tiff(bits: u16, tag: (u16, u16)) -> Vec<u8> {
    let length = 6 * bits / 8;
    let mut tags = [
        (256, 3),
        (257, 2),
        (258, bits),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (279, length),
        tag,
    ];
    tags.sort_unstable();
    let mut bytes = b"II*\0".to_vec();
    bytes.extend(u32::from(8 + length).to_le_bytes());
    bytes.extend(vec![7; usize::from(length)]);
    bytes.extend((tags.len() as u16).to_le_bytes());
    for (tag, value) in tags {
        bytes.extend(
            [tag, 3, 1, 0, value, 0]
                .iter()
                .flat_map(|n: &u16| n.to_le_bytes()),
        );
    }
    bytes.extend([0; 4]);
    bytes
}

#[test]
fn every_kind_of_pixel_becomes_rgb() {
    let grey = DynamicImage::ImageLuma8(image::GrayImage::from_pixel(5, 3, [77].into()));
    let wide = ImageBuffer::from_pixel(5, 3, image::Rgb([65535u16, 0, 257]));
    let alpha = image::RgbaImage::from_pixel(5, 3, [9, 8, 7, 0].into());
    check(&encode(&grey, ImageFormat::Jpeg), [3, 5], [77; 3]);
    check(&encode(&grey, ImageFormat::Bmp), [3, 5], [77; 3]);
    check(&encode(&grey, ImageFormat::Tiff), [3, 5], [77; 3]);
    let wide = wide.into();
    check(&encode(&wide, ImageFormat::Png), [3, 5], [255, 0, 1]);
    check(&encode(&wide, ImageFormat::Tiff), [3, 5], [255, 0, 1]);
    let alpha = alpha.into();
    check(&encode(&alpha, ImageFormat::WebP), [3, 5], [9, 8, 7]);
    check(&encode(&alpha, ImageFormat::Tiff), [3, 5], [9, 8, 7]);
    // Subtractive colours: 128 of each ink on 128 of black is a dark grey.
    check(&cmyk_jpeg(), [8, 8], [64; 3]);
}

#[test]
fn broken_files_are_errors_that_name_the_file() {
    let noise = image::RgbImage::from_fn(64, 64, |x, y| [(x * y) as u8, x as u8, 3].into());
    for format in FORMATS {
        let bytes = encode(&noise.clone().into(), format);
        for length in [0, 10, bytes.len() / 2, bytes.len() - 20] {
            let message = match decode_bytes(&bytes[..length]) {
                Ok(_) => panic!("{format:?} of {length} bytes decoded"),
                Err(error) => error.to_string(),
            };
            assert!(message.starts_with("cannot decode image "), "{message}");
        }
    }
    let message = decode(Path::new("no/such.jpg"), &DecodeConfig::default())
        .expect_err("absent")
        .to_string();
    assert!(
        message.starts_with("cannot read image no/such.jpg: "),
        "{message}"
    );
}

#[test]
fn what_is_no_picture_says_what_it_is() {
    let check = |bytes: &[u8], expected: &str| {
        assert_eq!(refuse(bytes, DecodeConfig::default()), expected);
    };
    let read = "JPEG, PNG, BMP, WebP and TIFF are read";
    check(b"", &format!(": it is empty; {read}"));
    check(
        b"GIF89a\x01\0\x01\0",
        &format!(": it is a GIF image; {read}"),
    );
    check(b"<html></html>", &format!(": it is HTML text; {read}"));
    let floats = refuse(&tiff(32, (339, 3)), DecodeConfig::default());
    assert!(
        floats.starts_with(": it is a TIFF image of a kind that is not read: "),
        "{floats}"
    );
    assert!(
        floats.ends_with("; grey, RGB and CMYK images of 8 and 16 bits are"),
        "{floats}"
    );
    let bytes = png(exif(1));
    check(&bytes[..bytes.len() - 20], ": the PNG data ends early");
    let mut bytes = bytes;
    bytes[20] ^= 1;
    let broken = refuse(&bytes, DecodeConfig::default());
    let start = ": it is a PNG image, but broken or of a kind that is not read: ";
    assert!(broken.starts_with(start), "{broken}");
}

#[test]
fn a_limit_to_the_size_speaks_before_anything_is_decoded() {
    let image = DynamicImage::new_rgb8(64, 32);
    for format in FORMATS {
        let bytes = encode(&image, format);
        let limit = |max_pixels| DecodeConfig {
            max_pixels,
            ..DecodeConfig::default()
        };
        decode_with(&bytes, limit(2048)).expect("within the limit");
        let expected = " has 64x32 pixels (width x height), more than 2047, the limit that \
                        `data.max_pixels` sets";
        assert_eq!(refuse(&bytes, limit(2047)), expected, "{format:?}");
    }
    // A header alone, of a picture that no machine has the memory for.
    let mut bitmap = encode(&image, ImageFormat::Bmp);
    bitmap.truncate(54);
    bitmap[18..22].copy_from_slice(&60_000_u32.to_le_bytes());
    bitmap[22..26].copy_from_slice(&60_000_u32.to_le_bytes());
    let message = refuse(&bitmap, DecodeConfig::default());
    let expected = " has 60000x60000 pixels (width x height), more than 200000000, ";
    assert!(message.starts_with(expected), "{message}");
}

/// EXIF metadata with nothing but an orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut bytes = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    bytes.extend([orientation, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// A PNG file of the grey levels 0 1 2 above 3 4 5.
fn png(exif: Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif).expect("PNG has it");
    let image = image::GrayImage::from_raw(3, 2, (0..6).collect()).expect("six pixels");
    image.write_with_encoder(encoder).expect("encodes");
    bytes
}

/// The grey levels of an image, row by row.
fn levels(image: &DecodedImage) -> Vec<Vec<u8>> {
    let rows = image.pixels.chunks(3 * image.width);
    rows.map(|row| row.chunks(3).map(|pixel| pixel[0]).collect())
        .collect()
}

#[test]
fn every_orientation_is_applied_ignored_or_refused() {
    let with = |exif| DecodeConfig {
        exif,
        ..DecodeConfig::default()
    };
    let check = |orientation, rows: &[&[u8]]| {
        let bytes = png(exif(orientation));
        let upright = decode_with(&bytes, with(Exif::Apply)).expect("decodes");
        assert_eq!(levels(&upright), rows, "{orientation}");
        let stored = decode_with(&bytes, with(Exif::Ignore)).expect("decodes");
        assert_eq!(levels(&stored), [[0, 1, 2], [3, 4, 5]], "{orientation}");
        assert_eq!(stored.stored, upright.stored);
        assert_eq!(stored.stored.size, [2, 3]);
        assert_eq!(stored.stored.orientation, orientation);
        let refused = decode_with(&bytes, with(Exif::Error));
        assert_eq!(refused.is_err(), orientation != 1, "{orientation}");
    };
    check(1, &[&[0, 1, 2], &[3, 4, 5]]);
    check(2, &[&[2, 1, 0], &[5, 4, 3]]);
    check(3, &[&[5, 4, 3], &[2, 1, 0]]);
    check(4, &[&[3, 4, 5], &[0, 1, 2]]);
    check(5, &[&[0, 3], &[1, 4], &[2, 5]]);
    check(6, &[&[3, 0], &[4, 1], &[5, 2]]);
    check(7, &[&[5, 2], &[4, 1], &[3, 0]]);
    check(8, &[&[2, 5], &[1, 4], &[0, 3]]);
    let expected = " has the EXIF orientation 3, which `data.exif = \"error\"` refuses: \"apply\" \
                    turns images upright, for boxes that were drawn so; \"ignore\" keeps them as \
                    they are stored";
    assert_eq!(refuse(&png(exif(3)), with(Exif::Error)), expected);
}

#[test]
fn orientations_are_found_in_every_place() {
    let check = |bytes: &[u8], orientation, size: [usize; 2]| {
        let image = decode_bytes(bytes).expect("decodes");
        assert_eq!(image.stored.orientation, orientation);
        assert_eq!([image.height, image.width], size);
    };
    check(&png([b"Exif\0\0".to_vec(), exif(6)].concat()), 6, [3, 2]);
    check(&tiff(8, (274, 8)), 8, [3, 2]);
    let mut jpeg = encode(&DynamicImage::new_luma8(3, 2), ImageFormat::Jpeg);
    let metadata = [b"Exif\0\0".to_vec(), exif(5)].concat();
    let segment = [&[0xFF, 0xE1, 0, metadata.len() as u8 + 2], &metadata[..]].concat();
    jpeg.splice(2..2, segment);
    check(&jpeg, 5, [3, 2]);
    // Nonsense is no orientation.
    check(&png(exif(9)), 1, [2, 3]);
    check(&png(exif(0)), 1, [2, 3]);
    check(&png(b"MM\0*".to_vec()), 1, [2, 3]);
}

#[test]
fn boxes_turn_with_their_pixels() {
    for orientation in 1..=8 {
        let image = decode_bytes(&png(exif(orientation))).expect("decodes");
        for (level, (y, x)) in (0..2).flat_map(|y| (0..3).map(move |x| (y, x))).enumerate() {
            let [x, y] = [x as f32, y as f32];
            let [x1, y1, x2, y2] = image.stored.upright([x, y, x + 1.0, y + 1.0]);
            assert_eq!([x2 - x1, y2 - y1], [1.0, 1.0], "{orientation}");
            let found = levels(&image)[y1 as usize][x1 as usize];
            assert_eq!(usize::from(found), level, "{orientation}");
        }
    }
}

#[test]
fn stored_pixels_turn_as_those_that_are_turned_while_decoding() {
    for orientation in 1..=8 {
        let bytes = png(exif(orientation));
        let stored = DecodeConfig {
            exif: Exif::Ignore,
            ..DecodeConfig::default()
        };
        let stored = decode_with(&bytes, stored).expect("decodes");
        let upright = decode_bytes(&bytes).expect("decodes");
        assert_eq!(stored.turned_upright(), upright, "{orientation}");
    }
}

#[test]
fn samples_of_16_bits_are_measured_and_mapped() {
    let image = ImageBuffer::from_fn(8, 8, |x, _| Luma([1220 + 10 * x as u16]));
    let image = DynamicImage::ImageLuma16(image);
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        let bytes = encode(&image, format);
        let check = |sixteen_bit, first_row: [u8; 8], is_narrow: bool| {
            let config = DecodeConfig {
                sixteen_bit,
                ..DecodeConfig::default()
            };
            let image = decode_with(&bytes, config).expect("decodes");
            assert_eq!(levels(&image)[0], first_row);
            assert_eq!(image.stored.samples, Some([1220, 1290]));
            assert_eq!(image.stored.narrow(sixteen_bit).is_some(), is_narrow);
        };
        check(SixteenBit::Full, [5; 8], true);
        let spread = [0, 36, 73, 109, 146, 182, 219, 255];
        check(SixteenBit::Range([1220, 1290]), spread, false);
        check(SixteenBit::Range([0, 1000]), [255; 8], true);
    }
}

#[test]
fn the_extent_of_samples_is_that_of_images_of_16_bits() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let check = |bytes: &[u8], expected| {
        let path = folder.path().join("image");
        std::fs::write(&path, bytes).expect("writes");
        let found = extent(&path, &DecodeConfig::default());
        assert_eq!(found, expected);
    };
    let wide = ImageBuffer::from_fn(2, 1, |x, _| image::LumaA([3 + x as u16, 9000]));
    let wide = DynamicImage::ImageLumaA16(wide);
    check(&encode(&wide, ImageFormat::Png), Some([3, 4]));
    check(&png(exif(1)), None);
    check(&tiff(8, (274, 1)), None);
    check(&cmyk_jpeg(), None);
    check(b"GIF89a", None);
    check(b"", None);
    assert_eq!(extent(folder.path(), &DecodeConfig::default()), None);
}
