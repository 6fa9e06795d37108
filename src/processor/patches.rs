//! From an image to the rows the vision tower reads: resize, normalise, cut into patches.
//! Not here: the resampling itself (`resize`); the patch embedding (`model`).

use image::RgbImage;
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::resize::{PixelLimits, resize_bicubic, smart_resize};
use super::{ProcessorError, json};
use crate::limits::PICTURE_PIXELS;
use crate::model::files::ModelFiles;

/// Side, in patches, of the square that the vision tower merges into one token, in every known model.
pub(super) const MERGE_SIZE: usize = 2;

/// One image, ready for the vision tower.
#[derive(Debug, Clone, PartialEq)]
pub struct ImagePatches {
    /// `[patches, 3 * frames * patch_size^2]`, normalised. Rows follow the grid in blocks of
    /// `merge_size` x `merge_size`, so that a token's patches are adjacent; columns by channel,
    /// frame, y, x.
    pub pixel_values: Vec<f32>,
    /// Patches in time, down and across.
    pub grid_thw: [usize; 3],
    /// Side, in patches, of the square that becomes one token.
    pub merge_size: usize,
}

impl ImagePatches {
    /// How many rows `pixel_values` has.
    pub fn n_patches(&self) -> usize {
        self.grid_thw.iter().product()
    }

    /// How many tokens the image takes in the prompt.
    pub fn n_tokens(&self) -> usize {
        self.n_patches() / (self.merge_size * self.merge_size)
    }
}

/// What `preprocessor_config.json` says; the defaults are those of transformers'
/// `Qwen2VLImageProcessor`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct Preprocessor {
    min_pixels: Option<usize>,
    max_pixels: Option<usize>,
    size: Option<Size>,
    patch_size: usize,
    temporal_patch_size: usize,
    merge_size: usize,
    rescale_factor: f64,
    image_mean: [f32; 3],
    image_std: [f32; 3],
}

/// The newer spelling of the pixel limits; the "edges" are areas in spite of their names.
#[derive(Debug, Clone, Deserialize)]
struct Size {
    #[serde(alias = "min_pixels")]
    shortest_edge: Option<usize>,
    #[serde(alias = "max_pixels")]
    longest_edge: Option<usize>,
}

impl Default for Preprocessor {
    fn default() -> Self {
        Self {
            min_pixels: None,
            max_pixels: None,
            size: None,
            patch_size: 14,
            temporal_patch_size: 2,
            merge_size: MERGE_SIZE,
            rescale_factor: 1.0 / 255.0,
            image_mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            image_std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }
}

/// `processor_config.json`, where transformers 5 writes all of a processor's settings.
#[derive(Deserialize)]
struct ProcessorConfig {
    image_processor: Preprocessor,
}

/// Makes [`ImagePatches`] of images.
#[derive(Debug, Clone)]
pub(super) struct Patcher {
    limits: PixelLimits,
    patch_size: usize,
    frames: usize,
    /// The normalised value of each 8-bit level, by channel.
    levels: Box<[[f32; 256]; 3]>,
}

impl Patcher {
    /// Reads `preprocessor_config.json`, or `processor_config.json` where only that exists.
    pub(super) fn load(files: &ModelFiles) -> Result<Self, ProcessorError> {
        let old = json::read::<Preprocessor>(files, "preprocessor_config.json")?;
        let (config, file) = match old {
            Some(config) => (config, "preprocessor_config.json"),
            None => match json::read::<ProcessorConfig>(files, "processor_config.json")? {
                Some(config) => (config.image_processor, "processor_config.json"),
                None => {
                    return Err(ProcessorError::MissingFile {
                        file: files.describe("preprocessor_config.json"),
                        hint: "copy it from the checkpoint; it says how images are scaled",
                    });
                }
            },
        };
        let file = files.describe(file);
        check_patch_size(config.patch_size, &file, files)?;
        Self::new(&config, &file)
    }

