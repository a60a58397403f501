//! What a look into the pictures of a dataset finds.

use aweigh_data::{
    CocoDataset, DecodeConfig, Exif, Pictures, Purpose, Seen, SixteenBit, look_into, measure_range,
};
use image::codecs::png::PngEncoder;
use image::{DynamicImage, ImageBuffer, ImageEncoder, Luma};

use crate::fixture::Fixture;

/// Writes an image of a fixture with an EXIF orientation.
fn write_oriented(fixture: &Fixture, id: u32, [width, height]: [u32; 2], orientation: u8) {
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    let mut exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    encoder.set_exif_metadata(exif).expect("PNG has it");
    let image = DynamicImage::new_rgb8(width, height);
    image.write_with_encoder(encoder).expect("encodes");
    std::fs::write(fixture.image(id), bytes).expect("writes");
}

/// Writes an image of a fixture with samples of 16 bits, from `low` to `high`.
fn write_wide(fixture: &Fixture, id: u32, [width, height]: [u32; 2], [low, high]: [u16; 2]) {
    let sample = |x, _| Luma([if x == 0 { low } else { high }]);
    let image: DynamicImage = ImageBuffer::from_fn(width, height, sample).into();
    image.save(fixture.image(id)).expect("writes");
}

/// Twelve images, of which one is missing and six have something odd.
fn odd() -> Fixture {
    let fixture = Fixture::with_images();
    std::fs::remove_file(fixture.image(1)).expect("removes");
    std::fs::write(fixture.image(2), "GIF89a").expect("writes");
    DynamicImage::new_rgb8(9, 9)
        .save(fixture.image(4))
        .expect("writes");
    write_oriented(&fixture, 5, [45, 30], 3);
    write_oriented(&fixture, 7, [30, 47], 6);
    write_wide(&fixture, 8, [48, 30], [1220, 1390]);
    write_wide(&fixture, 10, [50, 30], [1000, 60000]);
    fixture
}

fn look(fixture: &Fixture, decoding: DecodeConfig) -> Pictures {
    look_into(&open(fixture, decoding), 3, || true)
}

fn open(fixture: &Fixture, decoding: DecodeConfig) -> CocoDataset {
    let mut dataset = fixture.open(Purpose::Evaluate).expect("opens");
    dataset.set_decoding(decoding);
    dataset
}

#[test]
fn everything_odd_is_counted_with_its_first_example() {
    let fixture = odd();
    let pictures = look(&fixture, DecodeConfig::default());
    assert_eq!(pictures.looked, 11);
    let unreadable = pictures.unreadable.first.expect("a picture");
    assert_eq!(
        fixture.message(&unreadable),
        "cannot decode image DIR/2.png: it is a GIF image; JPEG, PNG, BMP, WebP and TIFF are read"
    );
    let other_size = pictures.other_size.first.expect("a picture");
    assert_eq!(
        fixture.message(&other_size),
        "image DIR/4.png is 9x9 pixels (width x height), but DIR/a.json declares 44x30"
    );
    assert_eq!(pictures.unreadable.count, 1);
    assert_eq!(pictures.other_size.count, 1);
    seen(&pictures.oriented, 2, (fixture.image(5), 3));
    seen(&pictures.doubtful, 1, (fixture.image(5), 3));
    seen(&pictures.narrow, 1, (fixture.image(8), [1220, 1390]));
    assert_eq!(pictures.samples, Some([1000, 60000]));
}

fn seen<T: PartialEq + std::fmt::Debug>(seen: &Seen<T>, count: usize, first: T) {
    assert_eq!((seen.count, seen.first.as_ref()), (count, Some(&first)));
}

#[test]
fn the_configuration_decides_what_is_odd() {
    let fixture = odd();
    let ignore = DecodeConfig {
        exif: Exif::Ignore,
        sixteen_bit: SixteenBit::Range([1220, 1390]),
        ..DecodeConfig::default()
    };
    let pictures = look(&fixture, ignore);
    // The size of image 7 is declared as a person sees it.
    assert_eq!(pictures.other_size.count, 2);
    seen(&pictures.doubtful, 1, (fixture.image(5), 3));
    assert_eq!(pictures.narrow.count, 0);
    let refuse = DecodeConfig {
        exif: Exif::Error,
        ..DecodeConfig::default()
    };
    let pictures = look(&fixture, refuse);
    assert_eq!((pictures.unreadable.count, pictures.oriented.count), (3, 0));
}

#[test]
fn a_look_ends_when_it_is_told_to() {
    let fixture = odd();
    let dataset = open(&fixture, DecodeConfig::default());
    assert_eq!(look_into(&dataset, 2, || false).looked, 0);
}

#[test]
fn the_range_of_a_dataset_is_that_of_its_pictures_of_16_bits() {
    let fixture = odd();
    let measured = DecodeConfig {
        sixteen_bit: SixteenBit::Measured,
        ..DecodeConfig::default()
    };
    for workers in [0, 3] {
        let found = measure_range(&open(&fixture, measured), workers);
        assert_eq!(found, Some([1000, 60000]), "{workers} workers");
    }
    assert_eq!(
        measure_range(&open(&Fixture::with_images(), measured), 2),
        None
    );
}
