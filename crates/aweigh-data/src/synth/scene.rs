//! One image: background, objects and their annotations.

use aweigh_geometry::boxes::xywh_to_xyxy;

use super::background;
use super::canvas::{Canvas, Mask, NOBODY};
use super::config::{Split, SynthConfig};
use super::shapes::{Outline, Shape};
use crate::random::Stream;

/// Ranges of the longer side in pixels, with their share of the objects in percent. The tips of a
/// small star cover less than half of a pixel, so 10 px are drawn where 8 px shall be visible.
const SIZE_CLASSES: [([f64; 2], usize); 5] = [
    ([10.0, 16.0], 8),
    ([16.0, 32.0], 30),
    ([32.0, 64.0], 37),
    ([64.0, 110.0], 18),
    ([110.0, 200.0], 7),
];
/// An object stays visible to more than this share of its pixels.
const VISIBLE: f64 = 0.6;
/// An object of fewer pixels is not covered at all: too little of it would be left to tell its class.
const UNCOVERED: usize = 200;
/// Distance in RGB between an object and what lies below it.
const CONTRAST: i32 = 100;
/// Largest deviation of an object's colour from its shape's own, per channel.
const VARIATION: i32 = 40;

/// Attempts at a place or a colour.
const ATTEMPTS: usize = 24;

/// What an image holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Only a background.
    Empty,
    /// Single objects.
    Objects,
    /// A crowd region and single objects.
    WithCrowd,
}

/// An annotation, before it gets its ids.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    pub(crate) shape: Shape,
    /// `[x, y, w, h]` in whole pixels, tight around what is visible.
    pub(crate) bbox: [usize; 4],
    /// Visible pixels.
    pub(crate) area: usize,
    pub(crate) crowd: bool,
}

/// A single object without a place.
struct Drawn {
    shape: Shape,
    /// Length of the longer side, in pixels.
    side: f64,
}

/// A single object that has a place.
struct Placed {
    shape: Shape,
    /// Pixels, whether visible or not.
    area: usize,
}

/// A finished image.
pub(crate) struct Scene {
    pub(crate) canvas: Canvas,
    pub(crate) objects: Vec<Object>,
}

/// Draws one image of a set. It depends on the seed, the set and the number alone.
pub(super) fn numbered(config: &SynthConfig, split: Split, index: usize) -> Scene {
    let mut random = Stream::new(config.seed, split.topic(), 0, index as u64);
    let content = match index {
        _ if index % 25 == 12 => Content::Empty,
        _ if index % 16 == 7 => Content::WithCrowd,
        _ => Content::Objects,
    };
    draw([config.height, config.width], content, &mut random)
}

fn draw(size: [usize; 2], content: Content, random: &mut Stream) -> Scene {
    let mut canvas = background::draw(size, random);
    let mut objects = Vec::new();
    if content == Content::WithCrowd {
        objects.push(draw_crowd(&mut canvas, random));
    }
    if content != Content::Empty {
        objects.extend(draw_objects(&mut canvas, random));
    }
    Scene { canvas, objects }
}

/// Two to six objects, the larger ones first, so that the smaller ones lie on top.
fn draw_objects(canvas: &mut Canvas, random: &mut Stream) -> Vec<Object> {
    let limit = 0.95 * canvas.size()[0].min(canvas.size()[1]) as f64;
    let count = 2 + random.below(5);
    let mut sides: Vec<f64> = (0..count).map(|_| side(random).min(limit)).collect();
    sides.sort_by(|a, b| b.total_cmp(a));
    let mut placed: Vec<Placed> = Vec::new();
    for side in sides {
        let shape = Shape::ALL[random.below(Shape::ALL.len())];
        if let Some(mask) = place(canvas, Drawn { shape, side }, &placed, random) {
            let color = contrasting(canvas, &mask, shape, random);
            let area = mask.solid().count();
            placed.push(Placed { shape, area });
            canvas.paint(&mask, color, owner(placed.len()));
        }
    }
    let extents = (1..=placed.len()).map(|number| canvas.extent(owner(number)));
    let objects = placed.iter().zip(extents).filter_map(|(object, extent)| {
        let (bbox, area) = extent?;
        Some(Object {
            shape: object.shape,
            bbox,
            area,
            crowd: false,
        })
    });
    objects.collect()
}

/// The mark of the n-th single object, from 1.
fn owner(number: usize) -> u16 {
    number as u16
}

/// The mark of a crowd region.
const CROWD: u16 = u16::MAX;

fn side(random: &mut Stream) -> f64 {
    let mut draw = random.below(SIZE_CLASSES.iter().map(|class| class.1).sum());
    for ([low, high], share) in SIZE_CLASSES {
        if draw < share {
            return random.range(low, high);
        }
        draw -= share;
    }
    unreachable!("the draw is below the sum of the shares")
}

/// Looks for a place inside the image where every earlier object stays visible enough.
fn place(
    canvas: &Canvas,
    Drawn { shape, side }: Drawn,
    placed: &[Placed],
    random: &mut Stream,
) -> Option<Mask> {
    let [height, width] = canvas.size();
    // Tangent of half of up to 20 degrees.
    let turn = random.range(-0.176, 0.176);
    (0..ATTEMPTS).find_map(|_| {
        let x = random.range(0.0, width as f64 - side);
        let y = random.range(0.0, height as f64 - side);
        let mask = Mask::new(&Outline::new(shape, turn, side, [x, y]), canvas.size());
        leaves_visible(canvas, &mask, placed).then_some(mask)
    })
}

