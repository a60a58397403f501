//! Objects on pictures, of the run `my run`.

use std::path::Path;

use crate::support::{aweigh, contains, json};

/// Pictures, one of them broken.
pub(super) fn pictures(folder: &Path) {
    std::fs::write(folder.join("broken.png"), "no picture").expect("writes");
    let args = [
        "predict",
        "--run",
        "my run",
        "shapes/val",
        "--out",
        "drawn",
        "--score",
        "0",
    ];
    let stdout = aweigh(folder, &args).ok();
    assert_eq!(stdout.lines().count(), 4, "{stdout}");
    contains(&stdout, &["shapes/val/", ".png: "]);
    let file = json(&folder.join("drawn/detections.json"));
    let images = file["images"].as_array().expect("a list");
    assert_eq!((images.len(), images[0]["width"].as_u64()), (4, Some(64)));
    assert_eq!(file["categories"].as_array().map(Vec::len), Some(5));
    for image in images {
        let original = image["file_name"].as_str().expect("a name");
        let drawn = folder
            .join("drawn")
            .join(Path::new(original).file_name().expect("a name"));
        let drawn = std::fs::read(drawn).expect("drawn");
        assert!(drawn.starts_with(b"\x89PNG"), "{original}");
    }
    // One broken picture fails the command, not the other pictures.
    let args = [
        "predict",
        "--run",
        "my run",
        "broken.png",
        "shapes/val",
        "--out",
        "again",
    ];
    let failed = aweigh(folder, &args);
    assert!(folder.join("again/detections.json").is_file());
    contains(
        &failed.failed(1),
        &[
            "error: cannot decode image broken.png",
            "1 of 5 pictures failed",
        ],
    );
}

/// A picture of 64x32 pixels whose EXIF orientation turns it by 90 degrees.
pub(super) fn upright(folder: &Path) {
    // Bright on the left, which is the top of the upright picture.
    let level = |x, _| image::Luma([if x < 32 { 250_u8 } else { 5 }]);
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image::ImageBuffer::from_fn(64, 32, level)
        .write_to(&mut jpeg, image::ImageFormat::Jpeg)
        .expect("encodes");
    let mut jpeg = jpeg.into_inner();
    let exif =
        b"\xFF\xE1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    jpeg.splice(2..2, exif.iter().copied());
    std::fs::write(folder.join("turned.jpg"), jpeg).expect("writes");
    let check = |exif: &str, out: &str, size: [u64; 2]| {
        let change = format!("data.exif={exif}");
        let model = ["predict", "--run", "my run", "--set", &change];
        let files = ["turned.jpg", "--out", out, "--score", "1"];
        aweigh(folder, &[model, files].concat()).ok();
        let drawn = image::open(folder.join(out).join("turned.jpg")).expect("drawn");
        let drawn = drawn.into_luma8();
        assert_eq!(drawn.dimensions(), (32, 64), "{exif}");
        assert!(drawn.get_pixel(30, 2).0[0] > 200, "{exif}");
        assert!(drawn.get_pixel(30, 61).0[0] < 50, "{exif}");
        let file = json(&folder.join(out).join("detections.json"));
        let image = &file["images"][0];
        let found = ["width", "height"].map(|side| image[side].as_u64());
        assert_eq!(found, size.map(Some), "{exif}");
    };
    check("apply", "upright", [32, 64]);
    check("ignore", "stored", [64, 32]);
    let error = ["predict", "--run", "my run", "--set", "data.exif=error"];
    let files = ["turned.jpg", "--out", "refused", "--score", "1"];
    contains(
        &aweigh(folder, &[error, files].concat()).failed(1),
        &["error: image turned.jpg has the EXIF orientation 6"],
    );
}
