//! One pyramid level: the picture, its boxes and the points of the level.

use aweigh_train::explain::{LevelRoles, PointRole};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::layout::Layout;
use super::sheets::Sheets;
use crate::colour::{DARK, FAINT, WHITE, box_colour};
use crate::pen::Pen;
use crate::plates::{Plate, place};

/// How far the picture is moved towards white, so that marks stand out.
const PALE: f32 = 0.5;

/// What the network input holds outside of the picture.
pub(super) const PADDING: Rgb<u8> = Rgb([222; 3]);

/// Largest and smallest radius of a mark, in pixels.
const RADIUS: [f32; 2] = [1.3, 7.0];

/// Smallest radius of a mark with a white edge, in pixels.
const EDGED: f32 = 4.0;

/// Distance between the lines of an ignore region, in pixels.
const HATCH: i32 = 12;

/// The network input in grey and pale.
pub(super) fn background(sheets: &Sheets<'_>, layout: &Layout) -> RgbImage {
    let [height, width] = sheets
        .explained
        .meta
        .frame
        .size
        .map(|side| layout.pixels(side));
    let scaled = imageops::resize(sheets.picture, width, height, FilterType::Triangle);
    let [width, height] = layout.panel;
    let mut canvas = RgbImage::from_pixel(width, height, PADDING);
    // Rounding may make the picture a pixel larger than the panel.
    let within = |(x, y, _): &(u32, u32, &Rgb<u8>)| *x < width && *y < height;
    for (x, y, pixel) in scaled.enumerate_pixels().filter(within) {
        let [r, g, b] = pixel.0.map(f32::from);
        let grey = 0.299 * r + 0.587 * g + 0.114 * b;
        let pale = grey + (255.0 - grey) * PALE;
        canvas.put_pixel(x, y, Rgb([pale as u8; 3]));
    }
    canvas
}

/// The line above a panel: the name of the level, and what its points do.
pub(super) fn title(name: &str, level: &LevelRoles) -> String {
    let positive = level.count(|role| matches!(role, PointRole::Positive { .. }));
    let ignored = level.count(|role| role == PointRole::Ignored);
    let (stride, all) = (level.shape.stride, level.roles.len());
    let text = format!("{name}, stride {stride}: {positive} of {all} learn a box");
    match ignored {
        0 => text,
        ignored => format!("{text}, {ignored} ignored"),
    }
}

/// A level on the `background`.
pub(super) fn draw(
    sheets: &Sheets<'_>,
    layout: &Layout,
    level: &LevelRoles,
    background: &RgbImage,
) -> RgbImage {
    let mut picture = background.clone();
    let mut pen = Pen {
        picture: &mut picture,
    };
    let truth = &sheets.explained.truth;
    let unit = layout.unit as i32;
    for region in &truth.ignore {
        pen.hatch(layout.scaled(*region), HATCH * unit, FAINT);
        pen.frame(layout.scaled(*region), unit, FAINT, 1.0);
    }
    let boxes = || {
        truth
            .boxes
            .iter()
            .map(|bbox| layout.scaled(*bbox))
            .enumerate()
    };
    for (slot, bbox) in boxes() {
        let (line, opacity) = match level.trained_by(slot) {
            0 => (unit, 0.7),
            _ => (thick(bbox, layout), 1.0),
        };
        pen.frame(bbox, line, box_colour(slot), opacity);
    }
    // Numbers before marks: a number must not hide the only point of a small box.
    let letters = sheets.small_letters(layout);
    let plates = boxes().map(|(slot, bbox)| Plate {
        bbox: bbox.map(|side| side.round() as i32),
        size: letters.plate(&slot.to_string()),
    });
    let corners = place(&plates.collect::<Vec<_>>(), pen.size());
    for (slot, corner) in corners.into_iter().enumerate().rev() {
        pen.plate(corner, &slot.to_string(), letters, box_colour(slot));
    }
    draw_points(&mut pen, layout, level);
    picture
}

/// The line of a box that trains the level: not so thick that it fills a small box.
fn thick([x1, y1, x2, y2]: [f32; 4], layout: &Layout) -> i32 {
    let shorter = (x2 - x1).min(y2 - y1);
    ((shorter / 10.0) as i32).clamp(1, 3 * layout.unit as i32)
}

/// The marks of all points, those that learn a box on top.
fn draw_points(pen: &mut Pen<'_>, layout: &Layout, level: &LevelRoles) {
    let marks = Marks::new(level, layout);
    for layer in 0..=3 {
        for (index, role) in level.roles.iter().enumerate() {
            if depth(*role) == layer {
                marks.draw(pen, marks.place(level, index, layout), *role);
            }
        }
    }
}

/// The layer of a role, the lowest first.
fn depth(role: PointRole) -> usize {
    match role {
        PointRole::Background => 0,
        PointRole::Ignored | PointRole::Shadowed => 1,
        PointRole::OtherLevel { .. } => 2,
        PointRole::Positive { .. } => 3,
    }
}

/// Size and arrangement of the marks of a level.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    radius: f32,
    /// Marks of one cell along each axis.
    side: usize,
    /// Distance between the marks of a cell, in pixels.
    pitch: f32,
}

impl Marks {
    fn new(level: &LevelRoles, layout: &Layout) -> Self {
        let spacing = level.shape.stride as f32 * layout.zoom;
        // Several anchors of a cell share its point: they are drawn side by side.
        let side = anchors_per_point(level).isqrt().max(1);
        let side = if side * side < anchors_per_point(level) {
            side + 1
        } else {
            side
        };
        let pitch = spacing / side as f32;
        let [smallest, largest] = RADIUS;
        Self {
            radius: (0.36 * pitch).clamp(smallest, largest * layout.unit as f32),
            side,
            pitch: if side > 1 { 0.85 * pitch } else { pitch },
        }
    }

    /// The marks of the legend.
    pub(super) fn of_legend(layout: &Layout) -> Self {
        Self {
            radius: 6.0 * layout.unit as f32,
            side: 1,
            pitch: 0.0,
        }
    }

    /// Where the mark of a point goes.
    fn place(&self, level: &LevelRoles, index: usize, layout: &Layout) -> [f32; 2] {
        let anchor = index / level.shape.points();
        let middle = (self.side - 1) as f32 / 2.0;
        let [x, y] = level.points[index].map(|c| c * layout.zoom);
        let column = (anchor % self.side) as f32 - middle;
        let row = (anchor / self.side) as f32 - middle;
        [x + column * self.pitch, y + row * self.pitch]
    }

    /// Draws the mark of a role.
    pub(super) fn draw(&self, pen: &mut Pen<'_>, at: [f32; 2], role: PointRole) {
        let radius = self.radius;
        let line = (radius / 3.0).max(1.0);
        match role {
            PointRole::Background => pen.disc(at, (0.22 * radius).max(0.6), DARK),
            PointRole::Ignored => pen.cross(at, 0.65 * radius, 0.7 * line, DARK),
            PointRole::Shadowed => pen.ring(at, 0.5 * radius, 0.7 * line, DARK),
            PointRole::OtherLevel { slot } => {
                pen.ring(at, radius, line, box_colour(slot));
            }
            PointRole::Positive { slot } => {
                if radius >= EDGED {
                    pen.disc(at, radius + 0.8, WHITE);
                }
                pen.disc(at, radius, box_colour(slot));
            }
        }
    }
}

/// Anchors that share a point; 1 of a method without anchors.
pub(super) fn anchors_per_point(level: &LevelRoles) -> usize {
    level.roles.len() / level.shape.points()
}
