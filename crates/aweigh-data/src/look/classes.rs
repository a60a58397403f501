//! Classes that share a name, or that have nothing to learn from.

use std::collections::HashMap;
use std::path::Path;

use crate::annotations::Category;
use crate::finding::Finding;
use crate::record::ImageRecord;

/// What to say of the classes of a file; `boxes` tells how many each has.
pub(crate) fn classes(file: &Path, classes: &[Category], images: &[ImageRecord]) -> Vec<Finding> {
    let mut boxes = vec![0_usize; classes.len()];
    let labels = images.iter().flat_map(|image| &image.truth.labels);
    labels.for_each(|label| boxes[*label] += 1);
    let mut findings = same_names(file, classes);
    findings.extend(without_boxes(file, classes, &boxes));
    findings
}

fn same_names(file: &Path, classes: &[Category]) -> Vec<Finding> {
    let mut ids: HashMap<&str, i64> = HashMap::new();
    let mut findings = Vec::new();
    for class in classes {
        if let Some(other) = ids.insert(&class.name, class.id) {
            let text = format!(
                "two categories are called `{}`, {other} and {}: they are learnt as two classes",
                class.name, class.id
            );
            findings.push(Finding::warning(file, text));
        }
    }
    findings
}

fn without_boxes(file: &Path, classes: &[Category], boxes: &[usize]) -> Option<Finding> {
    const SHOWN: usize = 10;
    let empty: Vec<String> = classes
        .iter()
        .zip(boxes)
        .filter(|(_, count)| **count == 0)
        .map(|(class, _)| format!("{} `{}`", class.id, class.name))
        .collect();
    // Where no class has boxes, there is more to say than this.
    if empty.len() == classes.len() {
        return None;
    }
    let text = match &empty[..] {
        [] => return None,
        [class] => format!("class {class} has no boxes"),
        many => {
            let rest = if many.len() > SHOWN { ", ..." } else { "" };
            let shown = many[..many.len().min(SHOWN)].join(", ");
            format!(
                "{} of {} classes have no boxes: {shown}{rest}",
                many.len(),
                classes.len()
            )
        }
    };
    Some(Finding::note(file, text))
}
