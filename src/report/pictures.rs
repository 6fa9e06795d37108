//! Pictures of questions as the page shows them: found by the row's identifier, shrunk, encoded.
//! Not here: opening data (`data`); which questions there are (`rollouts`).

use std::io::Cursor;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage, imageops};
use rayon::prelude::*;

use super::error::ReportError;
use super::recorded_run::RecordedRun;
use crate::data::Dataset;
use crate::data::configured::rows_at_hand;
use crate::data::tasks::resolved;
use crate::eval::EvalError;
use crate::eval::questions::evaluation_questions;

/// Larger pictures are shrunk to that many pixels on their longer side.
const PICTURE_SIZE: u32 = 384;
/// PNG files above that many bytes are written as JPEG where that is smaller: they are photographs.
const LARGE_PNG: usize = 24 * 1024;
const JPEG_QUALITY: u8 = 85;
/// Pictures that are made at a time, by as many threads as there are.
const BATCH: usize = 64;

/// A picture as a browser takes it.
#[derive(Debug)]
pub struct EncodedPicture {
    /// `image/png` or `image/jpeg`.
    pub media_type: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
}

impl EncodedPicture {
    /// Shrinks and encodes a picture.
    ///
    /// # Errors
    /// The picture cannot be encoded.
    pub fn of(picture: &RgbImage) -> Result<Self, ReportError> {
        let (width, height) = picture.dimensions();
        let longest = width.max(height);
        let shrunk = (longest > PICTURE_SIZE).then(|| {
            let side = |side: u32| (side * PICTURE_SIZE / longest).max(1);
            imageops::thumbnail(picture, side(width), side(height))
        });
        let picture = shrunk.as_ref().unwrap_or(picture);
        let mut png = Cursor::new(Vec::new());
        picture.write_to(&mut png, ImageFormat::Png)?;
        let png = Self { media_type: "image/png", bytes: png.into_inner() };
        if png.bytes.len() <= LARGE_PNG {
            return Ok(png);
        }
        let mut bytes = Vec::new();
        picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))?;
        let jpeg = Self { media_type: "image/jpeg", bytes };
        Ok(if jpeg.bytes.len() < png.bytes.len() { jpeg } else { png })
    }

    /// The picture as a `data:` address.
    pub fn data_address(&self) -> String {
        format!("data:{};base64,{}", self.media_type, STANDARD.encode(&self.bytes))
    }
}

/// Where the pictures of a source are.
#[derive(Debug)]
pub struct PictureRows {
    rows: Option<Arc<Dataset>>,
    /// What the page says where there is no picture.
    pub note: String,
}

/// The rows of each run, shared by runs of one configuration, and after them those of answers where there are any.
pub fn rows_of(runs: &[RecordedRun], has_answers: bool) -> Vec<Arc<PictureRows>> {
    let mut rows: Vec<Arc<PictureRows>> = Vec::new();
    for (place, run) in runs.iter().enumerate() {
        let before = runs[..place].iter().position(|before| before.settings == run.settings);
        rows.push(before.map_or_else(
            || Arc::new(PictureRows::of_training(run)),
            |before| Arc::clone(&rows[before]),
        ));
    }
    if let Some(run) = runs.first().filter(|_| has_answers) {
        rows.push(Arc::new(PictureRows::of_evaluation(run)));
    }
    rows
}

impl PictureRows {
    /// The rows that a run trains on, if they are on this machine: nothing is fetched for a page.
    pub fn of_training(run: &RecordedRun) -> Self {
        match rows_at_hand(&run.config) {
            Ok(Some(rows)) => Self::found(Arc::new(rows)),
            Ok(None) => Self::missing("its data set is not on this machine"),
            // A page without pictures is better than none.
            Err(error) => Self::missing(error.to_string().lines().next().unwrap_or_default()),
        }
    }

    /// The questions that a run measures itself on, which answers of `othink eval` are mostly to.
    pub fn of_evaluation(run: &RecordedRun) -> Self {
        let config = resolved(&run.config).map_err(EvalError::from);
        match config.and_then(|config| evaluation_questions(&config)) {
            Ok(found) => Self::found(found.questions.dataset),
            Err(error) => Self::missing(error.to_string().lines().next().unwrap_or_default()),
        }
    }

    fn found(rows: Arc<Dataset>) -> Self {
        let note = "No picture: the row has none, or it was left out to keep the page small \
                    (othink watch shows all).";
        Self { rows: Some(rows), note: note.to_owned() }
    }

    fn missing(why: &str) -> Self {
        Self { rows: None, note: format!("The picture cannot be opened from here: {why}.") }
    }

