//! Where weights come from, for those who get the model file.

use aweigh_weights::Import;

/// What stands before the digits of the checksum.
const SHA256: &str = "(SHA-256 ";

/// The name and the checksum of the file, and what it is; for a file of ours, what it says of its own
/// origin.
pub(super) fn origin(import: &Import) -> String {
    let known = import.metadata.as_ref().and_then(|m| m.source.clone());
    known.unwrap_or_else(|| {
        let name = import.path.file_name().unwrap_or_default();
        let (name, summary) = (name.to_string_lossy(), import.summary());
        format!("{name} {SHA256}{}), {summary}", import.sha256)
    })
}

/// The checksum in an origin.
pub(crate) fn source_sha256(origin: &str) -> Option<&str> {
    let (_, rest) = origin.split_once(SHA256)?;
    rest.split(')').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_found_in_an_origin() {
        let of_file = "a (1).pth (SHA-256 0123abcd), ResNet-50, in torchvision's layout";
        assert_eq!(source_sha256(of_file), Some("0123abcd"));
        assert_eq!(source_sha256("from somewhere"), None);
    }
}
