//! What a step of decoding knows of each row: its prompt, and how many of its tokens are kept.
//! Not here: which completion is in which row.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr};
use candle_core::{CudaDevice, DType, Result, Tensor, bail};

use crate::array::Array;
use crate::launch::Argument;
use crate::philox::PhiloxStream;

/// `RowState` of `kernels/decode.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RowState {
    prompt: u64,
    prompt_len: i32,
    len: i32,
    is_taken: i32,
    key: [u32; 2],
    /// The first word is the position that is read.
    counter: [u32; 4],
    /// What the alignment of an address leaves open.
    unused: i32,
}

// SAFETY: numbers without padding, laid out as in `kernels/decode.cuh`.
unsafe impl DeviceRepr for RowState {}

/// The rows of a batch, on the device, where steps count their tokens.
pub struct RowStates {
    rows: CudaSlice<RowState>,
    /// What taken rows point to.
    prompts: Vec<Option<Tensor>>,
    /// Layers, heads of keys, numbers of a head.
    kept: [usize; 3],
}

impl RowStates {
    /// Rows of which none is taken.
    ///
    /// - `kept`: layers, heads of keys and numbers of a head of the model
    ///
    /// # Errors
    /// They cannot be allocated.
    pub fn new(device: &CudaDevice, rows: usize, kept: [usize; 3]) -> Result<Self> {
        let states = vec![RowState::default(); rows];
        let rows = device.cuda_stream().clone_htod(&states).w()?;
        Ok(Self { rows, prompts: vec![None; states.len()], kept })
    }

    /// How many rows there are.
    pub fn n_rows(&self) -> usize {
        self.prompts.len()
    }

    /// Layers, heads of keys and numbers of a head of the model.
    pub(super) fn kept(&self) -> [usize; 3] {
        self.kept
    }

    /// Puts a completion into a row, none of whose tokens is kept.
    ///
    /// - `prompt`: keys and values of its prompt, `[layers, 2, prompt_len, kv_heads, head_dim]` bf16; kept until the row is
    ///   taken anew or left
    /// - `stream`: the random numbers that its tokens are drawn by
    ///
    /// # Errors
    /// There is no such row, or the prompt is something else.
    pub fn take(&mut self, row: usize, prompt: &Tensor, stream: PhiloxStream) -> Result<()> {
        let [layers, kv_heads, head_dim] = self.kept;
        let prompt_len = prompt.dims().get(2).copied().unwrap_or(0);
        let dims = [layers, 2, prompt_len, kv_heads, head_dim];
        let array =
            Array::of(prompt)?.require("keys and values of a prompt", DType::BF16, &dims)?;
        let Ok(prompt_len) = i32::try_from(prompt_len) else {
            bail!("a prompt of {prompt_len} tokens")
        };
        let [first, second, third] = stream.counter;
        let state = RowState {
            prompt: array.address(),
            prompt_len,
            is_taken: 1,
            key: stream.key,
            counter: [0, first, second, third],
            ..RowState::default()
        };
        self.write(row, state, Some(prompt.clone()))
    }

    /// Takes a row out of the steps that follow.
    ///
    /// # Errors
    /// There is no such row.
    pub fn leave(&mut self, row: usize) -> Result<()> {
        self.write(row, RowState::default(), None)
    }

    fn write(&mut self, row: usize, state: RowState, prompt: Option<Tensor>) -> Result<()> {
        let Some(place) = self.prompts.get_mut(row) else {
            bail!("row {row} of {} rows", self.prompts.len())
        };
        let stream = self.rows.stream().clone();
        stream.memcpy_htod(&[state], &mut self.rows.slice_mut(row..=row)).w()?;
        // A prompt that is dropped is freed behind the work that reads it, on the same stream.
        *place = prompt;
        Ok(())
    }

    /// Where the rows are.
    pub(super) fn address(&self) -> Argument {
        Argument::Address(self.rows.device_ptr(self.rows.stream()).0)
    }
}
