//! Lines of text for pictures.
//!
//! The font that is compiled in has Latin, Greek, Cyrillic, Armenian, Georgian, Hebrew and Arabic
//! letters; those of other scripts come from the fonts of the system. Letters stand one after
//! another, right-to-left text from the right. They are not joined or rearranged, so Arabic and the
//! scripts of India have the shapes of their letters alone.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

use ab_glyph::{Font, FontArc, FontRef, FontVec, Glyph, PxScale, point};
use fontdb::{Database, FaceInfo, Style};
use unicode_bidi::BidiInfo;

const COMPILED_IN: &[u8] = include_bytes!("../assets/DejaVuSansCondensed-Bold.ttf");

/// Stands for what is left out.
const ELLIPSIS: char = '…';

/// The font that is compiled in, and those of the system for the letters that it lacks.
#[derive(Debug)]
pub(crate) struct Fonts {
    compiled_in: FontArc,
    /// Searching the system takes a while: only for the first letter that is missing.
    system: OnceCell<Database>,
    /// Fonts of the system that some letter came from.
    opened: RefCell<Vec<FontArc>>,
    /// The font of each letter met so far.
    of: RefCell<HashMap<char, Option<FontArc>>>,
}

impl Fonts {
    /// All fonts that there are.
    pub(crate) fn new() -> Self {
        let compiled_in = FontRef::try_from_slice(COMPILED_IN).expect("the file is a font");
        Self {
            compiled_in: compiled_in.into(),
            system: OnceCell::new(),
            opened: RefCell::default(),
            of: RefCell::default(),
        }
    }

    /// Whether there are letters in `text`, and a font for each of them.
    pub(crate) fn have(&self, text: &str) -> bool {
        let mut letters = visible(text).filter(|c| *c != ' ').peekable();
        letters.peek().is_some() && letters.all(|letter| self.font(letter).is_some())
    }

    fn font(&self, letter: char) -> Option<FontArc> {
        if let Some(known) = self.of.borrow().get(&letter) {
            return known.clone();
        }
        let found = self.search(letter);
        self.of.borrow_mut().insert(letter, found.clone());
        found
    }

    fn search(&self, letter: char) -> Option<FontArc> {
        if has(&self.compiled_in, letter) {
            return Some(self.compiled_in.clone());
        }
        // The letters of a word should come from one font.
        let opened = self
            .opened
            .borrow()
            .iter()
            .find(|f| has(f, letter))
            .cloned();
        opened.or_else(|| {
            let system = self.system.get_or_init(system_fonts);
            let font = from_system(system, letter)?;
            self.opened.borrow_mut().push(font.clone());
            Some(font)
        })
    }
}

/// Whether `font` can draw `letter`: fonts of coloured emoji have pictures in place of outlines.
fn has(font: &impl Font, letter: char) -> bool {
    let glyph = font.glyph_id(letter);
    glyph.0 != 0 && (letter == ' ' || font.outline(glyph).is_some())
}

fn system_fonts() -> Database {
    let mut system = Database::new();
    system.load_system_fonts();
    system
}

/// The font of the system that suits the compiled-in one best among those that have `letter`.
fn from_system(system: &Database, letter: char) -> Option<FontArc> {
    let mut faces: Vec<&FaceInfo> = system
        .faces()
        .filter(|face| !is_last_resort(face))
        .collect();
    faces.sort_by_key(|face| {
        let plain = face.style == Style::Normal && !face.monospaced;
        let sans = face.post_script_name.contains("Sans");
        let weight = face.weight.0.abs_diff(fontdb::Weight::BOLD.0);
        // The name last: which file the system lists first must not matter.
        (!plain, !sans, weight, &face.post_script_name)
    });
    faces.into_iter().find_map(|face| {
        let open = |data: &[u8], index| {
            let font = FontRef::try_from_slice_and_index(data, index).ok()?;
            has(&font, letter).then(|| FontVec::try_from_vec_and_index(data.to_vec(), index))
        };
        let font = system.with_face_data(face.id, open)??;
        font.ok().map(FontArc::new)
    })
}

/// Whether a font has nothing but boxes, and those for every letter.
fn is_last_resort(face: &FaceInfo) -> bool {
    face.post_script_name.contains("LastResort")
}

/// Letters of one size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Letters<'a> {
    fonts: &'a Fonts,
    rows: i32,
}

