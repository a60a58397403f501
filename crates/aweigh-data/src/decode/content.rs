//! What a file holds, by its content: names lie.

use image::ImageFormat;

/// The formats that are decoded, for messages.
const READ: &str = "JPEG, PNG, BMP, WebP and TIFF are read";

/// Beginnings of files that are taken for pictures: where, what, and what it says of the file.
const KINDS: &[(usize, &[u8], &str)] = &[
    // Pictures of other formats.
    (0, b"GIF8", "a GIF image"),
    (4, b"ftypheic", "a HEIC image"),
    (4, b"ftypheix", "a HEIC image"),
    (4, b"ftyphevc", "a HEIC image"),
    (4, b"ftypheim", "a HEIC image"),
    (4, b"ftypheis", "a HEIC image"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftypavis", "an AVIF image"),
    (4, b"ftypmif1", "a HEIF image (HEIC or AVIF)"),
    (4, b"ftypmsf1", "a HEIF image (HEIC or AVIF)"),
    (4, b"ftypcrx ", "a raw image of a Canon camera"),
    (0, b"II*\0\x10\0\0\0CR", "a raw image of a Canon camera"),
    (0, b"FUJIFILM", "a raw image of a Fujifilm camera"),
    (0, b"\xFF\x0A", "a JPEG XL image"),
    (0, b"\0\0\0\x0CJXL ", "a JPEG XL image"),
    (0, b"\0\0\0\x0CjP  ", "a JPEG 2000 image"),
    (0, b"\xFF\x4F\xFF\x51", "a JPEG 2000 image"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"gimp xcf", "a GIMP document"),
    (0, b"\0\0\x01\0", "an icon (ICO)"),
    (0, b"\x76\x2F\x31\x01", "an OpenEXR image"),
    (0, b"#?RADIANCE", "a Radiance HDR image"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"qoif", "a QOI image"),
    (0, b"farbfeld", "a farbfeld image"),
    (0, b"P1\n", "a PNM image"),
    (0, b"P2\n", "a PNM image"),
    (0, b"P3\n", "a PNM image"),
    (0, b"P4\n", "a PNM image"),
    (0, b"P5\n", "a PNM image"),
    (0, b"P6\n", "a PNM image"),
    (0, b"P7\n", "a PNM image"),
    (0, b"SIMPLE  =", "a FITS image"),
    (128, b"DICM", "a DICOM image"),
    // Documents, data, archives and films.
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"SQLite format 3", "an SQLite database"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"PK\x05\x06", "a ZIP archive"),
    (0, b"\x1F\x8B", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xFD7zXZ", "an xz archive"),
    (0, b"\x28\xB5\x2F\xFD", "a Zstandard archive"),
    (0, b"7z\xBC\xAF", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (4, b"ftyp", "a film (MP4 or QuickTime)"),
    (0, b"\x1A\x45\xDF\xA3", "a film (Matroska or WebM)"),
    (8, b"AVI LIST", "a film (AVI)"),
    (8, b"WAVEfmt ", "a sound (WAV)"),
    (
        0,
        b"\0\x05\x16\x07",
        "a resource file of macOS, not the picture that it belongs to",
    ),
    (0, b"\xFF\xFE", "UTF-16 text"),
    (0, b"\xFE\xFF", "UTF-16 text"),
];

/// The format of a file that is decoded; otherwise what the file holds instead.
pub(super) fn recognise(bytes: &[u8]) -> Result<ImageFormat, String> {
    match (signed(bytes), format(bytes)) {
        (Some(name), _) => Err(format!("it is {name}; {READ}")),
        (None, Some(format)) => Ok(format),
        (None, None) => Err(format!("it is {}; {READ}", other(bytes))),
    }
}

/// What a file is that is no picture which is decoded, by the signature that it begins with.
pub(crate) fn signed(bytes: &[u8]) -> Option<&'static str> {
    let kind = KINDS.iter().find(|(at, start, _)| {
        let found = bytes.get(*at..);
        found.is_some_and(|found| found.starts_with(start))
    });
    kind.map(|(_, _, name)| *name)
}

/// What people call a format that is decoded.
pub(super) fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::Bmp => "BMP",
        ImageFormat::WebP => "WebP",
        _ => "TIFF",
    }
}

/// The format of the five that are decoded. Other features of `image` than this crate's may be on.
fn format(bytes: &[u8]) -> Option<ImageFormat> {
    use ImageFormat::{Bmp, Jpeg, Png, Tiff, WebP};
    if bytes.starts_with(b"II+\0") || bytes.starts_with(b"MM\0+") {
        return Some(Tiff); // The variant for more than 4 GiB.
    }
    let guessed = image::guess_format(bytes).ok()?;
    [Jpeg, Png, Bmp, WebP, Tiff]
        .into_iter()
        .find(|known| *known == guessed)
}

