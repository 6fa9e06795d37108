//! Which tokens of a packed stream see which: prompts with their completions, or separate images.
//! Not here: the attention itself (`segment_attention`).

use candle_core::{Result, bail};
use std::ops::Range;

/// A prompt and the completions that follow it in the stream, without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// First row of the prompt.
    pub start: usize,
    /// Tokens of the prompt.
    pub prompt_len: usize,
    /// Tokens of each completion, in stream order.
    pub completion_lens: Vec<usize>,
}

impl Family {
    /// All rows of the family.
    pub fn rows(&self) -> Range<usize> {
        self.start..self.start + self.len()
    }

    /// Tokens of prompt and completions together.
    pub fn len(&self) -> usize {
        self.prompt_len + self.completion_lens.iter().sum::<usize>()
    }

    /// Whether the family has no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of each completion.
    pub fn completions(&self) -> impl Iterator<Item = Range<usize>> {
        let mut start = self.start + self.prompt_len;
        self.completion_lens.iter().map(move |len| {
            let rows = start..start + len;
            start = rows.end;
            rows
        })
    }
}

/// How a token sees its own segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Itself and what stands before it: the language model.
    Causal,
    /// All of it: the vision tower.
    Full,
}

/// The segments of one packed stream: checked once, trusted by every operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segments {
    families: Vec<Family>,
    visibility: Visibility,
    len: usize,
}

impl Segments {
    /// Prompts with their completions: `(prompt length, completion lengths)` in stream order. A
    /// completion sees all of its prompt and itself causally, never another completion.
    ///
    /// # Errors
    /// A prompt without a token.
    pub fn prompts(families: &[(usize, Vec<usize>)]) -> Result<Self> {
        let mut start = 0;
        let mut checked = Vec::with_capacity(families.len());
        for (prompt_len, completion_lens) in families {
            if *prompt_len == 0 {
                bail!("segments: a prompt has no token");
            }
            let completion_lens = completion_lens.clone();
            let family = Family { start, prompt_len: *prompt_len, completion_lens };
            start += family.len();
            checked.push(family);
        }
        Ok(Self { families: checked, visibility: Visibility::Causal, len: start })
    }

    /// Separate segments that each see all of themselves: images in the vision tower.
    ///
    /// # Errors
    /// A segment without a token.
    pub fn separate(lens: &[usize]) -> Result<Self> {
        let families: Vec<_> = lens.iter().map(|len| (*len, Vec::new())).collect();
        Ok(Self { visibility: Visibility::Full, ..Self::prompts(&families)? })
    }

    /// The families in stream order.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// How a token sees its own segment.
    pub fn visibility(&self) -> Visibility {
        self.visibility
    }

    /// Tokens of the stream.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the stream has no token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The rows of its own segment that the token at `row` of `family` sees.
    pub(super) fn own_rows(&self, family: &Family, row: usize) -> Range<usize> {
        let prompt = family.start..family.start + family.prompt_len;
        let segment = if prompt.contains(&row) {
            prompt
        } else {
            family.completions().find(|rows| rows.contains(&row)).unwrap_or(row..row + 1)
        };
        match self.visibility {
            Visibility::Causal => segment.start..row + 1,
            Visibility::Full => segment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_follow_their_prompt_without_gaps() {
        let segments = Segments::prompts(&[(3, vec![2, 1]), (2, vec![])]).unwrap();
        assert_eq!(segments.len(), 8);
        let first = &segments.families()[0];
        assert_eq!(first.completions().collect::<Vec<_>>(), [3..5, 5..6]);
        assert_eq!(segments.families()[1].rows(), 6..8);
        assert_eq!(segments.own_rows(first, 1), 0..2);
        assert_eq!(segments.own_rows(first, 4), 3..5);
        assert_eq!(segments.own_rows(first, 5), 5..6);
    }

    #[test]
    fn an_image_sees_all_of_itself() {
        let segments = Segments::separate(&[4, 3]).unwrap();
        assert_eq!(segments.own_rows(&segments.families()[1], 5), 4..7);
    }

    #[test]
    fn an_empty_prompt_is_refused() {
        assert!(Segments::prompts(&[(0, vec![1])]).is_err());
    }
}