    /// The first picture of a row, where the data still has it.
    ///
    /// # Errors
    /// The picture cannot be encoded.
    pub fn picture(&self, id: &str) -> Result<Option<EncodedPicture>, ReportError> {
        let Some(rows) = &self.rows else { return Ok(None) };
        let sample = rows.find(id).and_then(|place| rows.get(place).ok());
        let picture = sample.and_then(|sample| sample.images.first()?.load().ok());
        picture.as_ref().map(EncodedPicture::of).transpose()
    }

    /// Pictures of questions as `data:` addresses, the first and evenly spaced ones where not all may be taken.
    ///
    /// - `max_pictures`, `max_bytes`: at most so many, and about so many letters
    /// - returns an address or nothing for each identifier
    ///
    /// # Errors
    /// A picture cannot be encoded.
    pub fn addresses(
        &self,
        ids: &[&str],
        max_pictures: usize,
        max_bytes: usize,
    ) -> Result<Vec<Option<String>>, ReportError> {
        let mut addresses = vec![None; ids.len()];
        let n = ids.len().min(max_pictures);
        let places: Vec<usize> = (0..n).map(|i| i * ids.len() / n).collect();
        let mut bytes = 0;
        for batch in places.chunks(BATCH) {
            let made: Vec<Option<EncodedPicture>> = batch
                .par_iter()
                .map(|&place| self.picture(ids[place]))
                .collect::<Result<_, _>>()?;
            for (&place, picture) in batch.iter().zip(made) {
                let address = picture.map(|picture| picture.data_address());
                bytes += address.as_ref().map_or(0, String::len);
                if bytes > max_bytes {
                    return Ok(addresses);
                }
                addresses[place] = address;
            }
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorded_run::test_run;
    use super::*;

    fn drawn_rows() -> PictureRows {
        let mut run = test_run("a", 1, &[]);
        run.config.data.task = Some("synth-vc".to_owned());
        PictureRows::of_training(&run)
    }

    #[test]
    fn picture_is_that_of_the_row_and_only_of_rows_there_are() {
        let rows = drawn_rows();
        let picture = rows.picture("synth-vc/train/17").unwrap().unwrap();
        let expected = rows.rows.as_ref().unwrap().get(17).unwrap().images[0].load().unwrap();
        let found = image::load_from_memory(&picture.bytes).unwrap().to_rgb8();
        assert_eq!((picture.media_type, found), ("image/png", expected));
        for unknown in ["synth-gr/train/17", "synth-vc/train/99999", "17", "", "synth-vc/train/"] {
            assert!(rows.picture(unknown).unwrap().is_none(), "{unknown}");
        }
    }

    #[test]
    fn rows_that_are_not_there_are_named() {
        let mut run = test_run("a", 1, &[]);
        run.config.data.train = Some("no/such/rows.jsonl".to_owned());
        let rows = PictureRows::of_training(&run);
        assert!(rows.note.contains("no/such/rows.jsonl"), "{}", rows.note);
        assert!(rows.picture("rows.jsonl:1").unwrap().is_none());
    }

    #[test]
    fn pictures_are_bounded_in_number_and_in_bytes() {
        let rows = drawn_rows();
        let ids: Vec<String> = (0..10).map(|row| format!("synth-vc/train/{row}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let kept = |max_pictures, max_bytes| {
            let addresses = rows.addresses(&ids, max_pictures, max_bytes).unwrap();
            addresses.iter().map(Option::is_some).collect::<Vec<_>>()
        };
        assert!(kept(10, usize::MAX).into_iter().all(|is_there| is_there));
        let spaced: Vec<bool> = (0..10).map(|place| [0, 2, 5, 7].contains(&place)).collect();
        assert_eq!(kept(4, usize::MAX), spaced);
        assert_eq!(kept(0, usize::MAX), [false; 10]);
        assert_eq!(kept(10, 0), [false; 10]);
    }

    #[test]
    fn large_picture_is_shrunk_and_a_photograph_is_no_png() {
        let photograph = RgbImage::from_fn(1000, 500, |x, y| {
            let noise = x.wrapping_mul(2_654_435_761).wrapping_add(y.wrapping_mul(40_503)) >> 7;
            image::Rgb([noise as u8, (noise >> 8) as u8, (noise >> 16) as u8])
        });
        let encoded = EncodedPicture::of(&photograph).unwrap();
        let picture = image::load_from_memory(&encoded.bytes).unwrap();
        assert_eq!((picture.width(), picture.height()), (384, 192));
        assert_eq!(encoded.media_type, "image/jpeg");
        let flat = EncodedPicture::of(&RgbImage::new(1000, 500)).unwrap();
        assert_eq!(flat.media_type, "image/png");
        assert!(flat.data_address().starts_with("data:image/png;base64,"));
    }
}
