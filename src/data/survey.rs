//! Looking at every row: at pictures' headers before a run, and at the prompts that rows become.
//! Not here: which rows a run file names (`configured`), whether a model has room for a prompt (`train`).

use super::{DataError, Dataset, ImageSource, Questions, Sample};
use crate::processor::{Processor, Prompt};
use rayon::prelude::*;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Rows that are looked at together, on all threads.
const BLOCK_ROWS: usize = 64;

/// Reads the header of every picture of the first `n` rows, in their order, until the time is over; how many rows were
/// looked at.
///
/// - `on_rows`: called with the number of rows looked at so far
///
/// # Errors
/// The first row with a picture that cannot be used.
pub fn read_headers(
    dataset: &Dataset,
    n: usize,
    within: Duration,
    on_rows: &mut dyn FnMut(usize),
) -> Result<usize, DataError> {
    if matches!(dataset, Dataset::Drawn(_)) || !dataset.may_have_pictures() {
        return Ok(n);
    }
    let start = Instant::now();
    for first in (0..n).step_by(BLOCK_ROWS) {
        if start.elapsed() >= within {
            return Ok(first);
        }
        // Fetched in order, as pictures stored in large groups are read fastest.
        let rows = (first..n.min(first + BLOCK_ROWS)).map(|idx| dataset.get(idx));
        let rows = rows.collect::<Result<Vec<Sample>, _>>()?;
        rows.par_iter().try_for_each(|row| sizes(row).map(drop))?;
        on_rows(first + rows.len());
    }
    Ok(n)
}

/// The width and height of each of a row's pictures, pixels.
fn sizes(row: &Sample) -> Result<Vec<[u32; 2]>, DataError> {
    let sizes = row.images.iter().map(ImageSource::size).collect::<Result<_, _>>();
    sizes.map_err(|source| DataError::Unusable { sample: row.id.clone(), source: Box::new(source) })
}

/// What rows are as prompts.
#[derive(Debug, Default)]
pub struct Survey {
    /// Rows that were made into prompts.
    pub rows: usize,
    /// Why others could not be, in their order.
    pub unusable: Vec<DataError>,
    /// Text tokens of prompts: template, chat markers and the question.
    pub text_tokens: Range,
    /// Image tokens of prompts.
    pub image_tokens: Range,
    /// Tokens of prompts.
    pub prompt_tokens: Range,
    /// Pictures of a row.
    pub pictures: Range,
    /// Pixels of a picture as it is stored.
    pub pixels: Range,
    /// The row with the longest prompt.
    pub longest: Option<String>,
}

/// The least, the middle and the largest of some numbers; of an even number of them the larger middle. All 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Range {
    /// The least.
    pub least: usize,
    /// The one in the middle.
    pub median: usize,
    /// The largest.
    pub most: usize,
}

impl Range {
    fn of(mut numbers: Vec<usize>) -> Self {
        numbers.sort_unstable();
        match (numbers.first(), numbers.get(numbers.len() / 2), numbers.last()) {
            (Some(&least), Some(&median), Some(&most)) => Self { least, median, most },
            _ => Self::default(),
        }
    }
}

/// What one row is as a prompt.
struct Looked {
    id: String,
    n_text: usize,
    n_image: usize,
    pixels: Vec<usize>,
}

/// Makes the first `n` rows into prompts, pictures included.
///
/// - `on_rows`: called with the number of rows looked at so far
pub fn survey(
    questions: &Questions,
    processor: &Processor,
    n: usize,
    on_rows: &mut dyn FnMut(usize),
) -> Survey {
    let (mut found, mut unusable) = (Vec::new(), Vec::new());
    for first in (0..n).step_by(BLOCK_ROWS) {
        let end = n.min(first + BLOCK_ROWS);
        let look = |row| questions.prompt(processor, row).and_then(|asked| looked(&asked));
        let rows: Vec<_> = (first..end).into_par_iter().map(look).collect();
        for row in rows {
            match row {
                Ok(row) => found.push(row),
                Err(error) => unusable.push(error),
            }
        }
        on_rows(end);
    }
    let of = |number: &dyn Fn(&Looked) -> usize| Range::of(found.iter().map(number).collect());
    let longest = found.iter().max_by_key(|row| row.n_text + row.n_image);
    Survey {
        rows: found.len(),
        unusable,
        text_tokens: of(&|row| row.n_text),
        image_tokens: of(&|row| row.n_image),
        prompt_tokens: of(&|row| row.n_text + row.n_image),
        pictures: of(&|row| row.pixels.len()),
        pixels: Range::of(found.iter().flat_map(|row| row.pixels.iter().copied()).collect()),
        longest: longest.map(|row| row.id.clone()),
    }
}

