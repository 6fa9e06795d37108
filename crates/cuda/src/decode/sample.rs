//! Drawing the next token of each row from its logits, and looking its embedding up.
//! Not here: filters and the repetition penalty, which the sampler on the host alone has.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr};
use candle_core::{CudaDevice, DType, Device, Result, Tensor, bail};

use super::state::RowStates;
use crate::array::Array;
use crate::launch::{Argument, Grid, Kernel, kernel, launch};

const EXTREMES: Kernel = kernel!("decode_sample", "sample_extremes");
const TOTALS: Kernel = kernel!("decode_sample", "sample_totals");
const DRAW: Kernel = kernel!("decode_sample", "sample_draw");
const EMBED: Kernel = kernel!("decode_sample", "embed_drawn");

// As in `kernels/decode_sample.cu`.
const THREADS: usize = 128;
const BLOCK: usize = 1024;
const BLOCKS_AT_ONCE: usize = 8;
/// Bytes of `Extremes` and of `Totals` there.
const OF_BLOCK: usize = 16 + 16;

/// `Sampled` of `kernels/decode_sample.cu`.
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

// SAFETY: numbers without padding, laid out as in `kernels/decode_sample.cu`.
unsafe impl DeviceRepr for DrawnToken {}

/// How tokens are drawn.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// Divides the logits; `None` for the most likely token.
    pub temperature: Option<f32>,
    /// Ids that are never drawn.
    pub suppressed: Vec<u32>,
    /// Ids that are not drawn either until a completion has `min_new_tokens` tokens.
    pub stops: Vec<u32>,
    /// See `stops`.
    pub min_new_tokens: usize,
    /// Tokens of a completion, at most.
    pub max_new_tokens: usize,
}

/// Draws tokens: what is on the device for it.
pub struct DeviceSampler {
    drawing: Drawing,
    vocab: usize,
    /// A bit for each token: with the stops, and without.
    suppressed: Tensor,
    /// Of blocks of tokens.
    scratch: Tensor,
    drawn: CudaSlice<DrawnToken>,
    tokens: Tensor,
}

impl DeviceSampler {
    /// # Errors
    /// Its arrays cannot be allocated.
    pub fn new(device: &CudaDevice, rows: usize, vocab: usize, drawing: Drawing) -> Result<Self> {
        let words = vocab.div_ceil(32);
        let mut bits = vec![0u32; 2 * words];
        let (with_stops, without) = bits.split_at_mut(words);
        let mark = |set: &mut [u32], ids: &[u32]| {
            for &id in ids.iter().filter(|id| (**id as usize) < vocab) {
                set[id as usize / 32] |= 1 << (id % 32);
            }
        };
        mark(with_stops, &drawing.suppressed);
        mark(with_stops, &drawing.stops);
        mark(without, &drawing.suppressed);
        let drawn = device.cuda_stream().clone_htod(&vec![DrawnToken::default(); rows]).w()?;
        let device = Device::Cuda(device.clone());
        let of_block = OF_BLOCK / DType::U32.size_in_bytes();
        let scratch = (rows, vocab.div_ceil(BLOCK), of_block);
        Ok(Self {
            drawing,
            vocab,
            suppressed: Tensor::from_vec(bits, 2 * words, &device)?,
            scratch: Tensor::zeros(scratch, DType::U32, &device)?,
            drawn,
            tokens: Tensor::zeros(rows, DType::U32, &device)?,
        })
    }

    /// Draws the next token of every row that is taken and has not all of its tokens. Three launches.
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
        let (all, vocab) = (self.drawn.len(), self.vocab);
        let logits = logits.require("logits", DType::F32, &[all, vocab])?;
        if states.n_rows() != all || first_row + rows > all {
            bail!("rows {first_row} and {rows} more of {} in a sampler of {all}", states.n_rows());
        }
        let blocks = vocab.div_ceil(BLOCK);
        let extremes = Array::of(&self.scratch)?.address();
        let totals = extremes + (all * blocks * OF_BLOCK / 2) as u64;
        let temperature = f64::from(self.drawing.temperature.unwrap_or(1.0));
        let common: Vec<Argument> = vec![
            logits.into(),
            vocab.into(),
            Array::of(&self.suppressed)?.into(),
            self.drawing.min_new_tokens.into(),
            states.address(),
            first_row.into(),
            self.drawing.max_new_tokens.into(),
            is_first.into(),
        ];
        let [extremes, totals] = [extremes, totals].map(Argument::Address);
        let grid = |x, y| Grid { blocks: [x, y, 1], threads: THREADS, shared: 0 };
        let launch = |kernel: &Kernel, grid: Grid, more: &[Argument]| {
            let arguments: Vec<Argument> = common.iter().chain(more).copied().collect();
            // SAFETY: `logits` has a row of `vocab` numbers for each state, the scratch room for both arrays, of each row
            // and block of tokens, and there is a place for each row's token.
            unsafe { launch(logits.device(), kernel, grid, &arguments) }
        };
        launch(&EXTREMES, grid(blocks, rows), &[extremes])?;
        let more = [temperature.into(), extremes, totals];
        launch(&TOTALS, grid(blocks.div_ceil(BLOCKS_AT_ONCE), rows), &more)?;
        let drawn = Argument::Address(self.drawn.device_ptr(self.drawn.stream()).0);
        let tokens = Array::of(&self.tokens)?.into();
        let is_greedy = self.drawing.temperature.is_none().into();
        let more = [temperature.into(), is_greedy, extremes, totals, drawn, tokens];
        launch(&DRAW, grid(rows, 1), &more)
    }

    /// The embeddings of the rows' newest tokens.
    ///
    /// - `table`: `[vocab, width]` bf16; `out`: `[rows, width]` bf16, overwritten where a row is taken
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn embed(&self, table: Array, states: &RowStates, out: Array) -> Result<()> {
        let (rows, (_, width)) = (self.drawn.len(), table.rows());
        let table = table.require("an embedding table", DType::BF16, &[self.vocab, width])?;
        let out = out.require("embeddings", DType::BF16, &[rows, width])?;
        if width % 8 != 0 || states.n_rows() != rows || !table.is_aligned_to(8) {
            bail!("embeddings of {width} numbers for {} rows", states.n_rows());
        }
        let arguments = [
            table.into(),
            Array::of(&self.tokens)?.into(),
            states.address(),
            self.drawing.max_new_tokens.into(),
            width.into(),
            out.into(),
        ];
        let grid = Grid { blocks: [rows, 1, 1], threads: THREADS, shared: 0 };
        // SAFETY: every token that was drawn is below `vocab`.
        unsafe { launch(out.device(), &EMBED, grid, &arguments) }
    }

    /// The rows' newest tokens, on the device.
    pub(super) fn newest(&self) -> &CudaSlice<DrawnToken> {
        &self.drawn
    }
}
