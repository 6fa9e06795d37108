//! Drawing the next token of each row from its logits, and looking its embedding up.
//! Not here: the arithmetic, which is that of the program's sampler on the CPU (`kernels/decode_*.cu*`).

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr};
use candle_core::{CudaDevice, DType, Device, Result, Tensor, bail};

use super::state::RowStates;
use crate::array::Array;
use crate::launch::{Argument, Grid, Kernel, kernel, launch_early};

const EXTREMES: Kernel = kernel!("decode_sample", "sample_extremes");
const FILTER: Kernel = kernel!("decode_filter", "sample_filter");
const TOTALS: Kernel = kernel!("decode_sample", "sample_totals");
const DRAW: Kernel = kernel!("decode_sample", "sample_draw");
const EMBED: Kernel = kernel!("decode_sample", "embed_drawn");

// As in `kernels/decode_row.cuh`, `decode_sample.cu` and `decode_filter.cu`.
const THREADS: usize = 128;
const THREADS_OF_FILTER: usize = 1024;
const BLOCK: usize = 1024;
const BLOCKS_AT_ONCE: usize = 8;
/// Words of 32 bits of `Extremes` there, and of `Totals`.
const WORDS_OF_BLOCK: usize = 4;
/// Probabilities are summed as multiples of 2^-42 in 64 bits.
const MOST_TOKENS: usize = 1 << 22;

/// `Sampled` of `kernels/decode_row.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DrawnToken {
    /// The token, or that whose logit is not finite.
    pub id: u32,
    /// Its log-probability under the whole row at the temperature, nats.
    pub logp: f32,
    /// 0: none; 1: the logit of `id` is not finite; 2: no token may be drawn.
    pub problem: u32,
}

// SAFETY: numbers without padding, laid out as in `kernels/decode_row.cuh`.
unsafe impl DeviceRepr for DrawnToken {}

/// How tokens are drawn.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// Divides the logits; `None` for the most likely token, which no filter changes.
    pub temperature: Option<f32>,
    /// Keeps the k most likely tokens and those tied with the k-th; 0 keeps all.
    pub top_k: usize,
    /// Keeps the most likely tokens that together have this probability; 1 keeps all.
    pub top_p: f64,
    /// Drops tokens less likely than this fraction of the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Divides the positive logits of tokens seen before and multiplies the negative ones; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Ids that are never drawn.
    pub suppressed: Vec<u32>,
    /// Ids that are not drawn either until a completion has `min_new_tokens` tokens.
    pub stops: Vec<u32>,
    /// See `stops`.
    pub min_new_tokens: usize,
    /// Tokens of a completion, at most.
    pub max_new_tokens: usize,
}

impl Drawing {
    /// Whether an order of likelihood decides which tokens are left out.
    fn keeps_up_to_a_place(&self, vocab: usize) -> bool {
        let top_k = self.top_k > 0 && self.top_k < vocab;
        self.temperature.is_some() && (top_k || self.top_p < 1.0)
    }

    #[expect(clippy::float_cmp, reason = "exactly 1 is off, anything else is on")]
    fn looks_back(&self) -> bool {
        self.repetition_penalty != 1.0
    }

    /// A bit for each token that is not drawn: with the stops, and without.
    fn suppressed_bits(&self, vocab: usize) -> Vec<u32> {
        let with_stops = [&self.suppressed[..], &self.stops].concat();
        [bits(vocab, &with_stops), bits(vocab, &self.suppressed)].concat()
    }
}

/// A bit for each token of a vocabulary: whether it is among `ids`. Ids beyond are left out.
fn bits(vocab: usize, ids: &[u32]) -> Vec<u32> {
    let mut bits = vec![0; vocab.div_ceil(32)];
    for &id in ids.iter().filter(|id| (**id as usize) < vocab) {
        bits[id as usize / 32] |= 1 << (id % 32);
    }
    bits
}

/// `Drawing` of `kernels/decode_row.cuh`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Settings {
    suppressed: u64,
    seen: u64,
    last_kept: u64,
    extremes: u64,
    totals: u64,
    sampled: u64,
    tokens: u64,
    dropped: f64,
    temperature: f32,
    penalty: f32,
    min_p: f32,
    vocab: i32,
    top_k: i32,
    min_new_tokens: i32,
    max_new_tokens: i32,
    is_greedy: i32,
}

