//! Marks at boxes are followed through every augmentation.

use std::borrow::Cow;

use aweigh_geometry::HostTruth;

use super::scene::{GREY, Visible};
use super::*;
use crate::DecodedImage;
use crate::resize::Resize;

const BACKGROUND: [u8; 3] = [60, 60, 60];

/// The colour of the box of each label; the last is that of ignore regions.
const COLOURS: [[u8; 3]; 4] = [[240, 20, 20], [20, 240, 20], [220, 220, 20], [20, 20, 240]];

const IGNORED: [u8; 3] = COLOURS[3];

/// Height and width of a marked scene.
const SIZE: [usize; 2] = [90, 120];

/// An image with a box of each label and an ignore region, each filled with its colour.
fn marked() -> Scene<'static> {
    let truth = HostTruth {
        boxes: vec![
            [8.0, 10.0, 40.0, 30.0],
            [70.0, 5.0, 110.0, 50.0],
            [15.0, 50.0, 35.0, 82.0],
        ],
        labels: vec![0, 1, 2],
        ignore: vec![[60.0, 62.0, 105.0, 84.0]],
    };
    let inside = |bbox: &[f32; 4], x: usize, y: usize| {
        let (x, y) = (x as f32, y as f32);
        bbox[0] <= x && x < bbox[2] && bbox[1] <= y && y < bbox[3]
    };
    let all = [&truth.boxes[..], &truth.ignore[..]].concat();
    let colour = |x, y| {
        let at = all.iter().position(|bbox| inside(bbox, x, y));
        at.map_or(BACKGROUND, |at| COLOURS[at])
    };
    let [height, width] = SIZE;
    let pixels = (0..height).flat_map(|y| (0..width).flat_map(move |x| colour(x, y)));
    let image = Cow::Owned(DecodedImage::made(SIZE, pixels.collect()));
    Scene { image, truth }
}

/// Checks that every box has its mark, edge by edge, and every visible mark its box.
fn check_marks(scene: &Scene<'_>, name: &str) {
    let regions = scene.truth.boxes.iter().zip(&scene.truth.labels);
    let regions = regions.map(|(bbox, label)| (*bbox, COLOURS[*label]));
    let ignored = scene.truth.ignore.iter().map(|bbox| (*bbox, IGNORED));
    for (bbox, colour) in regions.chain(ignored) {
        let found = extent(scene, bbox, colour);
        let errors = [0, 1, 2, 3].map(|side| (found[side] - bbox[side]).abs());
        let near = errors.iter().all(|error| *error <= 1.0);
        assert!(near, "{name}: {colour:?} is at {found:?}, its box {bbox:?}");
    }
}

/// The mark of a colour around the centre of a box.
fn extent(scene: &Scene<'_>, bbox: [f32; 4], colour: [u8; 3]) -> [f32; 4] {
    let [height, width] = scene.size().map(|side| side as isize);
    let at = [(bbox[0] + bbox[2]) / 2.0, (bbox[1] + bbox[3]) / 2.0].map(|side| side as isize);
    let walk = |[dx, dy]: [isize; 2]| {
        let [mut x, mut y] = at;
        while (0..width).contains(&x) && (0..height).contains(&y) {
            if !is_marked(scene, [x as usize, y as usize], colour) {
                break;
            }
            (x, y) = (x + dx, y + dy);
        }
        (x, y)
    };
    [
        walk([-1, 0]).0 as f32 + 1.0,
        walk([0, -1]).1 as f32 + 1.0,
        walk([1, 0]).0 as f32,
        walk([0, 1]).1 as f32,
    ]
}

/// Whether a pixel is more of this colour than of any other.
fn is_marked(scene: &Scene<'_>, [x, y]: [usize; 2], colour: [u8; 3]) -> bool {
    let pixel = &scene.image.pixels[3 * (y * scene.image.width + x)..][..3];
    let away = |from: [u8; 3]| -> u32 {
        let levels = pixel.iter().zip(from);
        levels.map(|(a, b)| u32::from(a.abs_diff(b))).sum()
    };
    let others = COLOURS.into_iter().chain([BACKGROUND, [GREY; 3]]);
    others
        .filter(|other| *other != colour)
        .all(|other| away(colour) < away(other))
}

fn stream(index: usize) -> Stream {
    Stream::new(5, Topic::Mosaic, 0, index as u64)
}

#[test]
fn boxes_follow_turns_and_flips() {
    for orientation in TURNS.into_iter().chain([UPSIDE_DOWN, 2]) {
        let turned = marked().turn(orientation);
        assert_eq!(turned.truth.labels, [0, 1, 2]);
        check_marks(&turned, &format!("orientation {orientation}"));
    }
}

#[test]
fn boxes_follow_resizes() {
    for kind in [Resize::Bilinear, Resize::Area] {
        for size in [[45, 60], [71, 95], [90, 120], [200, 170]] {
            check_marks(&marked().resize(size, kind), &format!("{kind:?} {size:?}"));
        }
    }
}

#[test]
fn a_crop_keeps_what_is_visible() {
    let check = |at, size, boxes: &[[f32; 4]], ignore: &[[f32; 4]]| {
        let cropped = marked().crop(at, size);
        assert_eq!(cropped.truth.boxes, boxes, "{at:?}");
        assert_eq!(cropped.truth.ignore, ignore, "{at:?}");
        check_marks(&cropped, &format!("crop at {at:?}"));
    };
    check([0, 0], SIZE, &marked().truth.boxes, &marked().truth.ignore);
    check(
        [20, 30],
        [50, 60],
        &[
            [0.0, 0.0, 10.0, 10.0],
            [40.0, 0.0, 60.0, 30.0],
            [0.0, 30.0, 5.0, 50.0],
        ],
        &[[30.0, 42.0, 60.0, 50.0]],
    );
    check([30, 0], [20, 8], &[], &[]);
    check([0, 39], [20, 20], &[[0.0, 10.0, 1.0, 20.0]], &[]);
    check([0, 40], [20, 20], &[], &[]);
}

