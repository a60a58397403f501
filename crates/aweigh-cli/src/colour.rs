//! Colours of boxes and of what is written on them.

use image::Rgb;

pub(crate) const BLACK: Rgb<u8> = Rgb([0; 3]);
pub(crate) const WHITE: Rgb<u8> = Rgb([255; 3]);
/// Marks that stand back.
pub(crate) const DARK: Rgb<u8> = Rgb([70; 3]);
/// Text and areas that stand further back.
pub(crate) const FAINT: Rgb<u8> = Rgb([125; 3]);
/// Text that must be seen.
pub(crate) const ALARM: Rgb<u8> = Rgb([190, 0, 0]);

/// The bright colour of a class; hues lie far apart for neighbouring classes.
pub(crate) fn class_colour(class: usize) -> Rgb<u8> {
    /// Green, the first class, is seen on most photographs.
    const FIRST: f64 = 0.33;
    let bright = |part: f64| (40.0 + 215.0 * part).round() as u8;
    Rgb(pure(FIRST + turn(class)).map(bright))
}

/// The colour of a box: hues far apart for neighbours, dark enough for a pale picture.
pub(crate) fn box_colour(slot: usize) -> Rgb<u8> {
    /// Brightest luma of a colour that stands out.
    const LUMA: f64 = 120.0;
    let pure = pure(turn(slot)).map(|part| 255.0 * part);
    let dim = (LUMA / luma(pure)).min(0.9);
    Rgb(pure.map(|value| (value * dim) as u8))
}

/// Black or white, whichever stands out more on `background`.
pub(crate) fn text_colour(background: Rgb<u8>) -> Rgb<u8> {
    // In whole thousandths, so that a grey of 128 is not brighter than itself.
    if (1000.0 * luma(background.0.map(f64::from))).round() > 128_000.0 {
        BLACK
    } else {
        WHITE
    }
}

/// Turns of the circle of hues up to the one numbered `index`.
fn turn(index: usize) -> f64 {
    /// Steps of the golden section never repeat and fill the circle evenly.
    const HUE_STEP: f64 = 0.618_033_988_749_895;
    index as f64 * HUE_STEP
}

/// The pure colour of a hue in turns, its channels from 0 to 1.
fn pure(hue: f64) -> [f64; 3] {
    let hue = hue.fract() * 6.0;
    [0.0, 4.0, 2.0].map(|shift| {
        let distance = ((hue + shift).rem_euclid(6.0) - 3.0).abs() - 1.0;
        distance.clamp(0.0, 1.0)
    })
}

/// Luma of BT.601.
fn luma([r, g, b]: [f64; 3]) -> f64 {
    0.299 * r + 0.587 * g + 0.114 * b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(a: Rgb<u8>, b: Rgb<u8>) -> u32 {
        let channels = a.0.into_iter().zip(b.0);
        channels.map(|(a, b)| u32::from(a.abs_diff(b))).sum()
    }

    #[test]
    fn neighbouring_classes_have_different_colours() {
        for class in 0..80 {
            let apart = distance(class_colour(class), class_colour(class + 1));
            assert!(apart > 150, "{class}");
        }
    }

    #[test]
    fn box_colours_differ_and_are_not_too_bright() {
        for slot in 0..100 {
            let colour = box_colour(slot);
            assert!(luma(colour.0.map(f64::from)) <= 120.0, "{slot}");
            assert!(distance(colour, box_colour(slot + 1)) > 100, "{slot}");
        }
    }

    #[test]
    fn text_stands_out() {
        assert_eq!(text_colour(Rgb([255, 255, 0])), BLACK);
        assert_eq!(text_colour(Rgb([0, 0, 255])), WHITE);
        assert_eq!(text_colour(Rgb([129; 3])), BLACK);
        assert_eq!(text_colour(Rgb([128; 3])), WHITE);
    }
}
