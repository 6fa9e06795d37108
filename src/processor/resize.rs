//! The size an image is brought to, and the resampling that brings it there, both bit for bit as
//! the reference: transformers' `smart_resize` and Pillow's 8-bit bicubic `Image.resize`.
//! Not here: decoding (`image`); normalising and cutting into patches (`patches`).
//!
//! Pillow resamples along one axis, rounds to 8 bits, then along the other, with weights of 22
//! fractional bits (src/libImaging/Resample.c). No crate does exactly that: the best differ by 2
//! levels, most by 20. Which axis comes first follows Pillow 13, which made the goldens; Pillow
//! 11 and earlier always begin with the rows, which differs (by a level or two) only where more
//! than twice as many pixels of height are lost as of width.

use image::RgbImage;
use rayon::prelude::*;

use super::ProcessorError;

/// How many pixels an image may have after [`smart_resize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelLimits {
    /// Images with fewer are scaled up.
    pub min_pixels: usize,
    /// Images with more are scaled down.
    pub max_pixels: usize,
}

/// The size `[height, width]` an image of `height` x `width` pixels is resized to: multiples of
/// `factor`, within `limits`, the aspect ratio kept as far as that allows.
///
/// Rounding is half to even, and a side that rounds to zero takes the branch for too few
/// pixels, as in transformers (`models/qwen2_vl/image_processing_qwen2_vl.py`); `qwen_vl_utils`
/// differs for thin images.
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
    require_aspect_ratio("an image", height, width)?;
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

/// One side is at most 200 times the other.
///
/// # Errors
/// It is more; `name` says which image.
pub(super) fn require_aspect_ratio(
    name: &str,
    height: usize,
    width: usize,
) -> Result<(), ProcessorError> {
    let [shorter, longer] = [height.min(width) as f64, height.max(width) as f64];
    if shorter == 0.0 || longer / shorter > 200.0 {
        return Err(ProcessorError::AspectRatio { name: name.to_owned(), width, height });
    }
    Ok(())
}

/// `image` resampled to `height` x `width` pixels, equal to Pillow's `resize((width, height),
/// BICUBIC)` in every byte. Rows are spread over rayon's threads; the result does not depend on how
/// many there are.
#[expect(clippy::cast_possible_truncation, reason = "sides come from u32 sides and smart_resize")]
pub fn resize_bicubic(image: &RgbImage, height: usize, width: usize) -> RgbImage {
    let (from_width, from_height) = (image.width() as usize, image.height() as usize);
    let rows = |pixels: &[u8]| {
        let unchanged = width == from_width;
        if unchanged {
            pixels.to_vec()
        } else {
            resample_rows(pixels, from_width, &taps(from_width, width))
        }
    };
    let columns = |pixels: &[u8], stride: usize| {
        let unchanged = height == from_height;
        if unchanged {
            pixels.to_vec()
        } else {
            resample_columns(pixels, stride, &taps(from_height, height))
        }
    };
    let lost = |from: usize, to: usize| from as f64 - to as f64;
    let columns_first = lost(from_height, height) > (2.0 * lost(from_width, width)).max(0.0);
    let pixels = if columns_first {
        rows(&columns(image.as_raw(), from_width * 3))
    } else {
        columns(&rows(image.as_raw()), width * 3)
    };
    let mut resized = RgbImage::new(width as u32, height as u32);
    resized.copy_from_slice(&pixels);
    resized
}

/// Fractional bits of a weight: 32 less 8 for the sample and 2 for sums above 1.
const WEIGHT_BITS: u32 = 32 - 8 - 2;
/// Half a level, so that the final shift rounds.
const HALF_LEVEL: i32 = 1 << (WEIGHT_BITS - 1);

/// The inputs of one output sample: the sum of `weights[i]` times input `start + i`.
struct Tap {
    start: usize,
    weights: Vec<i32>,
}

/// The taps of every output sample along one axis. When shrinking, the filter is widened to cover
/// every input.
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
#[expect(clippy::cast_sign_loss, reason = "clamped to 0..=255")]
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

/// `[from_height, stride]` to `[taps.len(), stride]`.
fn resample_columns(pixels: &[u8], stride: usize, taps: &[Tap]) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::super::test_golden::{self as golden, Micro};
    use super::*;

    #[test]
    fn sizes_equal_those_of_transformers() {
        let micro = Micro::load();
        let rows = micro.index["smart_resize"]["rows"].as_array().unwrap();
        assert!(rows.len() > 500);
        for row in rows {
            let [height, width, min_pixels, max_pixels] =
                golden::usizes(&row.as_array().unwrap()[..4].into()).try_into().unwrap();
            let ours = smart_resize(height, width, 28, PixelLimits { min_pixels, max_pixels });
            let expected = row[4].as_array().map(|_| golden::usizes(&row[4]));
            assert_eq!(ours.ok().map(Vec::from), expected, "{row}");
        }
    }

    #[test]
    fn a_half_rounds_to_even() {
        // 70 / 28 = 2.5 -> 2 tokens, 98 / 28 = 3.5 -> 4 tokens.
        let limits = PixelLimits { min_pixels: 1, max_pixels: 1_000_000 };
        assert_eq!(smart_resize(70, 98, 28, limits).unwrap(), [56, 112]);
    }

    #[test]
    fn an_image_thinner_than_one_to_200_is_refused_with_its_size() {
        let limits = PixelLimits { min_pixels: 3136, max_pixels: 50176 };
        assert!(smart_resize(10, 2000, 28, limits).is_ok());
        let error = smart_resize(10, 2001, 28, limits).unwrap_err().to_string();
        assert_eq!(
            error,
            "an image: 2001 x 10 pixels, expected an aspect ratio of at most 200\nhint: cut it, or put it on a wider ground"
        );
        assert!(smart_resize(0, 0, 28, limits).is_err());
    }

    #[test]
    fn every_golden_image_is_resampled_as_pillow_does() {
        let micro = Micro::load();
        for (name, entry) in micro.index["images"].as_object().unwrap() {
            let (mut image, variant) = golden::image_variant(entry);
            if ["jpeg", "exif6"].contains(&name.as_str()) {
                // Starts from Pillow's pixels: decoders differ by a few levels, resampling must not.
                let pixels = golden::bytes(&format!("processor/{name}.jpg.rgb"));
                image.copy_from_slice(&pixels);
            }
            let (shape, expected) = micro.tensor(&variant["resized_u8"]);
            let resized = resize_bicubic(&image, shape[0], shape[1]);
            assert!(resized.as_raw() == &expected, "{name}");
        }
    }

    /// 64-bit FNV-1a.
    fn fnv1a(bytes: &[u8]) -> String {
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        format!("{hash:016x}")
    }

    #[test]
    fn any_size_is_resampled_as_pillow_does() {
        let index = golden::json("processor/images.json");
        let rows = index["resize"].as_array().unwrap();
        assert_eq!(rows.len(), 40);
        for row in rows {
            let file = format!("micro/{}", row["file"].as_str().unwrap());
            let image = super::super::decode_image(&golden::bytes(&file), &file).unwrap();
            let [height, width] = golden::usizes(&serde_json::json!([row["height"], row["width"]]))
                .try_into()
                .unwrap();
            let resized = resize_bicubic(&image, height, width);
            assert_eq!(fnv1a(resized.as_raw()), row["fnv1a"].as_str().unwrap(), "{row}");
        }
    }
}