// SAFETY: numbers without padding, laid out as in `kernels/decode_row.cuh`.
unsafe impl DeviceRepr for Settings {}

/// Draws tokens: what is on the device for it.
pub struct DeviceSampler {
    vocab: usize,
    max_new_tokens: usize,
    arrays: Arrays,
    /// What the kernels read, with the addresses of the arrays.
    settings: CudaSlice<Settings>,
}

struct Arrays {
    /// A bit for each token: with the stops, and without.
    suppressed: Tensor,
    /// `[rows, words]`: a bit for each token of a row's prompt and completion, where they change what is drawn.
    seen: Option<Tensor>,
    /// `[rows, 2]`: a number of 64 bits each, where a filter needs it.
    last_kept: Option<Tensor>,
    /// Of blocks of tokens.
    extremes: Tensor,
    totals: Tensor,
    drawn: CudaSlice<DrawnToken>,
    /// `[rows]`
    tokens: Tensor,
}

impl Arrays {
    fn new(device: &CudaDevice, rows: usize, vocab: usize, drawing: &Drawing) -> Result<Self> {
        let (words, blocks) = (vocab.div_ceil(32), vocab.div_ceil(BLOCK));
        let drawn = device.cuda_stream().clone_htod(&vec![DrawnToken::default(); rows]).w()?;
        let device = Device::Cuda(device.clone());
        let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::U32, &device);
        let last_kept = drawing.keeps_up_to_a_place(vocab).then(|| zeros(&[rows, 2]));
        Ok(Self {
            suppressed: Tensor::from_vec(drawing.suppressed_bits(vocab), 2 * words, &device)?,
            seen: drawing.looks_back().then(|| zeros(&[rows, words])).transpose()?,
            last_kept: last_kept.transpose()?,
            extremes: zeros(&[rows, blocks, WORDS_OF_BLOCK])?,
            totals: zeros(&[rows, blocks, WORDS_OF_BLOCK])?,
            drawn,
            tokens: zeros(&[rows])?,
        })
    }

    fn settings(&self, vocab: usize, drawing: &Drawing) -> Result<Settings> {
        let if_any = |array: &Option<Tensor>| array.as_ref().map_or(Ok(0), address);
        let is_greedy = drawing.temperature.is_none();
        Ok(Settings {
            suppressed: address(&self.suppressed)?,
            seen: if_any(&self.seen)?,
            last_kept: if_any(&self.last_kept)?,
            extremes: address(&self.extremes)?,
            totals: address(&self.totals)?,
            sampled: self.drawn.device_ptr(self.drawn.stream()).0,
            tokens: address(&self.tokens)?,
            dropped: 1.0 - drawing.top_p,
            temperature: drawing.temperature.unwrap_or(1.0),
            penalty: drawing.repetition_penalty,
            min_p: drawing.min_p,
            vocab: count(vocab)?,
            // More than there are keep all, and may be more than an i32 holds.
            top_k: count(if drawing.top_k < vocab { drawing.top_k } else { 0 })?,
            min_new_tokens: count(drawing.min_new_tokens)?,
            max_new_tokens: count(drawing.max_new_tokens)?,
            is_greedy: i32::from(is_greedy),
        })
    }
}

impl DeviceSampler {
    /// # Errors
    /// Its arrays cannot be allocated, or there are too many tokens.
    pub fn new(device: &CudaDevice, rows: usize, vocab: usize, drawing: &Drawing) -> Result<Self> {
        if vocab > MOST_TOKENS {
            bail!("a vocabulary of {vocab} tokens, expected at most {MOST_TOKENS}")
        }
        let arrays = Arrays::new(device, rows, vocab, drawing)?;
        let settings = device.cuda_stream().clone_htod(&[arrays.settings(vocab, drawing)?]).w()?;
        Ok(Self { vocab, max_new_tokens: drawing.max_new_tokens, arrays, settings })
    }

