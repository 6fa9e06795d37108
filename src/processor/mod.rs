//! From messages and images to token ids, patches and positions, as transformers' Qwen2-VL
//! processor makes them.
//!
//! In reading order: [`chat`] (messages, the model's own template), [`text`] (tokenizer, special
//! tokens), [`image`](mod@image) (files to pixels), [`resize`], [`patches`], [`positions`]
//! (M-RoPE), and [`Processor`], which puts them together.
//! Not here: which question a data row asks (`data`); tensors (`model`); sampling (`rollout`).

pub mod chat;
mod error;
pub mod image;
mod json;
mod markers;
pub mod patches;
pub mod positions;
pub mod resize;
#[cfg(test)]
mod test_golden;
pub mod text;
mod tokenizer_file;

use ::image::RgbImage;
use serde_json::Value;

use self::chat::ChatTemplate;
pub use self::chat::{Content, Message, parse_chat};
pub use self::error::ProcessorError;
pub use self::image::{decode_image, picture_size};
pub use self::markers::Markers;
use self::markers::{Guarded, Piece, pieces};
pub use self::patches::ImagePatches;
use self::patches::{MERGE_SIZE, Patcher};
use self::positions::mrope_positions;
use self::text::TextCodec;
pub use self::text::{MARKERS, PADS, SpecialTokens};
pub use crate::model::family::Boxes;
use crate::model::family::Family;
use crate::model::files::ModelFiles;

/// One prompt, ready for the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// Token ids `[T]`; each image is a run of image pads, one per merged patch.
    pub input_ids: Vec<u32>,
    /// Positions `[T][time, height, width]`.
    pub positions: Vec<[u32; 3]>,
    /// The position of the completion's first token, on all three axes; the ones after it count up
    /// by one.
    pub next_position: u32,
    /// The images, in the order of their pads.
    pub images: Vec<ImagePatches>,
    /// Rows of `input_ids` that stand for the images' tokens, ascending.
    pub image_rows: Vec<u32>,
    /// The rendered chat, with one image pad per image.
    pub text: String,
}

/// A checkpoint's tokenizer, chat template and image settings.
pub struct Processor {
    text: TextCodec,
    template: ChatTemplate,
    patcher: Patcher,
    boxes: Boxes,
    markers: Markers,
}

impl Processor {
    /// Reads what belongs to a processor from a model's files: `tokenizer.json`,
    /// `tokenizer_config.json`, `chat_template.json` or `.jinja`, `preprocessor_config.json`; of
    /// `generation_config.json` the stop tokens alone.
    ///
    /// # Errors
    /// A file is missing, unreadable or not what it should be; the tokenizer lacks a special token
    /// or disagrees with `config.json` about one.
    pub fn load(files: &ModelFiles) -> Result<Self, ProcessorError> {
        let config = json::read::<Value>(files, "config.json")?.unwrap_or_default();
        let family = config["model_type"].as_str().and_then(Family::named);
        Ok(Self {
            boxes: family.map_or(Boxes::Thousandths, Family::boxes),
            text: TextCodec::load(files)?,
            template: ChatTemplate::load(files)?,
            patcher: Patcher::load(files)?,
            markers: Markers::AreText,
        })
    }

    /// The same with other limits on an image's pixels; `None` keeps the checkpoint's.
    ///
    /// # Errors
    /// The minimum is zero or above the maximum, or the maximum holds less than one token.
    pub fn with_pixel_limits(
        self,
        min_pixels: Option<usize>,
        max_pixels: Option<usize>,
    ) -> Result<Self, ProcessorError> {
        let patcher = self.patcher.with_limits(min_pixels, max_pixels, "pixel limits")?;
        Ok(Self { patcher, ..self })
    }

    /// The same with another meaning of markers in the texts of messages and in taught completions.
    #[must_use]
    pub fn with_markers(self, markers: Markers) -> Self {
        Self { markers, ..self }
    }

