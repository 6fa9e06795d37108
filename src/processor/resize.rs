//! The size an image is brought to, and the resampling that brings it there, both bit for bit as the reference:
//! transformers' `smart_resize` and Pillow's 8-bit bicubic `Image.resize`.
//! Not here: decoding (`image`); normalising and cutting into patches (`patches`).
//!
//! Pillow resamples rows, rounds to 8 bits, then resamples columns, with weights of 22 fractional bits
//! (src/libImaging/Resample.c). No crate does exactly that: the best differ by 2 levels, most by 20.

use std::borrow::Cow;

use image::RgbImage;
use rayon::prelude::*;

use super::ProcessorError;

/// How many pixels an image may have after [`smart_resize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelLimits {
    /// Fewer are scaled up.
    pub min_pixels: usize,
    /// More are scaled down.
    pub max_pixels: usize,
}

/// The size `[height, width]` an image of `height` x `width` pixels is resized to: multiples of `factor`, within
/// `limits`, the aspect ratio kept as far as that allows.
///
/// Rounding is half to even, and a side that rounds to nothing goes through the branch for too few pixels, as in
/// transformers (`models/qwen2_vl/image_processing_qwen2_vl.py`); `qwen_vl_utils` differs for thin images.
///
/// # Errors
/// One side is more than 200 times the other.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sides are whole, positive, and far below 2^53"
)]
pub fn smart_resize(
    height: usize,
    width: usize,
    factor: usize,
    limits: PixelLimits,
) -> Result<[usize; 2], ProcessorError> {
    let (h, w, unit) = (height as f64, width as f64, factor as f64);
    if height.min(width) == 0 || h.max(w) / h.min(w) > 200.0 {
        return Err(ProcessorError::AspectRatio { width, height });
    }
    let rounded = [h, w].map(|side| (side / unit).round_ties_even() as usize * factor);
    let pixels = rounded[0] * rounded[1];
    if pixels > limits.max_pixels {
        let beta = (h * w / limits.max_pixels as f64).sqrt();
        Ok([h, w].map(|side| factor.max((side / beta / unit).floor() as usize * factor)))
    } else if pixels < limits.min_pixels {
        let beta = (limits.min_pixels as f64 / (h * w)).sqrt();
        Ok([h, w].map(|side| (side * beta / unit).ceil() as usize * factor))
    } else {
        Ok(rounded)
    }
}

/// `image` resampled to `height` x `width` pixels, equal to Pillow's `resize((width, height), BICUBIC)` in every byte.
/// Rows are spread over rayon's threads; the result does not depend on how many there are.
#[expect(clippy::cast_possible_truncation, reason = "sides come from u32 sides and smart_resize")]
pub fn resize_bicubic(image: &RgbImage, height: usize, width: usize) -> RgbImage {
    let (from_width, from_height) = (image.width() as usize, image.height() as usize);
    let mut pixels = Cow::Borrowed(image.as_raw());
    if width != from_width {
        pixels = Cow::Owned(resample_rows(&pixels, from_width, &taps(from_width, width)));
    }
    if height != from_height {
        pixels = Cow::Owned(resample_columns(&pixels, width, &taps(from_height, height)));
    }
    let mut resized = RgbImage::new(width as u32, height as u32);
    resized.copy_from_slice(&pixels);
    resized
}

/// Fractional bits of a weight: 32 less 8 for the sample and 2 for sums above 1.
const WEIGHT_BITS: u32 = 32 - 8 - 2;
/// Half a level, so that the final shift rounds.
const HALF_LEVEL: i32 = 1 << (WEIGHT_BITS - 1);

/// Where one output sample takes its input from: `weights[i]` times input `start + i`.
struct Tap {
    start: usize,
    weights: Vec<i32>,
}

/// The taps of every output sample along one axis. When shrinking, the filter is widened to cover every input.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "truncation towards zero is what Pillow's casts do, and positions are non-negative after the max"
)]
fn taps(from: usize, to: usize) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = 2.0 * stretch;
    let tap = |index: usize| {
        let center = (index as f64 + 0.5) * scale;
        let start = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let weights: Vec<f64> =
            (start..end).map(|x| cubic((x as f64 - center + 0.5) * (1.0 / stretch))).collect();
        let total: f64 = weights.iter().sum();
        let fixed_point = |weight: &f64| {
            let scaled = weight / total * f64::from(1 << WEIGHT_BITS);
            (scaled + 0.5_f64.copysign(scaled)) as i32
        };
        Tap { start, weights: weights.iter().map(fixed_point).collect() }
    };
    (0..to).map(tap).collect()
}

/// Keys' cubic with a = -0.5, in Pillow's order of operations.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// The 8-bit level of a weighted sum that started from [`HALF_LEVEL`].
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=255")]
fn level(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// `[rows, from_width, 3]` to `[rows, taps.len(), 3]`.
fn resample_rows(pixels: &[u8], from_width: usize, taps: &[Tap]) -> Vec<u8> {
    let rows = pixels.len() / (from_width * 3);
    let mut out = vec![0; rows * taps.len() * 3];
    out.par_chunks_mut(taps.len() * 3).zip(pixels.par_chunks(from_width * 3)).for_each(
        |(out_row, row)| {
            let (row, _) = row.as_chunks::<3>();
            for (pixel, tap) in out_row.as_chunks_mut::<3>().0.iter_mut().zip(taps) {
                let mut sums = [HALF_LEVEL; 3];
                for (source, &weight) in row[tap.start..].iter().zip(&tap.weights) {
                    for (sum, &sample) in sums.iter_mut().zip(source) {
                        *sum += i32::from(sample) * weight;
                    }
                }
                *pixel = sums.map(level);
            }
        },
    );
    out
}

/// `[from_height, width, 3]` to `[taps.len(), width, 3]`.
fn resample_columns(pixels: &[u8], width: usize, taps: &[Tap]) -> Vec<u8> {
    let stride = width * 3;
    let mut out = vec![0; taps.len() * stride];
    out.par_chunks_mut(stride).zip(taps).for_each(|(out_row, tap)| {
        let mut sums = vec![HALF_LEVEL; stride];
        for (row, &weight) in pixels[tap.start * stride..].chunks_exact(stride).zip(&tap.weights) {
            for (sum, &sample) in sums.iter_mut().zip(row) {
                *sum += i32::from(sample) * weight;
            }
        }
        for (sample, sum) in out_row.iter_mut().zip(sums) {
            *sample = level(sum);
        }
    });
    out
}
