//! Samples and where they come from: files, and the procedurally drawn tasks.
//!
//! In reading order: [`open`] (`source`) tells what a path is; `json_lines`, `csv_table` and `parquet`
//! read rows; `field_names` and `listed` say what a row's fields mean, `answers` what a completion's do; `picture_like`,
//! `conversation` and `remarks` check the other fields; `image_root` and `zip` find its pictures; `held_out` parts rows that
//! are measured on from those that are trained on; `synth_vc` and `synth_gr` draw; [`tasks`] collects everything about a
//! task under one name; [`template`] turns a sample into messages and a prompt, its `boxes` in the model's unit; [`survey`]
//! looks at every row; [`configured`] applies what a run file says about all this.
//!
//! Not here: decoding and preparing pictures, text to token ids (`processor`); which rows an update
//! sees (`train`); how an answer is judged (`reward`).

mod answers;
mod boxes;
mod canvas;
pub mod configured;
mod conversation;
mod csv_table;
mod demonstration;
mod drawn;
mod error;
mod field_names;
mod held_out;
mod image_root;
mod json_lines;
mod lettering;
mod listed;
mod parquet;
mod picture_like;
mod plane;
mod remarks;
mod row;
mod shards;
mod source;
pub mod survey;
mod synth_gr;
mod synth_vc;
pub mod tasks;
pub mod template;
mod zip;

pub use self::zip::{MAX_ENTRY_BYTES, MAX_RATIO, PictureArchive};
pub use answers::{ListedCompletion, open_completions};
pub use conversation::{Conversion, convert};
pub use demonstration::{Demonstration, bare_answer, supervised_completion};
pub use drawn::{DrawnRows, DrawnTask, MAX_IMAGE_SIZE, MIN_IMAGE_SIZE};
pub use error::DataError;
pub use listed::ListedRows;
pub use row::{Place, Unit};
pub use source::{OpenOptions, open, open_anywhere};
pub use template::{Questions, Template};

use crate::input_file;
use crate::limits::PICTURE_BYTES;
use crate::processor::{decode_image, picture_size};
use image::RgbImage;
use serde_json::{Map, Value};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One row: pictures, a question, the answer.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Where it comes from: `synth-vc/train/17` (an index), `geoqa.jsonl:12` (a line, from 1) or
    /// `train-00000-of-00002.parquet:17` (a row, from 1).
    pub id: String,
    /// The pictures, in the order in which the model sees them; none for a question of text alone.
    pub images: Vec<ImageSource>,
    /// The question, without the instructions that a template adds.
    pub problem: String,
    /// The right answer as the data has it, perhaps inside `<answer>` tags: see [`gold_answer`].
    pub solution: String,
    /// What supervised training teaches, if the data has it.
    pub demonstration: Option<Demonstration>,
    /// The row's other fields, where a reward command is given them; else none.
    pub columns: Arc<Map<String, Value>>,
}

/// A picture that has not been decoded yet, or that was drawn.
#[derive(Clone)]
pub enum ImageSource {
    /// A picture file.
    File(PathBuf),
    /// The bytes of a picture file.
    Encoded {
        /// The bytes.
        bytes: Arc<[u8]>,
        /// The file, the row and the column that they come from.
        name: String,
    },
    /// A picture file in an archive.
    Archived {
        /// The archive.
        archive: Arc<PictureArchive>,
        /// Which of its entries.
        entry_idx: usize,
    },
    /// A picture that this program drew.
    Drawn(Arc<RgbImage>),
}

impl ImageSource {
    /// The picture's pixels.
    ///
    /// # Errors
    /// The file cannot be read, or is no picture that `processor` accepts.
    pub fn load(&self) -> Result<RgbImage, DataError> {
        match self {
            Self::Drawn(picture) => Ok(picture.as_ref().clone()),
            Self::Encoded { bytes, name } => Ok(decode_image(bytes, name)?),
            Self::File(_) | Self::Archived { .. } => {
                Ok(decode_image(&self.read()?, &self.to_string())?)
            }
        }
    }

    /// The picture's width and height in pixels, from its header; its pixels are not decoded.
    ///
    /// # Errors
    /// The file cannot be read, or its header is of no picture that `processor` accepts.
    pub fn size(&self) -> Result<[u32; 2], DataError> {
        match self {
            Self::Drawn(picture) => Ok(picture.dimensions().into()),
            Self::Encoded { bytes, name } => Ok(picture_size(bytes, name)?),
            Self::File(_) | Self::Archived { .. } => {
                Ok(picture_size(&self.read()?, &self.to_string())?)
            }
        }
    }

    /// The file that the picture is in by itself; none where it is part of another, or drawn.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Encoded { .. } | Self::Archived { .. } | Self::Drawn(_) => None,
        }
    }

    /// The bytes of a picture's file; none for a drawn one.
    fn read(&self) -> Result<Vec<u8>, DataError> {
        match self {
            Self::File(path) => input_file::read(path, PICTURE_BYTES)
                .map_err(|source| DataError::Unreadable { path: path.clone(), source }),
            Self::Archived { archive, entry_idx } => archive.read(*entry_idx),
            Self::Encoded { bytes, .. } => Ok(bytes.to_vec()),
            Self::Drawn(_) => Ok(Vec::new()),
        }
    }
}