#[test]
fn a_box_must_be_visible_enough() {
    let kept = |left, visible| {
        let mut canvas = Scene::grey(SIZE);
        canvas.paste(&marked(), [0, left], visible);
        canvas.truth.labels
    };
    // Of box 2, which is 20 pixels wide and begins at 15, 4 or 5 are left.
    assert_eq!(kept(-31, Visible::Above(0.2)), [0, 1]);
    assert_eq!(kept(-30, Visible::Above(0.2)), [0, 1, 2]);
    assert_eq!(kept(-31, Visible::Any), [0, 1, 2]);
    assert_eq!(kept(-35, Visible::Any), [0, 1]);
    assert!(kept(-120, Visible::Any).is_empty());
}

#[test]
fn boxes_follow_crops_with_a_least_overlap() {
    let config = MinIouCrop::default();
    let mut cropped = 0;
    for index in 0..100 {
        if let Some(crop) = config.draw(&marked(), &mut stream(index)) {
            let scene = crop.apply(marked());
            assert!(!scene.truth.boxes.is_empty() || !scene.truth.ignore.is_empty());
            check_marks(&scene, &format!("crop {index}"));
            cropped += 1;
        }
    }
    // One in seven is the image as it is, and crops that cannot be found add to them.
    assert!((40..95).contains(&cropped), "{cropped} of 100");
}

#[test]
fn boxes_follow_large_scale_jitter() {
    let transform = TransformConfig {
        short_edge: 80,
        long_edge: 100,
        ..TransformConfig::default()
    };
    for size in [None, Some(96)] {
        let jitter = LargeScaleJitter {
            range: [0.4, 2.0],
            size,
            ..LargeScaleJitter::default()
        };
        let target = jitter.target(&transform, SIZE);
        assert_eq!(target, size.map_or([80, 100], |side| [side as usize; 2]));
        let mut largest = [0, 0];
        for index in 0..50 {
            let scene = jitter.apply(marked(), &transform, &mut stream(index));
            check_marks(&scene, &format!("jitter {index}"));
            let now = scene.size();
            assert!(now[0] <= target[0] && now[1] <= target[1], "{now:?}");
            largest = [0, 1].map(|side| largest[side].max(now[side]));
        }
        assert_eq!(largest, target);
    }
}

#[test]
fn jitter_lies_or_stands_as_the_image_does() {
    let jitter = LargeScaleJitter::default();
    let transform = TransformConfig::default();
    assert_eq!(jitter.target(&transform, [480, 640]), [800, 1333]);
    assert_eq!(jitter.target(&transform, [640, 480]), [1333, 800]);
    assert_eq!(jitter.target(&transform, [480, 480]), [800, 1333]);
}

#[test]
fn boxes_follow_mosaics() {
    let mosaic = Mosaic::default();
    let mut boxes = 0;
    for index in 0..100 {
        let layout = mosaic.layout([96, 128], &mut stream(index));
        let mut made = Scene::grey([96, 128]);
        for quarter in 0..4 {
            layout.paste(&mut made, marked(), quarter, Resize::Bilinear);
        }
        check_marks(&made, &format!("mosaic {index}"));
        boxes += made.truth.boxes.len();
    }
    // At a zoom of 0.5 all twelve are seen, at 1 about three, at 1.5 one or two.
    assert!((200..800).contains(&boxes), "{boxes}");
}

#[test]
fn a_mosaic_of_half_the_scale_shows_four_images() {
    let mosaic = Mosaic {
        center: [1.0, 1.0],
        scale: [0.5, 0.5],
        ..Mosaic::default()
    };
    let layout = mosaic.layout(SIZE, &mut stream(0));
    let mut made = Scene::grey(SIZE);
    for quarter in 0..4 {
        layout.paste(&mut made, marked(), quarter, Resize::Bilinear);
    }
    assert_eq!((made.truth.boxes.len(), made.truth.ignore.len()), (12, 4));
    let half = marked().resize([45, 60], Resize::Bilinear);
    for [top, left] in [[0, 0], [0, 60], [45, 0], [45, 60]] {
        let part = made.clone().crop([top, left], [45, 60]);
        assert_eq!(part, half, "at {top}, {left}");
    }
}

#[test]
fn boxes_follow_mixtures() {
    for index in 0..60 {
        let mut first = marked().resize([84, 110], Resize::Bilinear);
        first.image.to_mut().pixels.fill(100);
        let own = first.truth.clone();
        let mut mixed =
            Mixup::default().apply(first, marked(), Resize::Bilinear, &mut stream(index));
        assert_eq!(mixed.size(), [84, 110]);
        assert_eq!(mixed.truth.boxes[..3], own.boxes);
        assert_eq!(mixed.truth.labels[..3], own.labels);
        assert_eq!(mixed.truth.ignore[..1], own.ignore);
        // What remains is the second image.
        mixed.truth.boxes.drain(..3);
        mixed.truth.labels.drain(..3);
        mixed.truth.ignore.drain(..1);
        let pixels = mixed.image.to_mut().pixels.iter_mut();
        pixels.for_each(|level| *level = (2 * u16::from(*level) - 100).min(255) as u8);
        check_marks(&mixed, &format!("mixture {index}"));
    }
}