    fn new(config: &Preprocessor, file: &str) -> Result<Self, ProcessorError> {
        let field = |field: &'static str, found: String, expected: &str| ProcessorError::Field {
            file: file.to_owned(),
            field,
            found,
            expected: expected.to_owned(),
        };
        if config.merge_size != MERGE_SIZE {
            return Err(field("merge_size", config.merge_size.to_string(), "2"));
        }
        if !(1..=256).contains(&config.patch_size) {
            return Err(field("patch_size", config.patch_size.to_string(), "1 to 256, usually 14"));
        }
        if !(1..=16).contains(&config.temporal_patch_size) {
            let found = config.temporal_patch_size.to_string();
            return Err(field("temporal_patch_size", found, "1 to 16, usually 2"));
        }
        if !config.image_std.iter().all(|std| std.is_normal() && *std > 0.0) {
            return Err(field("image_std", format!("{:?}", config.image_std), "positive numbers"));
        }
        let (old_min, old_max) = (config.min_pixels, config.max_pixels);
        let size = config.size.as_ref();
        let patcher = Self {
            limits: PixelLimits {
                min_pixels: old_min.or(size.and_then(|size| size.shortest_edge)).unwrap_or(56 * 56),
                max_pixels: old_max
                    .or(size.and_then(|size| size.longest_edge))
                    .unwrap_or(28 * 28 * 1280),
            },
            patch_size: config.patch_size,
            frames: config.temporal_patch_size,
            levels: level_tables(config),
        };
        patcher.with_limits(None, None, file)
    }

    /// The same with other pixel limits; `source` says where they come from, for the error.
    pub(super) fn with_limits(
        mut self,
        min_pixels: Option<usize>,
        max_pixels: Option<usize>,
        source: &str,
    ) -> Result<Self, ProcessorError> {
        let limits = PixelLimits {
            min_pixels: min_pixels.unwrap_or(self.limits.min_pixels),
            max_pixels: max_pixels.unwrap_or(self.limits.max_pixels),
        };
        let side = self.patch_size * MERGE_SIZE;
        let wrong = |field, found: usize, expected| ProcessorError::Field {
            file: source.to_owned(),
            field,
            found: found.to_string(),
            expected,
        };
        if limits.max_pixels < side * side || limits.max_pixels as u64 > PICTURE_PIXELS {
            let expected =
                format!("at least {} (one token), at most {PICTURE_PIXELS}", side * side);
            return Err(wrong("max_pixels", limits.max_pixels, expected));
        }
        if limits.min_pixels == 0 || limits.min_pixels > limits.max_pixels {
            let expected = format!("1 to max_pixels ({})", limits.max_pixels);
            return Err(wrong("min_pixels", limits.min_pixels, expected));
        }
        self.limits = limits;
        Ok(self)
    }

    /// Width and height that an image of such a size is resized to.
    ///
    /// # Errors
    /// One side is more than 200 times the other.
    pub(super) fn seen_size(&self, size: [u32; 2]) -> Result<[usize; 2], ProcessorError> {
        let [width, height] = size.map(|side| side as usize);
        let side = self.patch_size * MERGE_SIZE;
        let [height, width] = smart_resize(height, width, side, self.limits)?;
        Ok([width, height])
    }

    /// Resizes, normalises and cuts `image`.
    ///
    /// # Errors
    /// One side is more than 200 times the other.
    pub(super) fn patches(&self, image: &RgbImage) -> Result<ImagePatches, ProcessorError> {
        let [width, height] = self.seen_size([image.width(), image.height()])?;
        let resized = resize_bicubic(image, height, width);
        Ok(self.cut(&resized))
    }

    /// Cuts an image whose sides are multiples of a token's.
    fn cut(&self, image: &RgbImage) -> ImagePatches {
        let size = self.patch_size;
        let [height, width] = [image.height(), image.width()].map(|side| side as usize);
        let grid = [height / size, width / size];
        let (pixels, _) = image.as_raw().as_chunks::<3>();
        let patch_len = 3 * self.frames * size * size;
        let mut pixel_values = vec![0.0; grid[0] * grid[1] * patch_len];
        pixel_values.par_chunks_mut(patch_len).enumerate().for_each(|(index, patch)| {
            let [row, column] = grid_place(index, grid[1]);
            for (channel, frames) in patch.chunks_mut(self.frames * size * size).enumerate() {
                // A still image is the same in every frame.
                let (first, others) = frames.split_at_mut(size * size);
                for (y, line) in first.chunks_mut(size).enumerate() {
                    let start = (row * size + y) * width + column * size;
                    for (value, pixel) in line.iter_mut().zip(&pixels[start..]) {
                        *value = self.levels[channel][usize::from(pixel[channel])];
                    }
                }
                for frame in others.chunks_mut(size * size) {
                    frame.copy_from_slice(first);
                }
            }
        });
        ImagePatches { pixel_values, grid_thw: [1, grid[0], grid[1]], merge_size: MERGE_SIZE }
    }
}