impl<'a> Letters<'a> {
    /// Letters whose lines are `rows` pixels high, from the top of an accent on a capital to the
    /// bottom of a `g`.
    pub(crate) fn new(fonts: &'a Fonts, rows: u32) -> Self {
        let rows = rows as i32;
        Self { fonts, rows }
    }

    /// Height of a line, in pixels.
    pub(crate) fn height(self) -> i32 {
        self.rows
    }

    /// Distance from a line to the next, in pixels.
    pub(crate) fn line(self) -> i32 {
        self.rows * 5 / 4
    }

    /// Width of a line of text, in pixels.
    pub(crate) fn width(self, text: &str) -> i32 {
        let advances = visible(text).map(|letter| self.advance(letter));
        advances.sum::<f32>().ceil() as i32
    }

    /// Width and height of a plate with `text`, in pixels.
    pub(crate) fn plate(self, text: &str) -> [i32; 2] {
        [self.width(text) + 2 * self.margin(), self.rows]
    }

    /// Space between a text and the sides of its plate, in pixels.
    pub(crate) fn margin(self) -> i32 {
        self.rows / 7 + 1
    }

    /// `text`, or so much of its beginning as there is room for in `width` pixels with an ellipsis;
    /// nothing where even that has no room.
    pub(crate) fn shortened(self, text: &str, width: i32) -> String {
        if self.width(text) <= width {
            return text.to_owned();
        }
        let mut used = self.advance(ELLIPSIS);
        if used > width as f32 {
            return String::new();
        }
        let fits = |letter: &char| {
            used += self.advance(*letter);
            used <= width as f32
        };
        let mut kept: String = visible(text).take_while(fits).collect();
        kept.truncate(kept.trim_end().len());
        kept.push(ELLIPSIS);
        kept
    }

    /// Calls `paint` for the pixels of a line of text whose upper left corner is at `x`, `y`, with
    /// the part of each pixel that is covered, from 0 to 1.
    pub(crate) fn draw(self, text: &str, [x, y]: [i32; 2], mut paint: impl FnMut([i32; 2], f32)) {
        let mut at = point(x as f32, y as f32 + self.ascent());
        for letter in in_visual_order(text).chars() {
            let (font, glyph) = self.glyph(letter);
            let glyph = Glyph {
                position: at,
                ..glyph
            };
            at.x += self.advance(letter);
            if let Some(outlined) = font.outline_glyph(glyph) {
                let corner = outlined.px_bounds().min;
                let [left, top] = [corner.x as i32, corner.y as i32];
                outlined.draw(|dx, dy, part| paint([left + dx as i32, top + dy as i32], part));
            }
        }
    }

    /// Distance from the top of a line to the feet of its letters, in pixels.
    fn ascent(self) -> f32 {
        let font = &self.fonts.compiled_in;
        self.rows as f32 * font.ascent_unscaled() / font.height_unscaled()
    }

    fn advance(self, letter: char) -> f32 {
        let (font, glyph) = self.glyph(letter);
        font.h_advance_unscaled(glyph.id) * glyph.scale.x / font.height_unscaled()
    }

    /// The glyph of a letter, as large in every font; an empty box where no font has it.
    fn glyph(self, letter: char) -> (FontArc, Glyph) {
        let compiled_in = &self.fonts.compiled_in;
        let font = self
            .fonts
            .font(letter)
            .unwrap_or_else(|| compiled_in.clone());
        let em_per_height = |font: &FontArc| {
            font.units_per_em().unwrap_or(font.height_unscaled()) / font.height_unscaled()
        };
        let scale = self.rows as f32 * em_per_height(compiled_in) / em_per_height(&font);
        let glyph = font.glyph_id(letter).with_scale(PxScale::from(scale));
        (font, glyph)
    }
}

/// The letters of a text as one line: line ends and other controls are spaces, marks that only say
/// how to show their neighbours are left out.
fn visible(text: &str) -> impl Iterator<Item = char> {
    let letters = text.chars().filter(|letter| !is_hint(*letter));
    letters.map(|letter| {
        if letter.is_whitespace() || letter.is_control() {
            ' '
        } else {
            letter
        }
    })
}

