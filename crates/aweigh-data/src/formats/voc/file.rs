//! One file of Pascal VOC.

use std::path::Path;

use roxmltree::{Document, Node};

use crate::DataError;

/// What a file says of a picture.
pub(super) struct VocFile {
    /// `filename`; empty where there is none.
    pub(super) file_name: String,
    /// Height and width in pixels, where they are given.
    pub(super) size: Option<[u32; 2]>,
    /// The objects.
    pub(super) objects: Vec<VocObject>,
}

/// An object of a file.
pub(super) struct VocObject {
    /// Its class.
    pub(super) name: String,
    /// `[xmin, ymin, xmax, ymax]` as they are written.
    pub(super) corners: [f64; 4],
    /// `difficult`.
    pub(super) difficult: bool,
    /// Where it stands.
    pub(super) line: usize,
}

impl VocFile {
    /// Reads a file.
    ///
    /// # Errors
    /// If it is no XML, no annotation of Pascal VOC, or a value of it is wrong.
    pub(super) fn read(path: &Path) -> Result<Self, DataError> {
        let bytes = std::fs::read(path).map_err(|reason| DataError::AnnotationFile {
            path: path.to_path_buf(),
            reason,
        })?;
        let Ok(text) = String::from_utf8(bytes) else {
            return Err(wrong(path, None, "it is not UTF-8 text; save it as UTF-8"));
        };
        let document = Document::parse(text.trim_start_matches('\u{feff}')).map_err(|error| {
            let line = error.pos().row as usize;
            wrong(path, Some(line), format!("not XML: {error}"))
        })?;
        let root = document.root_element();
        let reader = Reader {
            path,
            document: &document,
        };
        if !root.has_tag_name("annotation") {
            let name = root.tag_name().name();
            let reason = format!("found <{name}>, expected Pascal VOC's <annotation>");
            return Err(reader.wrong(root, reason));
        }
        reader.annotation(root)
    }
}

struct Reader<'a> {
    path: &'a Path,
    document: &'a Document<'a>,
}

impl Reader<'_> {
    fn annotation(&self, root: Node<'_, '_>) -> Result<VocFile, DataError> {
        let objects = root.children().filter(|node| node.has_tag_name("object"));
        Ok(VocFile {
            file_name: text(root, "filename").unwrap_or_default().to_owned(),
            size: self.size(root)?,
            objects: objects
                .map(|object| self.object(object))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The size, if it is positive: tools write zeros for what they do not know.
    fn size(&self, root: Node<'_, '_>) -> Result<Option<[u32; 2]>, DataError> {
        let Some(size) = child(root, "size") else {
            return Ok(None);
        };
        let height = self.number(size, "height")?.unwrap_or(0.0) as u32;
        let width = self.number(size, "width")?.unwrap_or(0.0) as u32;
        Ok(Some([height, width]).filter(|size| !size.contains(&0)))
    }

    fn object(&self, object: Node<'_, '_>) -> Result<VocObject, DataError> {
        let Some(name) = text(object, "name") else {
            return Err(self.wrong(object, "an <object> without a <name>"));
        };
        let Some(bndbox) = child(object, "bndbox") else {
            return Err(self.wrong(object, format!("the <object> `{name}` has no <bndbox>")));
        };
        let corner = |key: &str| {
            let number = self.number(bndbox, key)?;
            number.ok_or_else(|| {
                self.wrong(bndbox, format!("the <bndbox> of `{name}` has no <{key}>"))
            })
        };
        Ok(VocObject {
            name: name.to_owned(),
            corners: [
                corner("xmin")?,
                corner("ymin")?,
                corner("xmax")?,
                corner("ymax")?,
            ],
            difficult: self
                .number(object, "difficult")?
                .is_some_and(|flag| flag != 0.0),
            line: self.line(object),
        })
    }

    /// The number in an element; none where there is no element, or nothing in it.
    fn number(&self, parent: Node<'_, '_>, key: &str) -> Result<Option<f64>, DataError> {
        let Some(text) = text(parent, key) else {
            return Ok(None);
        };
        let number: Option<f64> = text.parse().ok();
        match number.filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => {
                let node = child(parent, key).unwrap_or(parent);
                Err(self.wrong(node, format!("<{key}> is `{text}`; expected a number")))
            }
        }
    }

    fn line(&self, node: Node<'_, '_>) -> usize {
        self.document.text_pos_at(node.range().start).row as usize
    }

    fn wrong(&self, node: Node<'_, '_>, reason: impl Into<String>) -> DataError {
        wrong(self.path, Some(self.line(node)), reason)
    }
}

fn child<'a, 'b>(parent: Node<'a, 'b>, name: &str) -> Option<Node<'a, 'b>> {
    parent.children().find(|node| node.has_tag_name(name))
}

/// The text of an element, without spaces around it; none where there is nothing in it.
fn text<'a>(parent: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let text = child(parent, name)?.text()?.trim();
    (!text.is_empty()).then_some(text)
}

fn wrong(path: &Path, line: Option<usize>, reason: impl Into<String>) -> DataError {
    DataError::Labels {
        path: path.to_path_buf(),
        line,
        reason: reason.into(),
    }
}