/// Checks the side of a patch against what the model reads, where `config.json` says it.
fn check_patch_size(found: usize, file: &str, files: &ModelFiles) -> Result<(), ProcessorError> {
    let config = json::read::<Value>(files, "config.json")?.unwrap_or_default();
    let expected = &config["vision_config"]["patch_size"];
    if expected.as_f64().is_none_or(|expected| (expected - found as f64).abs() < 0.5) {
        return Ok(());
    }
    Err(ProcessorError::Field {
        file: file.to_owned(),
        field: "patch_size",
        found: found.to_string(),
        expected: format!(
            "{expected}, the model's\nhint: {file} and config.json are of different models"
        ),
    })
}

/// Row and column in the grid of the patch with this index: blocks of [`MERGE_SIZE`] x
/// [`MERGE_SIZE`] in reading order, and in reading order within each.
fn grid_place(index: usize, columns: usize) -> [usize; 2] {
    let block = index / (MERGE_SIZE * MERGE_SIZE);
    let within = index % (MERGE_SIZE * MERGE_SIZE);
    let blocks_across = columns / MERGE_SIZE;
    [
        block / blocks_across * MERGE_SIZE + within / MERGE_SIZE,
        block % blocks_across * MERGE_SIZE + within % MERGE_SIZE,
    ]
}

/// `(level * rescale - mean) / std`, rounded where transformers rounds: the product in f64 then to
/// f32, the rest in f32.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the f64 product is meant to be rounded to f32"
)]
fn level_tables(config: &Preprocessor) -> Box<[[f32; 256]; 3]> {
    let mut tables = Box::new([[0.0; 256]; 3]);
    for (channel, table) in tables.iter_mut().enumerate() {
        for (level, value) in (0_u8..=255).zip(table.iter_mut()) {
            let rescaled = (f64::from(level) * config.rescale_factor) as f32;
            *value = (rescaled - config.image_mean[channel]) / config.image_std[channel];
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::super::test_golden::{self as golden, Micro};
    use super::*;

    #[test]
    fn patches_equal_those_of_transformers_bit_for_bit() {
        let micro = Micro::load();
        let patcher = Patcher::load(&golden::model()).unwrap();
        let mut compared_in_full = 0;
        for (name, entry) in micro.index["images"].as_object().unwrap() {
            let (image, variant) = golden::image_variant(entry);
            let expected_size = golden::usizes(&variant["rgb_size_wh"]);
            assert_eq!(
                [image.width() as usize, image.height() as usize],
                expected_size[..],
                "{name}"
            );
            let (shape, resized) = micro.tensor(&variant["resized_u8"]);
            let mut pillow =
                RgbImage::new(u32::try_from(shape[1]).unwrap(), u32::try_from(shape[0]).unwrap());
            pillow.copy_from_slice(&resized);
            let patches = patcher.cut(&pillow);
            assert_eq!(
                patches.grid_thw[..],
                golden::usizes(&variant["image_grid_thw"])[..],
                "{name}"
            );
            assert_eq!(patches.n_tokens() as u64, variant["tokens"].as_u64().unwrap(), "{name}");

            let values = &patches.pixel_values;
            let row = values.len() / patches.n_patches();
            let first_last = [&values[..row], &values[values.len() - row..]].concat();
            assert!(first_last == micro.f32s(&variant["pixel_values_first_last"]), "{name}");
            let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
            assert!((sum - variant["pixel_values_sum"].as_f64().unwrap()).abs() < 1e-6, "{name}");
            if let Some(full) = variant.get("pixel_values") {
                let from_file = patcher.patches(&image).unwrap();
                assert!(from_file.pixel_values == micro.f32s(full), "{name}");
                compared_in_full += 1;
            }
        }
        assert_eq!(compared_in_full, 2);
    }

    #[test]
    fn patches_of_a_token_stand_together() {
        // A grid 4 patches wide: the first token holds rows 0 and 1 of columns 0 and 1.
        let places: Vec<_> = (0..8).map(|index| grid_place(index, 4)).collect();
        assert_eq!(places[..4], [[0, 0], [0, 1], [1, 0], [1, 1]]);
        assert_eq!(places[4..], [[0, 2], [0, 3], [1, 2], [1, 3]]);
    }
}
