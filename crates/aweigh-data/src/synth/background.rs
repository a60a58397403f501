//! Textured backgrounds.

use crate::random::Stream;

use super::canvas::Canvas;

/// Largest deviation of a texture from its base colour, per channel.
const AMPLITUDE: i32 = 24;

/// Largest deviation of a base colour from grey, per channel.
const SATURATION: i32 = 16;

/// Draws a greyish background: a gradient, smooth noise, stripes or a chequered pattern, in soft contrast.
pub(super) fn draw(size: [usize; 2], random: &mut Stream) -> Canvas {
    let grey = random.integer(56, 199);
    let base = [(); 3].map(|()| grey + random.integer(-SATURATION, SATURATION));
    let tint = [(); 3].map(|()| random.range(0.5, 1.0) * f64::from(AMPLITUDE));
    let texture = texture(size, random);
    Canvas::new(size, |x, y| {
        let value = texture(x as f64, y as f64);
        let channel = |c: usize| (f64::from(base[c]) + value * tint[c] + 0.5) as u8;
        [channel(0), channel(1), channel(2)]
    })
}

/// A function of the position with values in -1..=1.
type Texture = Box<dyn Fn(f64, f64) -> f64>;

fn texture(size: [usize; 2], random: &mut Stream) -> Texture {
    let [height, width] = size.map(|side| side as f64);
    // A direction of length 1 without trigonometric functions.
    let slope = random.range(-1.0, 1.0);
    let norm = 1.0 + slope * slope;
    let (u, v) = ((1.0 - slope * slope) / norm, 2.0 * slope / norm);
    match random.below(4) {
        0 => {
            Box::new(move |x, y| (u * (2.0 * x / width - 1.0) + v * (2.0 * y / height - 1.0)) / 1.5)
        }
        1 => noise(size, random),
        2 => {
            let period = random.range(10.0, 40.0);
            Box::new(move |x, y| triangle_wave((u * x + v * y) / period))
        }
        _ => {
            let period = random.range(16.0, 60.0);
            Box::new(move |x, y| {
                triangle_wave((u * x + v * y) / period) * triangle_wave((u * y - v * x) / period)
            })
        }
    }
}

/// A wave of period 1 between -1 and 1, made of straight lines.
fn triangle_wave(phase: f64) -> f64 {
    4.0 * ((phase - phase.floor()) - 0.5).abs() - 1.0
}

/// Random values on a coarse grid, interpolated in between.
fn noise([height, width]: [usize; 2], random: &mut Stream) -> Texture {
    let cell = random.range(12.0, 48.0);
    let columns = (width as f64 / cell) as usize + 2;
    let rows = (height as f64 / cell) as usize + 2;
    let grid: Vec<f64> = (0..rows * columns)
        .map(|_| random.range(-1.0, 1.0))
        .collect();
    // The smooth step makes the grid invisible.
    let smooth = |t: f64| t * t * (3.0 - 2.0 * t);
    Box::new(move |x, y| {
        let (column, row) = ((x / cell) as usize, (y / cell) as usize);
        let (s, t) = (
            smooth(x / cell - column as f64),
            smooth(y / cell - row as f64),
        );
        let at = |dy: usize, dx: usize| grid[(row + dy) * columns + column + dx];
        let top = at(0, 0) * (1.0 - s) + at(0, 1) * s;
        let bottom = at(1, 0) * (1.0 - s) + at(1, 1) * s;
        top * (1.0 - t) + bottom * t
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Topic;

    #[test]
    fn textures_stay_soft() {
        for index in 0..40 {
            let mut random = Stream::new(5, Topic::SynthTrain, 0, index);
            let canvas = draw([64, 80], &mut random);
            for channel in 0..3 {
                let values = || canvas.pixels().iter().skip(channel).step_by(3);
                let low = i32::from(*values().min().expect("pixels"));
                let high = i32::from(*values().max().expect("pixels"));
                assert!(
                    high - low <= 2 * AMPLITUDE + 1,
                    "image {index}: {low} to {high}"
                );
                assert!(low >= 40 - AMPLITUDE && high <= 215 + AMPLITUDE + 1);
            }
        }
    }
}
