//! Prompts and their completions laid out as one packed token stream.
//! Not here: tokenising and images (`processor`), the model that reads the stream (`network`).

use candle_core::{Result, bail};

use crate::ops::Segments;
use crate::processor::{ImagePatches, Prompt};

/// A prompt with the completions that are scored under it.
#[derive(Debug, Clone)]
pub struct PackedGroup<'a> {
    /// The prompt, computed once however many completions follow.
    pub prompt: &'a Prompt,
    /// Token ids of each completion, at least one token each.
    pub completions: Vec<&'a [u32]>,
}

/// One packed stream: every prompt once, every completion once, no padding.
///
/// A completion's last token predicts nothing that is scored, so it is not fed: a completion of `n`
/// tokens takes `n - 1` rows. Its first token is predicted from the prompt's last row, which all
/// completions of the group share.
#[derive(Debug, Clone)]
pub struct Packed {
    /// `[T]` token ids; an image's rows hold the image token.
    pub input_ids: Vec<u32>,
    /// `[T]` temporal, row and column positions.
    pub positions: Vec<[u32; 3]>,
    /// Which rows attend to which.
    pub segments: Segments,
    /// `[patches, patch_dim]` of all images, one after the other.
    pub pixel_values: Vec<f32>,
    /// Frames, rows and columns of patches of each image.
    pub grids: Vec<[usize; 3]>,
    /// Rows of the stream that image embeddings take, in order.
    pub image_rows: Vec<u32>,
    /// `[N]` rows whose hidden state predicts a scored token.
    pub scored_rows: Vec<u32>,
    /// `[N]` the scored tokens: all of the first completion, then of the next.
    pub targets: Vec<u32>,
}

impl Packed {
    /// Lays the groups out one after the other.
    ///
    /// # Errors
    /// A prompt or completion without a token, or a number of image tokens that its images do not fill.
    pub fn new(groups: &[PackedGroup]) -> Result<Self> {
        let lens: Vec<(usize, Vec<usize>)> = groups
            .iter()
            .map(|g| {
                let fed = g.completions.iter().map(|c| c.len().saturating_sub(1)).collect();
                (g.prompt.input_ids.len(), fed)
            })
            .collect();
        let segments = Segments::prompts(&lens)?;
        let mut packed = Self {
            input_ids: Vec::with_capacity(segments.len()),
            positions: Vec::with_capacity(segments.len()),
            segments,
            pixel_values: Vec::new(),
            grids: Vec::new(),
            image_rows: Vec::new(),
            scored_rows: Vec::new(),
            targets: Vec::new(),
        };
        for group in groups {
            packed.push_prompt(group.prompt)?;
            let last = packed.input_ids.len() as u32 - 1;
            for completion in &group.completions {
                packed.push_completion(completion, last, group.prompt.next_position)?;
            }
        }
        Ok(packed)
    }

    /// Scores the prompts' own tokens too, after the completions': every token but each prompt's first one, and but
    /// the image tokens, which are no text.
    pub fn score_prompts(&mut self, groups: &[PackedGroup]) {
        let mut first_row = 0;
        for group in groups {
            for (row, token) in prompt_targets(group.prompt) {
                self.scored_rows.push(first_row + row);
                self.targets.push(token);
            }
            let fed = group.completions.iter().map(|completion| completion.len() - 1);
            first_row += (group.prompt.input_ids.len() + fed.sum::<usize>()) as u32;
        }
    }

    fn push_prompt(&mut self, prompt: &Prompt) -> Result<()> {
        let first = self.input_ids.len() as u32;
        if prompt.positions.len() != prompt.input_ids.len() {
            let (positions, tokens) = (prompt.positions.len(), prompt.input_ids.len());
            bail!("a prompt has {positions} positions for {tokens} tokens");
        }
        let tokens = prompt.image_rows.len();
        let embeddings: usize = prompt.images.iter().map(ImagePatches::n_tokens).sum();
        if tokens != embeddings {
            bail!("a prompt has {tokens} image tokens, its images give {embeddings} embeddings");
        }
        self.input_ids.extend(&prompt.input_ids);
        self.positions.extend(&prompt.positions);
        self.image_rows.extend(prompt.image_rows.iter().map(|row| first + row));
        for image in &prompt.images {
            self.pixel_values.extend(&image.pixel_values);
            self.grids.push(image.grid_thw);
        }
        Ok(())
    }