    /// The prompt of `messages`, rendered by the model's own chat template up to where its answer
    /// begins. What markers in the messages' texts are, [`Processor::with_markers`] says.
    ///
    /// # Errors
    /// The template fails on the messages; images and image pads differ in number; the prompt holds
    /// a video pad; an image is more than 200 times as long as wide.
    pub fn encode(
        &self,
        messages: &[Message],
        images: &[RgbImage],
    ) -> Result<Prompt, ProcessorError> {
        let (text, ids) = self.render(messages)?;
        let special = self.special();
        if ids.contains(&special.video_pad) {
            return Err(ProcessorError::Video);
        }
        let pads = ids.iter().filter(|&&id| id == special.image_pad).count();
        if pads != images.len() {
            return Err(ProcessorError::ImageCount { pads, images: images.len() });
        }
        let images =
            images.iter().map(|image| self.patches(image)).collect::<Result<Vec<_>, _>>()?;
        let input_ids = expand_image_pads(&ids, special.image_pad, &images);
        let grids: Vec<[usize; 3]> = images.iter().map(|image| image.grid_thw).collect();
        let (positions, next_position) =
            mrope_positions(&input_ids, special.image_pad, &grids, MERGE_SIZE)?;
        let rows = (0..).zip(&input_ids).filter(|(_, id)| **id == special.image_pad);
        let image_rows = rows.map(|(row, _)| row).collect();
        Ok(Prompt { input_ids, positions, next_position, images, image_rows, text })
    }

    /// The rendered chat and its ids, one image pad per image.
    fn render(&self, messages: &[Message]) -> Result<(String, Vec<u32>), ProcessorError> {
        let guarded = match self.markers {
            Markers::AreText => Guarded::new(messages, self.text.markers())?,
            Markers::AreTokens => None,
        };
        let Some(guarded) = guarded else {
            let text = self.template.render(messages)?;
            let ids = self.text.encode(&text)?;
            return Ok((text, ids));
        };
        let rendered = self.template.render(&guarded.messages)?;
        let mut ids = Vec::new();
        for piece in pieces(&rendered, self.text.markers()) {
            ids.extend(match piece {
                Piece::Marker(marker) => self.text.encode(marker)?,
                Piece::Text(text) => self.text.encode_plainly(&guarded.without_marks(text))?,
            });
        }
        Ok((guarded.without_marks(&rendered), ids))
    }

    /// The unit in which the model writes the coordinates of boxes.
    pub fn boxes(&self) -> Boxes {
        self.boxes
    }

    /// Width and height of an image of such a size as the model sees it.
    ///
    /// # Errors
    /// One side is more than 200 times the other.
    pub fn seen_size(&self, size: [u32; 2]) -> Result<[usize; 2], ProcessorError> {
        self.patcher.seen_size(size)
    }

    /// One image resized, normalised and cut into patches.
    ///
    /// # Errors
    /// One side is more than 200 times the other.
    pub fn patches(&self, image: &RgbImage) -> Result<ImagePatches, ProcessorError> {
        self.patcher.patches(image)
    }

    /// The ids of `text`; nothing is added, and special tokens written out in it become their ids.
    ///
    /// # Errors
    /// The tokenizer fails, which a byte-level one never does.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, ProcessorError> {
        self.text.encode(text)
    }

    /// The ids of a completion that is taught; what markers in it are, [`Processor::with_markers`] says.
    ///
    /// # Errors
    /// The tokenizer fails, which a byte-level one never does.
    pub fn encode_taught(&self, text: &str) -> Result<Vec<u32>, ProcessorError> {
        match self.markers {
            Markers::AreText => self.text.encode_plainly(text),
            Markers::AreTokens => self.text.encode(text),
        }
    }

    /// The text of `ids`, with or without special tokens; ids without a token give nothing.
    ///
    /// # Errors
    /// The tokenizer's decoder fails, which a byte-level one never does.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, ProcessorError> {
        self.text.decode(ids, skip_special_tokens)
    }

    /// A decoder of ids that come one by one, without special tokens: what an id adds to the text, as soon as its characters are
    /// whole. Where the ids end in the midst of a character, the last of [`Processor::decode`]'s text never comes.
    pub fn decode_as_it_comes(&self) -> impl FnMut(u32) -> Option<String> + '_ {
        self.text.decode_as_it_comes()
    }

    /// Ids of the special tokens.
    pub fn special(&self) -> &SpecialTokens {
        self.text.special()
    }

    /// Ids that rollouts must never draw, ascending: special tokens other than the stop tokens, and
    /// the ids below `vocab_size` (the rows of the model's head) that have no token.
    pub fn never_sampled(&self, vocab_size: usize) -> Vec<u32> {
        self.text.never_sampled(vocab_size)
    }
}

/// `ids` with the n-th image pad repeated as often as the n-th image has tokens.
fn expand_image_pads(ids: &[u32], image_pad: u32, images: &[ImagePatches]) -> Vec<u32> {
    let mut images = images.iter();
    let mut expanded = Vec::with_capacity(ids.len());
    for &id in ids {
        let copies =
            if id == image_pad { images.next().map_or(1, ImagePatches::n_tokens) } else { 1 };
        expanded.extend(std::iter::repeat_n(id, copies));
    }
    expanded
}

#[cfg(test)]
mod tests;