/// What has no signature.
fn other(bytes: &[u8]) -> String {
    const LOOKED_AT: usize = 1024;
    let start = &bytes[..bytes.len().min(LOOKED_AT)];
    if bytes.is_empty() {
        return "empty".to_string();
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return "nothing but zeros".to_string();
    }
    match as_text(start) {
        Some(text) => name_text(text),
        None => {
            let shown = start.iter().take(8).map(|byte| format!("{byte:02X}"));
            let shown = shown.collect::<Vec<_>>().join(" ");
            format!("of an unknown format (its first bytes are {shown})")
        }
    }
}

/// The text that a file begins with. Its last character may be cut.
fn as_text(start: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let control = |c: char| c.is_control() && !c.is_whitespace();
    (!text.contains(control)).then(|| text.trim_start_matches('\u{FEFF}').trim_start())
}

fn name_text(text: &str) -> String {
    let lower = text.to_lowercase();
    let place = |tag: &str| lower.find(tag).unwrap_or(usize::MAX);
    let html = place("<html").min(place("<!doctype html"));
    let name = match lower.chars().next() {
        Some('<') if place("<svg") < html => "an SVG drawing",
        Some('<') if html < usize::MAX => "HTML text",
        Some('<') if lower.starts_with("<?xml") => "XML text",
        Some('<') => "HTML or XML text",
        Some('{' | '[') => "JSON text",
        _ if lower.starts_with("version https://git-lfs") => {
            "a Git LFS pointer to a picture that has not been fetched (`git lfs pull`)"
        }
        _ => return format!("text (`{}`)", first_words(text)),
    };
    name.to_string()
}

/// The beginning of the first line.
fn first_words(text: &str) -> String {
    const SHOWN: usize = 40;
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readable_formats_are_recognised() {
        let check = |bytes: &[u8], expected| assert_eq!(recognise(bytes), Ok(expected));
        check(b"\xFF\xD8\xFF\xE0", ImageFormat::Jpeg);
        check(b"\x89PNG\r\n\x1A\n", ImageFormat::Png);
        check(b"BM\x10\0", ImageFormat::Bmp);
        check(b"RIFF\x01\x02\0\0WEBPVP8 ", ImageFormat::WebP);
        check(b"II*\0\x08\0\0\0", ImageFormat::Tiff);
        check(b"MM\0*\0\0\0\x08", ImageFormat::Tiff);
        check(b"II+\0\x08\0\0\0", ImageFormat::Tiff);
    }

    #[test]
    fn everything_else_is_named() {
        let check = |bytes: &[u8], expected: &str| {
            let expected = format!("it is {expected}; {READ}");
            assert_eq!(recognise(bytes), Err(expected));
        };
        check(b"", "empty");
        check(&[0; 50], "nothing but zeros");
        check(b"GIF87a\x80\0", "a GIF image");
        check(b"\0\0\0\x18ftypheic\0\0", "a HEIC image");
        check(b"\0\0\0\x1Cftypavif\0\0", "an AVIF image");
        check(b"\0\0\0\x1Cftypisom\0\0", "a film (MP4 or QuickTime)");
        check(b"%PDF-1.7\n%\xE2\xE3", "a PDF document");
        check(b"PK\x03\x04\x14\0", "a ZIP archive");
        check(b"RIFF\x01\0\0\0WAVEfmt ", "a sound (WAV)");
        check(&[&[0; 128], b"DICM".as_slice()].concat(), "a DICOM image");
        check(b"<html>404</html>", "HTML text");
        check(b"\n <!DOCTYPE HTML><svg>", "HTML text");
        check(b"<svg xmlns=\"a\"/>", "an SVG drawing");
        check(b"<?xml version=\"1.0\"?>\n<svg>", "an SVG drawing");
        check(b"\xEF\xBB\xBF<?xml version=\"1.0\"?><Error>", "XML text");
        check(b"<center>gone</center>", "HTML or XML text");
        check(b"{\"error\": \"not found\"}", "JSON text");
        check(
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer to a picture that has not been fetched (`git lfs pull`)",
        );
        check(b"Not found\nat all", "text (`Not found`)");
        let long = "é".repeat(600);
        let expected = format!("text (`{}...`)", "é".repeat(40));
        check(long.as_bytes(), &expected);
        // The last character that is looked at is cut.
        check(
            format!("a{long}").as_bytes(),
            &format!("text (`a{}...`)", "é".repeat(39)),
        );
        check(
            &[1, 2, 3, 0xFF],
            "of an unknown format (its first bytes are 01 02 03 FF)",
        );
    }
}
