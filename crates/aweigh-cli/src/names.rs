//! Names of classes as pictures show them.

use aweigh_train::checkpoint::Class;

use crate::text::Fonts;

/// The names of `classes` on pictures: of one that no font has all letters of, the category id.
///
/// What the ids stand for is logged, since a picture could not say it.
pub(crate) fn on_pictures(classes: &[Class], fonts: &Fonts) -> Vec<String> {
    if let Some(legend) = legend(classes, fonts) {
        tracing::warn!("{legend}");
    }
    classes.iter().map(|class| name(class, fonts)).collect()
}

fn name(class: &Class, fonts: &Fonts) -> String {
    if fonts.have(&class.name) {
        class.name.clone()
    } else {
        format!("#{}", class.id)
    }
}

/// The ids that stand for names, except where there is no name.
fn legend(classes: &[Class], fonts: &Fonts) -> Option<String> {
    let numbered = classes
        .iter()
        .filter(|class| !class.name.trim().is_empty() && !fonts.have(&class.name))
        .map(|class| format!("#{} {:?}", class.id, class.name));
    let numbered: Vec<String> = numbered.collect();
    if numbered.is_empty() {
        return None;
    }
    Some(format!(
        "class names drawn as numbers, since no font on this machine has their letters: {}; \
         install a font of that script, such as one of Noto's",
        numbered.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], expected: &[&str], said: Option<&str>) {
        let fonts = Fonts::without_system();
        let ids = (7..).zip(names);
        let classes = ids.map(|(id, name)| Class {
            id,
            name: (*name).to_owned(),
        });
        let classes: Vec<Class> = classes.collect();
        let got: Vec<String> = classes.iter().map(|class| name(class, &fonts)).collect();
        assert_eq!(got, expected);
        let legend = legend(&classes, &fonts);
        assert_eq!(legend.is_some(), said.is_some(), "{legend:?}");
        if let (Some(legend), Some(said)) = (legend, said) {
            assert!(legend.contains(said), "{legend}");
        }
    }

    #[test]
    fn names_without_a_font_are_category_ids() {
        check(&[], &[], None);
        check(&["cat", "собака"], &["cat", "собака"], None);
        check(&["cat", "猫"], &["cat", "#8"], Some("letters: #8 \"猫\";"));
        check(
            &["猫", "cat", "dog 🐶"],
            &["#7", "cat", "#9"],
            Some("letters: #7 \"猫\", #9 \"dog 🐶\";"),
        );
        check(&["", " "], &["#7", "#8"], None);
    }
}