fn looked((sample, prompt): &(Sample, Prompt)) -> Result<Looked, DataError> {
    let pixels = sizes(sample)?.into_iter().map(|[width, height]| width as usize * height as usize);
    let n_image = prompt.image_rows.len();
    Ok(Looked {
        id: sample.id.clone(),
        n_text: prompt.input_ids.len() - n_image,
        n_image,
        pixels: pixels.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{OpenOptions, Template, open};
    use super::*;
    use crate::model::files::ModelFiles;
    use std::path::Path;
    use std::sync::Arc;

    /// Rows with pictures, the third of which is none.
    fn rows(folder: &Path) -> Dataset {
        let mut lines = String::new();
        for (idx, side) in [28, 56, 0, 84].into_iter().enumerate() {
            let path = folder.join(format!("{idx}.png"));
            match side {
                0 => std::fs::write(path, "no picture").unwrap(),
                side => image::RgbImage::new(side, 28).save(path).unwrap(),
            }
            let row = format!("{{\"problem\":\"?\",\"solution\":1,\"image\":\"{idx}.png\"}}\n");
            lines.push_str(&row);
        }
        std::fs::write(folder.join("rows.jsonl"), lines).unwrap();
        open(&folder.join("rows.jsonl"), None, &OpenOptions::default()).unwrap()
    }

    #[test]
    fn the_header_of_every_picture_is_read_until_the_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = rows(folder.path());
        let mut seen = Vec::new();
        let mut read = |n, within| read_headers(&dataset, n, within, &mut |n| seen.push(n));
        let hour = Duration::from_hours(1);
        assert_eq!(read(2, hour).unwrap(), 2);
        assert_eq!(read(4, Duration::ZERO).unwrap(), 0, "no time");
        let error = read(4, hour).unwrap_err().to_string();
        assert!(error.starts_with("sample rows.jsonl:3: "), "{error}");
        assert_eq!(seen, [2]);
    }

    #[test]
    fn every_row_becomes_a_prompt_or_says_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = Arc::new(rows(folder.path()));
        let questions =
            Questions { dataset, template: Template::new("plain").unwrap(), boxes: None };
        let files = ModelFiles::Folder("tests/golden/micro/policy".into());
        let processor = Processor::load(&files).unwrap();
        let found = survey(&questions, &processor, 4, &mut |_| {});
        assert_eq!((found.rows, found.unusable.len()), (3, 1));
        assert!(found.unusable[0].to_string().starts_with("sample rows.jsonl:3: "));
        assert_eq!(found.pixels, Range { least: 28 * 28, median: 56 * 28, most: 84 * 28 });
        assert_eq!(found.pictures, Range { least: 1, median: 1, most: 1 });
        let (_, prompt) = questions.prompt(&processor, 0).unwrap();
        let n_text = prompt.input_ids.len() - prompt.images[0].n_tokens();
        assert_eq!(found.text_tokens, Range { least: n_text, median: n_text, most: n_text });
        assert_eq!(found.image_tokens.least, prompt.images[0].n_tokens());
        assert_eq!(found.prompt_tokens.most, n_text + found.image_tokens.most);
        assert_eq!(found.longest.as_deref(), Some("rows.jsonl:4"));
        assert_eq!(Range::of(vec![5, 1, 3, 2]), Range { least: 1, median: 3, most: 5 });
    }
}
