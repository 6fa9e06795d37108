//! How attention within segments is cut into blocks of work: tables that its kernels read, made once for a packed stream.
//! Not here: the kernels and what they compute (`attention`).

use std::cmp::Reverse;
use std::ops::Range;

use candle_core::{Device, Result, Tensor, bail};

/// Rows of a block: queries or keys.
pub(crate) const TILE: usize = 64;
/// Rows of the other side that a block of the backward pass takes at a time.
pub(crate) const STEP: usize = 32;
/// Most turns of one block of keys. A prompt's first keys are seen by all of their group, and one block for each of them would
/// still run long after all others.
const MAX_TURNS: usize = 96;

/// A prompt, a completion or an image: rows of a packed stream that attend to themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its rows.
    pub rows: Range<usize>,
    /// Other rows, before its own, that each of its tokens sees: a completion's prompt.
    pub prompt: Range<usize>,
    /// Where the rows end that see it, which start with its own: for a prompt, its last completion's end.
    pub seen_until: usize,
}

/// The work of attention within the segments of one stream, on a device.
#[derive(Debug)]
pub struct Tiles {
    /// Tokens of the stream.
    pub(crate) tokens: usize,
    /// Whether a token sees nothing of its segment behind itself.
    pub(crate) is_causal: bool,
    /// Heads of queries that share one of keys.
    pub(crate) heads_per_kv: usize,
    /// `[n, 6]`: `QueryTile` of `kernels/attention.cuh`.
    pub(crate) queries: Tensor,
    /// `[n, 5]`: `KeyTile`.
    pub(crate) keys: Tensor,
    /// `[n, 4]`: `SplitTile`.
    pub(crate) split: Tensor,
    /// Shares of all split tiles together.
    pub(crate) n_parts: usize,
}

impl Tiles {
    /// - `segments`: in order, covering rows 0 to the last without gaps
    /// - `is_causal`: a token sees itself and what is before it, not all of its segment
    /// - `heads_per_kv`: heads of queries that share one of keys
    ///
    /// # Errors
    /// The segments do not fit each other, or the tables cannot be allocated.
    pub fn new(
        device: &Device,
        segments: &[Segment],
        is_causal: bool,
        heads_per_kv: usize,
    ) -> Result<Self> {
        let tokens = checked_len(segments)?;
        let queries = query_tiles(segments, is_causal);
        let (keys, split, n_parts) = key_tiles(segments, is_causal, heads_per_kv);
        Ok(Self {
            tokens,
            is_causal,
            heads_per_kv,
            queries: upload(&queries, device)?,
            keys: upload(&keys, device)?,
            split: upload(&split, device)?,
            n_parts,
        })
    }

    /// Heads of queries that share one of keys.
    pub fn heads_per_kv(&self) -> usize {
        self.heads_per_kv
    }
}

/// Rows of all segments.
fn checked_len(segments: &[Segment]) -> Result<usize> {
    let len = segments.last().map_or(0, |segment| segment.rows.end);
    let mut start = 0;
    for segment in segments {
        let Segment { rows, prompt, seen_until } = segment;
        let follows = rows.start == start && rows.start <= rows.end;
        let fits = prompt.start <= prompt.end && prompt.end <= rows.start;
        if !follows || !fits || !(rows.end..=len).contains(seen_until) {
            bail!("attention: {segment:?} does not fit the rows of {len} before and after it");
        }
        start = rows.end;
    }
    if i32::try_from(len).is_err() {
        bail!("attention: a stream of {len} tokens is too long");
    }
    Ok(len)
}

/// Pieces of at most `size` rows.
fn pieces(rows: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = rows.end;
    rows.step_by(size).map(move |start| start..(start + size).min(end))
}

/// The most work first, so that none of it starts when everything else is done.
fn query_tiles(segments: &[Segment], is_causal: bool) -> Vec<[usize; 6]> {
    let mut tiles = Vec::new();
    for Segment { rows, prompt, .. } in segments {
        for tile in pieces(rows.clone(), TILE) {
            let own_end = [rows.end, tile.end][usize::from(is_causal)];
            let n_keys = prompt.len() + own_end - rows.start;
            let start = tile.start;
            tiles.push([start, tile.len(), prompt.start, prompt.len(), rows.start, n_keys]);
        }
    }
    tiles.sort_by_key(|tile| Reverse(tile[5]));
    tiles
}

/// Tiles of keys with ranges of queries, the most work first; the tiles that have several ranges; how many ranges these have.
fn key_tiles(
    segments: &[Segment],
    is_causal: bool,
    heads_per_kv: usize,
) -> (Vec<[usize; 5]>, Vec<[usize; 4]>, usize) {
    /// A share's number where the tile has one range: the kernel reads it as -1.
    const WHOLE: usize = u32::MAX as usize;
    let most_queries = (MAX_TURNS / heads_per_kv.max(1)).max(1) * STEP;
    let (mut tiles, mut split, mut n_parts) = (Vec::new(), Vec::new(), 0);
    for Segment { rows, seen_until, .. } in segments {
        for tile in pieces(rows.clone(), TILE) {
            // Nothing before a key sees it; what is behind it in the stream and sees its segment, sees it.
            let first_query = [rows.start, tile.start][usize::from(is_causal)];
            let n_ranges = (seen_until - first_query).div_ceil(most_queries);
            let first_part = n_parts;
            for range in pieces(first_query..*seen_until, most_queries) {
                let part = if n_ranges == 1 { WHOLE } else { n_parts };
                tiles.push([tile.start, tile.len(), range.start, range.end, part]);
                n_parts += usize::from(n_ranges > 1);
            }
            if n_ranges > 1 {
                split.push([tile.start, tile.len(), first_part, n_ranges]);
            }
        }
    }
    tiles.sort_by_key(|tile| Reverse(tile[3] - tile[2]));
    (tiles, split, n_parts)
}

fn upload<const N: usize>(table: &[[usize; N]], device: &Device) -> Result<Tensor> {
    let numbers: Vec<u32> = table.iter().flatten().map(|n| *n as u32).collect();
    if table.is_empty() {
        return Tensor::zeros((1, N), candle_core::DType::U32, device)?.narrow(0, 0, 0);
    }
    Tensor::from_vec(numbers, (table.len(), N), device)
}
