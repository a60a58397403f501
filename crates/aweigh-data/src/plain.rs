//! Paths of one spelling.

use std::path::{Component, Path, PathBuf};

/// A path without `.`, and without `..` where it has something to go back from. Nothing is asked of
/// the disk, unlike by `std`: the file may be missing.
pub(crate) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        let back = component == Component::ParentDir;
        match plain.components().next_back() {
            Some(Component::Normal(_)) if back => {
                plain.pop();
            }
            _ if component == Component::CurDir => {}
            _ => plain.push(component),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_without_detours() {
        let check =
            |path: &str, expected: &str| assert_eq!(plain(Path::new(path)), Path::new(expected));
        check("a/./b.png", "a/b.png");
        check("./a.png", "a.png");
        check("a/../b.png", "b.png");
        check("../a.png", "../a.png");
        check("/a//b.png", "/a/b.png");
    }
}
