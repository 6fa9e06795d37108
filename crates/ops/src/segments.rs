//! Which tokens of a packed stream see which: prompts with their completions, or separate images.
//! Not here: the attention itself (`segment_attention`).

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Result, Tensor, bail};
#[cfg(feature = "cuda")]
use othink_cuda::{Segment, Tiles};

/// A prompt and the completions that follow it in the stream, without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// First row of the prompt.
    pub start: usize,
    /// Tokens of the prompt.
    pub prompt_len: usize,
    /// Tokens of each completion, in stream order.
    pub completion_lens: Vec<usize>,
}

impl Group {
    /// All rows of the group.
    pub fn rows(&self) -> Range<usize> {
        self.start..self.start + self.len()
    }

    /// Tokens of prompt and completions together.
    pub fn len(&self) -> usize {
        self.prompt_len + self.completion_lens.iter().sum::<usize>()
    }

    /// Whether the group has no token.
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
    /// Itself and the tokens before it: the language model.
    Causal,
    /// All of it: the vision tower.
    Full,
}

/// The segments of one packed stream, checked when they are made and not again by operations.
#[derive(Debug, Clone)]
pub struct Segments {
    groups: Vec<Group>,
    visibility: Visibility,
    len: usize,
    /// Shared by clones, so that all layers of a stream use the same masks.
    on_device: Arc<Mutex<Option<OnDevice>>>,
    /// The same of the tables that the GPU's kernels read.
    #[cfg(feature = "cuda")]
    tiles: Arc<Mutex<Option<TilesOnDevice>>>,
}

#[cfg(feature = "cuda")]
type TilesOnDevice = (Device, Arc<Tiles>);

/// The masks that the plain path reads, on a device; made on first use.
#[derive(Debug, Clone)]
struct OnDevice {
    device: Device,
    masks: Arc<[Option<Tensor>]>,
}

impl Segments {
    /// Prompts with their completions: `(prompt length, completion lengths)` in stream order. A
    /// completion sees all of its prompt and itself causally, never another completion.
    ///
    /// # Errors
    /// A prompt without a token.
    pub fn prompts(groups: &[(usize, Vec<usize>)]) -> Result<Self> {
        let mut start = 0;
        let mut checked = Vec::with_capacity(groups.len());
        for (prompt_len, completion_lens) in groups {
            if *prompt_len == 0 {
                bail!("segments: a prompt has no token");
            }
            let completion_lens = completion_lens.clone();
            let group = Group { start, prompt_len: *prompt_len, completion_lens };
            start += group.len();
            checked.push(group);
        }
        Ok(Self {
            groups: checked,
            visibility: Visibility::Causal,
            len: start,
            on_device: Arc::default(),
            #[cfg(feature = "cuda")]
            tiles: Arc::default(),
        })
    }

    /// Separate segments that each see all of themselves: images in the vision tower.
    ///
    /// # Errors
    /// A segment without a token.
    pub fn separate(lens: &[usize]) -> Result<Self> {
        let groups: Vec<_> = lens.iter().map(|len| (*len, Vec::new())).collect();
        Ok(Self { visibility: Visibility::Full, ..Self::prompts(&groups)? })
    }

