//! Channel-last copies of maps, so that the samples of neighbouring channels lie side by side.

use rayon::prelude::*;

use super::real::Real;

/// Pixels that are transposed at once: 64 pixels of 16 channels stay in the first-level cache.
const PIXELS: usize = 64;

/// Channels that are transposed at once: a cache line of `f32`.
const CHANNELS: usize = 16;

/// Copies planes, `[channels][pixels]`, to rows, `[pixels][channels]`.
pub(super) fn to_rows<T: Real>(planes: &[T], rows: &mut [T], channels: usize) {
    let pixels = planes.len() / channels;
    let rows = &mut rows[..pixels * channels];
    rows.par_chunks_mut(PIXELS * channels)
        .enumerate()
        .for_each(|(tile, rows)| {
            let first = tile * PIXELS;
            for start in (0..channels).step_by(CHANNELS) {
                let end = (start + CHANNELS).min(channels);
                for (pixel, row) in rows.chunks_exact_mut(channels).enumerate() {
                    for (channel, value) in (start..end).zip(&mut row[start..end]) {
                        *value = planes[channel * pixels + first + pixel];
                    }
                }
            }
        });
}

/// Copies rows, `[pixels][channels]`, to planes, `[channels][pixels]`.
pub(super) fn to_planes<T: Real>(rows: &[T], planes: &mut [T], channels: usize) {
    let pixels = planes.len() / channels;
    planes
        .par_chunks_mut(CHANNELS * pixels)
        .enumerate()
        .for_each(|(tile, planes)| {
            let first = tile * CHANNELS;
            for start in (0..pixels).step_by(PIXELS) {
                let end = (start + PIXELS).min(pixels);
                for (channel, plane) in planes.chunks_exact_mut(pixels).enumerate() {
                    for (pixel, value) in (start..end).zip(&mut plane[start..end]) {
                        *value = rows[pixel * channels + first + channel];
                    }
                }
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_planes_are_transposes() {
        for [channels, pixels] in [[1, 1], [3, 5], [16, 64], [17, 65], [40, 200]] {
            let planes: Vec<f32> = (0..channels * pixels).map(|i| i as f32).collect();
            let mut rows = vec![0.0; channels * pixels];
            to_rows(&planes, &mut rows, channels);
            assert_eq!(rows[channels - 1], ((channels - 1) * pixels) as f32);
            let mut back = vec![0.0; channels * pixels];
            to_planes(&rows, &mut back, channels);
            assert_eq!(planes, back, "{channels} channels, {pixels} pixels");
        }
    }
}