/// Whether a character has no shape of its own: soft hyphens, joiners, marks of direction,
/// variation selectors, tags (of Unicode's default-ignorable characters those in use).
fn is_hint(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// The visible letters from left to right.
fn in_visual_order(text: &str) -> String {
    let line: String = visible(text).collect();
    let info = BidiInfo::new(&line, None);
    let parts = info.paragraphs.iter();
    parts
        .map(|part| info.reorder_line(part, part.range.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Fonts {
        /// The compiled-in font alone, so that tests draw the same on every machine.
        pub(crate) fn without_system() -> Self {
            let system = OnceCell::from(Database::new());
            Self {
                system,
                ..Self::new()
            }
        }
    }

    #[test]
    fn letters_of_many_scripts_have_a_font() {
        let fonts = Fonts::without_system();
        let check = |text: &str, expected| assert_eq!(fonts.have(text), expected, "{text:?}");
        check("cat 0.87", true);
        check(
            "Straßenbahn, Ångström, naïve, čeština, İzmir, tiếng Việt",
            true,
        );
        check("σκύλος", true);
        check("собака Ёж їжак", true);
        check("կատու, კატა, חתול, قطة", true);
        check("no\nline\tends\0", true);
        check("cafe\u{301} \u{feff}\u{200d}", true);
        check("图", false);
        check("cat 猫", false);
        check("🚲", false);
        // Nothing to see.
        check("", false);
        check(" \n", false);
        check("\u{200b}", false);
    }

    #[test]
    fn wider_texts_have_more_letters() {
        let fonts = Fonts::without_system();
        let letters = Letters::new(&fonts, 20);
        let check = |a: &str, b: &str| assert!(letters.width(a) < letters.width(b), "{a}, {b}");
        check("", "i");
        check("i", "m");
        check("cat", "cats");
        check("собак", "собака");
        assert_eq!(letters.width("0123"), letters.width("9876"));
        assert_eq!(letters.width("a\u{301}"), letters.width("a"));
        assert_eq!(letters.width("a\u{200b}b"), letters.width("ab"));
        assert_eq!(letters.width("a\nb"), letters.width("a b"));
    }

    #[test]
    fn what_has_no_room_is_an_ellipsis() {
        let fonts = Fonts::without_system();
        let letters = Letters::new(&fonts, 20);
        let check = |text: &str, room: &str, expected: &str| {
            let width = letters.width(room);
            assert_eq!(letters.shortened(text, width), expected, "{text} in {room}");
        };
        check("собака", "собака", "собака");
        check("собака", "соб…", "соб…");
        check("ab cdefgh", "ab …", "ab…");
        check("собака", "…", "…");
        check("собака", "i", "");
        check("", "", "");
    }

    #[test]
    fn right_to_left_text_begins_on_the_right() {
        let check = |text: &str, expected| assert_eq!(in_visual_order(text), expected, "{text}");
        check("abc", "abc");
        check("אבג", "גבא");
        check("cat אב", "cat בא");
        check("אב 0.87", "0.87 בא");
        check("", "");
        check("a\u{2029}b", "a b");
    }

    /// The bounding rectangle of the pixels of a text at 0, 0.
    fn drawn(letters: Letters<'_>, text: &str) -> Option<[i32; 4]> {
        let mut area: Option<[i32; 4]> = None;
        letters.draw(text, [0, 0], |[x, y], part| {
            if part > 0.1 {
                let [x1, y1, x2, y2] = area.unwrap_or([x, y, x + 1, y + 1]);
                area = Some([x1.min(x), y1.min(y), x2.max(x + 1), y2.max(y + 1)]);
            }
        });
        area
    }

    #[test]
    fn letters_fill_their_line() {
        let fonts = Fonts::without_system();
        for rows in [9, 20, 100] {
            let letters = Letters::new(&fonts, rows);
            for text in ["Ég", "Йд", "Σξ", "0.87", "🚲", "图"] {
                let [x1, y1, x2, y2] = drawn(letters, text).expect("something is drawn");
                let inside = x1 >= 0 && x2 <= letters.width(text) + 1;
                let inside = inside && y1 >= 0 && y2 <= rows as i32;
                assert!(inside, "{text} of {rows}: {:?}", [x1, y1, x2, y2]);
                assert!(y2 - y1 > rows as i32 / 2, "{text} of {rows}");
            }
            assert_eq!(drawn(letters, " \n"), None);
        }
    }
}