/// Whether every earlier object stays visible enough below a new one; crowds are not covered.
fn leaves_visible(canvas: &Canvas, mask: &Mask, placed: &[Placed]) -> bool {
    let mut visible: Vec<usize> = vec![0; placed.len()];
    for (number, visible) in visible.iter_mut().enumerate() {
        *visible = canvas
            .extent(owner(number + 1))
            .map_or(0, |extent| extent.1);
    }
    for place in mask.solid() {
        match canvas.owner(place) {
            NOBODY => {}
            CROWD => return false,
            owner => visible[usize::from(owner) - 1] -= 1,
        }
    }
    visible.iter().zip(placed).all(|(&visible, object)| {
        let whole = object.area;
        visible == whole || (whole >= UNCOVERED && visible as f64 > VISIBLE * whole as f64)
    })
}

/// A colour near the shape's own that stands out from every pixel below the object; the best of
/// some attempts if none stands out enough.
fn contrasting(canvas: &Canvas, mask: &Mask, shape: Shape, random: &mut Stream) -> [u8; 3] {
    let solid: Vec<usize> = mask.solid().collect();
    let step = (solid.len() / 64).max(1);
    let below: Vec<[u8; 3]> = solid
        .iter()
        .step_by(step)
        .map(|&at| canvas.color(at))
        .collect();
    let mut best = ([0; 3], -1);
    for _ in 0..ATTEMPTS {
        let vary =
            |value: u8| (i32::from(value) + random.integer(-VARIATION, VARIATION)).clamp(0, 255);
        let color = shape.color().map(vary).map(|value| value as u8);
        let nearest = below
            .iter()
            .map(|other| distance(color, *other))
            .min()
            .unwrap_or(i32::MAX);
        if nearest > best.1 {
            best = (color, nearest);
        }
        if best.1 >= CONTRAST * CONTRAST {
            break;
        }
    }
    best.0
}

/// Squared Euclidean distance in RGB.
fn distance(a: [u8; 3], b: [u8; 3]) -> i32 {
    let square = |(a, b): (u8, u8)| (i32::from(a) - i32::from(b)).pow(2);
    a.into_iter().zip(b).map(square).sum()
}

/// Ten to sixteen small objects of one class, close together, annotated as one region.
fn draw_crowd(canvas: &mut Canvas, random: &mut Stream) -> Object {
    let [height, width] = canvas.size();
    let shape = Shape::ALL[random.below(Shape::ALL.len())];
    let region = [random.range(44.0, 60.0), random.range(44.0, 60.0)];
    let left = random.range(0.0, width as f64 - region[0]);
    let top = random.range(0.0, height as f64 - region[1]);
    for _ in 0..10 + random.below(7) {
        let side = random.range(10.0, 14.0);
        let x = left + random.range(0.0, region[0] - side);
        let y = top + random.range(0.0, region[1] - side);
        let mask = Mask::new(&Outline::new(shape, 0.0, side, [x, y]), canvas.size());
        let color = contrasting(canvas, &mask, shape, random);
        canvas.paint(&mask, color, CROWD);
    }
    let (bbox, area) = canvas.extent(CROWD).expect("a crowd has members");
    canvas.claim(xywh_to_xyxy(bbox), CROWD);
    Object {
        shape,
        bbox,
        area,
        crowd: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Topic;

    fn scene(content: Content, index: u64) -> Scene {
        let mut random = Stream::new(1, Topic::SynthVal, 0, index);
        draw([224, 256], content, &mut random)
    }

    #[test]
    fn contents() {
        let check = |content, expected: fn(&[Object]) -> bool| {
            for index in 0..10 {
                let objects = scene(content, index).objects;
                assert!(expected(&objects), "{content:?} {index}: {objects:?}");
            }
        };
        check(Content::Empty, |objects| objects.is_empty());
        check(Content::Objects, |objects| {
            !objects.is_empty() && objects.iter().all(|object| !object.crowd)
        });
        check(Content::WithCrowd, |objects| {
            objects.iter().filter(|object| object.crowd).count() == 1
        });
    }

    #[test]
    fn sizes_cover_the_range_and_every_class_occurs() {
        let objects: Vec<Object> = (0..150)
            .flat_map(|index| scene(Content::Objects, index).objects)
            .collect();
        let sides = || {
            objects
                .iter()
                .map(|object| object.bbox[2].max(object.bbox[3]))
        };
        assert!(sides().min() >= Some(8) && sides().min() < Some(12));
        assert!(sides().max() <= Some(200) && sides().max() > Some(150));
        for shape in Shape::ALL {
            let count = objects
                .iter()
                .filter(|object| object.shape == shape)
                .count();
            assert!(count * 10 > objects.len(), "{shape:?}: {count}");
        }
        for object in &objects {
            let [x, y, w, h] = object.bbox;
            assert!(
                x + w <= 256 && y + h <= 224 && object.area > 0,
                "{object:?}"
            );
        }
    }
}