/// Where the picture comes from.
impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Encoded { name, .. } => f.write_str(name),
            Self::Archived { archive, entry_idx } => {
                write!(f, "{}: {}", archive.path().display(), archive.name(*entry_idx))
            }
            Self::Drawn(_) => f.write_str("a drawing"),
        }
    }
}

/// Without the pixels.
impl fmt::Debug for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageSource({self})")
    }
}

/// Rows that can be fetched by index, in any order.
#[derive(Clone, Debug)]
pub enum Dataset {
    /// Rows listed in files.
    Listed(ListedRows),
    /// Rows drawn when they are asked for.
    Drawn(DrawnRows),
}

impl Dataset {
    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Listed(rows) => rows.len(),
            Self::Drawn(rows) => rows.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of its file, or of its folder and split, or `synth-vc/train`.
    pub fn name(&self) -> &str {
        match self {
            Self::Listed(rows) => rows.name(),
            Self::Drawn(rows) => rows.name(),
        }
    }

    /// Row `idx`, from 0. Fetching a row twice gives equal samples.
    ///
    /// # Errors
    /// There is no such row, one of its pictures does not exist, or its file cannot be read any more.
    pub fn get(&self, idx: usize) -> Result<Sample, DataError> {
        let out_of_range =
            || DataError::OutOfRange { name: self.name().to_owned(), idx, n_rows: self.len() };
        match self {
            Self::Listed(rows) => rows.get(idx).ok_or_else(out_of_range)?,
            Self::Drawn(rows) => rows.get(idx).ok_or_else(out_of_range),
        }
    }

    /// The row with this identifier.
    pub fn find(&self, id: &str) -> Option<usize> {
        match self {
            Self::Listed(rows) => rows.solutions().position(|(row_id, _)| row_id == id),
            Self::Drawn(rows) => rows.find(id),
        }
    }

    /// Identifier and solution of every row that comes from a file; drawn rows are right by construction.
    pub fn listed_solutions(&self) -> Box<dyn Iterator<Item = (&str, &str)> + '_> {
        match self {
            Self::Listed(rows) => Box::new(rows.solutions()),
            Self::Drawn(_) => Box::new(std::iter::empty()),
        }
    }

    /// Why rows of the files were left out: empty unless bad rows are skipped.
    pub fn left_out(&self) -> &[DataError] {
        match self {
            Self::Listed(rows) => rows.left_out(),
            Self::Drawn(_) => &[],
        }
    }

    /// Warnings about rows that can be used, a line each.
    pub fn remarks(&self) -> &[String] {
        match self {
            Self::Listed(rows) => rows.remarks(),
            Self::Drawn(_) => &[],
        }
    }

    /// Whether any row may have a picture.
    pub fn may_have_pictures(&self) -> bool {
        match self {
            Self::Listed(rows) => rows.may_have_pictures(),
            Self::Drawn(_) => true,
        }
    }

    /// Checks that every picture that is named by path exists, so that a run does not stop at one hours later.
    ///
    /// # Errors
    /// The first row whose picture is missing.
    pub fn check_images(&self) -> Result<(), DataError> {
        match self {
            Self::Listed(rows) => rows.check_images(),
            Self::Drawn(_) => Ok(()),
        }
    }

    /// A warning, if pictures were found only under other paths than the rows name.
    pub fn shortened_paths(&self) -> Option<String> {
        match self {
            Self::Listed(rows) => rows.shortened(),
            Self::Drawn(_) => None,
        }
    }
}

/// Which rows of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// What a policy is trained on.
    Train,
    /// Held-out rows like those for training.
    Test,
    /// Held-out rows that look different.
    Shifted,
}

impl Split {
    /// The split's name in ids and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
            Self::Shifted => "shifted",
        }
    }
}

impl std::str::FromStr for Split {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        [Self::Train, Self::Test, Self::Shifted]
            .into_iter()
            .find(|split| split.name() == name)
            .ok_or_else(|| DataError::UnknownSplit { found: name.to_owned() })
    }
}

/// The answer in a solution: without `<answer>` tags, where it has them, and without white space
/// around it.
pub fn gold_answer(solution: &str) -> &str {
    let inside = solution.split_once("<answer>").map_or(solution, |(_, inside)| inside);
    inside.rsplit_once("</answer>").map_or(inside, |(answer, _)| answer).trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_gold_answer_has_no_tags() {
        assert_eq!(gold_answer("<answer> 7 </answer>"), "7");
        assert_eq!(gold_answer("<answer>2√{3}cm</answer>"), "2√{3}cm");
        assert_eq!(gold_answer(" 140° "), "140°");
        assert_eq!(gold_answer(""), "");
    }

    #[test]
    fn splits_are_found_by_name() {
        for split in [Split::Train, Split::Test, Split::Shifted] {
            assert_eq!(split.name().parse::<Split>().unwrap(), split);
        }
        let message = "validation".parse::<Split>().unwrap_err().to_string();
        assert!(message.contains("`validation`") && message.contains("hint: "), "{message}");
    }

    proptest! {
        #[test]
        fn tags_do_not_change_the_gold_answer(answer in "[0-9a-z√{}°]{0,8}", space in "[ \n]{0,2}") {
            let tagged = format!("{space}<answer>{space}{answer}{space}</answer>{space}");
            prop_assert_eq!(gold_answer(&tagged), answer.as_str());
        }
    }
}