    /// The tokens of a prompt as rows note them, on the device; `None` where drawing does not look back.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn seen(&self, ids: &[u32]) -> Result<Option<Tensor>> {
        let Some(seen) = &self.arrays.seen else { return Ok(None) };
        let bits = bits(self.vocab, ids);
        let words = bits.len();
        Tensor::from_vec(bits, (1, words), seen.device()).map(Some)
    }

    /// Notes what [`Self::seen`] made of a prompt as all that a row has seen.
    ///
    /// # Errors
    /// There is no such row, or drawing does not look back.
    pub fn note(&self, row: usize, prompt: &Tensor) -> Result<()> {
        match &self.arrays.seen {
            Some(seen) => seen.slice_set(prompt, 0, row),
            None => bail!("tokens seen before, without a repetition penalty"),
        }
    }

    /// Draws the next token of every row that is taken and has not all of its tokens. Three launches, four with top-k or
    /// top-p.
    ///
    /// - `logits`: `[rows, vocab]` f32
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn draw(&self, logits: Array, states: &RowStates) -> Result<()> {
        self.draw_of(logits, states, 0, states.n_rows(), false)
    }

    /// Draws the first token of one row, whose logits are those behind its prompt.
    ///
    /// # Errors
    /// Shapes do not fit, or there is no such row.
    pub fn draw_first(&self, logits: Array, states: &RowStates, row: usize) -> Result<()> {
        self.draw_of(logits, states, row, 1, true)
    }

    fn draw_of(
        &self,
        logits: Array,
        states: &RowStates,
        first_row: usize,
        rows: usize,
        is_first: bool,
    ) -> Result<()> {
        let (all, vocab) = (self.arrays.drawn.len(), self.vocab);
        let logits = logits.require("logits", DType::F32, &[all, vocab])?;
        if states.n_rows() != all || first_row + rows > all {
            bail!("rows {first_row} and {rows} more of {} in a sampler of {all}", states.n_rows());
        }
        let settings = Argument::Address(self.settings.device_ptr(self.settings.stream()).0);
        let arguments =
            [logits.into(), settings, states.address(), first_row.into(), is_first.into()];
        let launch = |kernel: &Kernel, threads, x, y| {
            let grid = Grid { blocks: [x, y, 1], threads, shared: 0 };
            // SAFETY: `logits` has a row of `vocab` numbers for each state, and so have the arrays of the settings, each of
            // its own.
            unsafe { launch_early(logits.device(), kernel, grid, &arguments) }
        };
        let blocks = vocab.div_ceil(BLOCK);
        launch(&EXTREMES, THREADS, blocks, rows)?;
        if self.arrays.last_kept.is_some() {
            launch(&FILTER, THREADS_OF_FILTER, rows, 1)?;
        }
        launch(&TOTALS, THREADS, blocks.div_ceil(BLOCKS_AT_ONCE), rows)?;
        launch(&DRAW, THREADS, rows, 1)
    }

    /// The embeddings of the rows' newest tokens.
    ///
    /// - `table`: `[vocab, width]` bf16; `out`: `[rows, width]` bf16, overwritten where a row is taken
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn embed(&self, table: Array, states: &RowStates, out: Array) -> Result<()> {
        let (rows, (_, width)) = (self.arrays.drawn.len(), table.rows());
        let table = table.require("an embedding table", DType::BF16, &[self.vocab, width])?;
        let out = out.require("embeddings", DType::BF16, &[rows, width])?;
        if width % 8 != 0 || states.n_rows() != rows || !table.is_aligned_to(8) {
            bail!("embeddings of {width} numbers for {} rows", states.n_rows());
        }
        let arguments = [
            table.into(),
            Array::of(&self.arrays.tokens)?.into(),
            states.address(),
            self.max_new_tokens.into(),
            width.into(),
            out.into(),
        ];
        let grid = Grid { blocks: [rows, 1, 1], threads: THREADS, shared: 0 };
        // SAFETY: every token that was drawn is below `vocab`.
        unsafe { launch_early(out.device(), &EMBED, grid, &arguments) }
    }

    /// The rows' newest tokens, on the device.
    pub(super) fn newest(&self) -> &CudaSlice<DrawnToken> {
        &self.arrays.drawn
    }
}

fn address(array: &Tensor) -> Result<u64> {
    Ok(Array::of(array)?.address())
}

fn count(n: usize) -> Result<i32> {
    i32::try_from(n).or_else(|_| bail!("{n} is more than a kernel counts"))
}