    /// The groups in stream order.
    pub fn groups(&self) -> &[Group] {
        &self.groups
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

    /// Per group, what is added to the score of each of its tokens (rows) for each of its tokens
    /// (columns): `[n, n]` f32, minus infinity where the first does not see the second; `None` where every
    /// token sees all of them. Made once, and again for another device.
    ///
    /// # Errors
    /// A mask cannot be allocated.
    pub(super) fn masks(&self, device: &Device) -> Result<Arc<[Option<Tensor>]>> {
        let mut on_device = self.on_device.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = on_device.as_ref().filter(|made| made.device.same_device(device)) {
            return Ok(made.masks.clone());
        }
        let masks = self.groups.iter().map(|group| self.mask(group, device));
        let masks: Arc<[Option<Tensor>]> = masks.collect::<Result<_>>()?;
        *on_device = Some(OnDevice { device: device.clone(), masks: masks.clone() });
        Ok(masks)
    }

    fn mask(&self, group: &Group, device: &Device) -> Result<Option<Tensor>> {
        if self.visibility == Visibility::Full && group.completion_lens.is_empty() {
            return Ok(None);
        }
        let n = group.len();
        let mut mask = vec![f32::NEG_INFINITY; n * n];
        for i in 0..n {
            let own = self.own_rows(group, group.start + i);
            if i >= group.prompt_len {
                mask[i * n..i * n + group.prompt_len].fill(0.0);
            }
            mask[i * n + own.start - group.start..i * n + own.end - group.start].fill(0.0);
        }
        Tensor::from_vec(mask, (n, n), device).map(Some)
    }

    /// The work of the GPU's kernels where so many heads of queries share one of keys. Made once, and again for another
    /// device or another number.
    ///
    /// # Errors
    /// The tables cannot be allocated.
    #[cfg(feature = "cuda")]
    pub(super) fn tiles(&self, device: &Device, heads_per_kv: usize) -> Result<Arc<Tiles>> {
        let mut tiles = self.tiles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, made)) = tiles.as_ref()
            && at.same_device(device)
            && made.heads_per_kv() == heads_per_kv
        {
            return Ok(made.clone());
        }
        let segments: Vec<_> = self.groups.iter().flat_map(segments_of).collect();
        let is_causal = self.visibility == Visibility::Causal;
        let made = Arc::new(Tiles::new(device, &segments, is_causal, heads_per_kv)?);
        *tiles = Some((device.clone(), made.clone()));
        Ok(made)
    }

    /// The rows of its own segment that the token at `row` of `group` sees.
    pub(super) fn own_rows(&self, group: &Group, row: usize) -> Range<usize> {
        let prompt = group.start..group.start + group.prompt_len;
        let segment = if prompt.contains(&row) {
            prompt
        } else {
            group.completions().find(|rows| rows.contains(&row)).unwrap_or(row..row + 1)
        };
        match self.visibility {
            Visibility::Causal => segment.start..row + 1,
            Visibility::Full => segment,
        }
    }
}

/// A group's prompt and completions.
#[cfg(feature = "cuda")]
fn segments_of(group: &Group) -> impl Iterator<Item = Segment> {
    let prompt = group.start..group.start + group.prompt_len;
    let seen_until = group.rows().end;
    let first = Segment { rows: prompt.clone(), prompt: 0..0, seen_until };
    let completions = group.completions().map(move |rows| {
        let seen_until = rows.end;
        Segment { rows, prompt: prompt.clone(), seen_until }
    });
    std::iter::once(first).chain(completions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_follow_their_prompt_without_gaps() {
        let segments = Segments::prompts(&[(3, vec![2, 1]), (2, vec![])]).unwrap();
        assert_eq!(segments.len(), 8);
        let first = &segments.groups()[0];
        assert_eq!(first.completions().collect::<Vec<_>>(), [3..5, 5..6]);
        assert_eq!(segments.groups()[1].rows(), 6..8);
        assert_eq!(segments.own_rows(first, 1), 0..2);
        assert_eq!(segments.own_rows(first, 4), 3..5);
        assert_eq!(segments.own_rows(first, 5), 5..6);
    }

    #[test]
    fn an_image_sees_all_of_itself() {
        let segments = Segments::separate(&[4, 3]).unwrap();
        assert_eq!(segments.own_rows(&segments.groups()[1], 5), 4..7);
    }

    #[test]
    fn masks_are_made_once_for_a_stream_and_all_its_clones() {
        let segments = Segments::prompts(&[(2, vec![1, 1]), (1, vec![])]).unwrap();
        let masks = segments.clone().masks(&Device::Cpu).unwrap();
        let again = segments.masks(&Device::Cpu).unwrap();
        assert!(Arc::ptr_eq(&masks, &again));
        let no = f32::NEG_INFINITY;
        let expected = [[0., no, no, no], [0., 0., no, no], [0., 0., 0., no], [0., 0., no, 0.]];
        assert_eq!(masks[0].as_ref().unwrap().to_vec2::<f32>().unwrap(), expected);
        assert_eq!(masks[1].as_ref().unwrap().dims(), [1, 1]);
    }

    #[test]
    fn an_image_needs_no_mask() {
        let masks = Segments::separate(&[4, 3]).unwrap().masks(&Device::Cpu).unwrap();
        assert!(masks.len() == 2 && masks.iter().all(Option::is_none));
    }

    #[test]
    fn an_empty_prompt_is_refused() {
        assert!(Segments::prompts(&[(0, vec![1])]).is_err());
    }
}