    fn push_completion(&mut self, completion: &[u32], last: u32, next_position: u32) -> Result<()> {
        let Some((_, fed)) = completion.split_last() else { bail!("a completion has no token") };
        let start = self.input_ids.len() as u32;
        self.scored_rows.push(last);
        self.scored_rows.extend(start..start + fed.len() as u32);
        self.targets.extend(completion);
        self.input_ids.extend(fed);
        self.positions.extend((0..fed.len() as u32).map(|i| [next_position + i; 3]));
        Ok(())
    }

    /// Tokens of the stream.
    pub fn len(&self) -> usize {
        self.input_ids.len()
    }

    /// Whether the stream has no token.
    pub fn is_empty(&self) -> bool {
        self.input_ids.is_empty()
    }
}

/// Tokens of a prompt that can be taught, each with the row that predicts it.
pub fn prompt_targets(prompt: &Prompt) -> impl Iterator<Item = (u32, u32)> {
    let next = prompt.input_ids.iter().copied().skip(1);
    (0..).zip(next).filter(|(row, _)| prompt.image_rows.binary_search(&(row + 1)).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: u32 = 9;

    fn prompt(ids: &[u32], images: Vec<ImagePatches>) -> Prompt {
        Prompt {
            input_ids: ids.to_vec(),
            positions: (0..ids.len() as u32).map(|i| [i; 3]).collect(),
            next_position: ids.len() as u32,
            images,
            image_rows: (0..)
                .zip(ids)
                .filter(|(_, id)| **id == IMAGE)
                .map(|(row, _)| row)
                .collect(),
            text: String::new(),
        }
    }

    #[test]
    fn a_first_token_is_predicted_from_the_prompt_and_a_last_token_is_not_fed() {
        let prompt = prompt(&[5, 6, 7], vec![]);
        let completions: Vec<&[u32]> = vec![&[1, 2, 3], &[4]];
        let packed = Packed::new(&[PackedGroup { prompt: &prompt, completions }]).unwrap();
        assert_eq!(packed.input_ids, [5, 6, 7, 1, 2]);
        assert_eq!(packed.scored_rows, [2, 3, 4, 2]);
        assert_eq!(packed.targets, [1, 2, 3, 4]);
        assert_eq!(packed.positions[3..], [[3; 3], [4; 3]]);
    }

    #[test]
    fn prompts_own_tokens_are_scored_behind_the_completions_without_image_tokens() {
        let image = ImagePatches { pixel_values: vec![0.0; 8], grid_thw: [1, 2, 4], merge_size: 2 };
        let seen = prompt(&[1, IMAGE, IMAGE, 2], vec![image]);
        let read = prompt(&[5, 6, 7], vec![]);
        let groups = [
            PackedGroup { prompt: &seen, completions: vec![&[3, 4][..]] },
            PackedGroup { prompt: &read, completions: vec![&[8][..]] },
        ];
        let mut packed = Packed::new(&groups).unwrap();
        assert_eq!(packed.input_ids, [1, IMAGE, IMAGE, 2, 3, 5, 6, 7]);
        let n_completion = packed.targets.len();
        packed.score_prompts(&groups);
        assert_eq!(packed.scored_rows[n_completion..], [2, 5, 6]);
        assert_eq!(packed.targets[n_completion..], [2, 6, 7]);
    }

    #[test]
    fn image_rows_are_found_and_counted() {
        let image = ImagePatches { pixel_values: vec![0.0; 8], grid_thw: [1, 2, 4], merge_size: 2 };
        let good = prompt(&[1, IMAGE, IMAGE, 2], vec![image.clone()]);
        let group = |prompt| PackedGroup { prompt, completions: vec![&[1][..]] };
        let packed = Packed::new(&[group(&good), group(&good)]).unwrap();
        assert_eq!(packed.image_rows, [1, 2, 5, 6]);
        let bad = prompt(&[1, IMAGE, 2], vec![image]);
        let error = Packed::new(&[group(&bad)]).unwrap_err().to_string();
        assert!(error.contains("1 image tokens, its images give 2"), "{error}");
    }
}
