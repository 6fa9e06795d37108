//! A GPU: opening it, what its driver says of it, and what there is to say when its memory is not enough.
//! Not here: which device a run computes on (`device`), what runs on it (`ops`).

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(not(feature = "cuda"))]
mod disabled;
mod out_of_memory;

#[cfg(feature = "cuda")]
pub use cuda::{describe, is_out_of_memory, occupied, open, peak_bytes, reset_peak};
#[cfg(not(feature = "cuda"))]
pub use disabled::{describe, is_out_of_memory, occupied, open, peak_bytes, reset_peak};
pub use out_of_memory::{Occupied, OutOfMemory, occupied_where_out_of_memory, size};

/// The least compute capability whose tensor cores take bf16, and that the kernels are built for.
const LEAST_FOR_BF16: (i32, i32) = (8, 0);

/// Why a GPU cannot be used, and the next move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, in one line.
    pub found: String,
    /// What to do.
    pub hint: String,
}

impl Refusal {
    /// The driver's message, without the backtrace that candle appends where `RUST_BACKTRACE` is set. The least drivers are
    /// those of NVIDIA's "CUDA Compatibility", table 1.
    pub fn of_driver(error: &candle_core::Error) -> Self {
        let hint = "`nvidia-smi` shows the GPUs with their numbers, and the driver's version: a program built with \
                    CUDA 13 needs driver 580 or newer, with CUDA 12 525 or newer";
        Self {
            found: error.to_string().lines().next().unwrap_or_default().to_owned(),
            hint: hint.to_owned(),
        }
    }
}

/// What the driver says of a GPU that has been opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// The product's name.
    pub name: String,
    /// Major and minor number.
    pub compute_capability: (i32, i32),
    /// Bytes of its memory that this program can still allocate: those that nothing holds, and those that it has freed itself.
    pub free_bytes: u64,
    /// Bytes of its memory.
    pub total_bytes: u64,
}

impl Gpu {
    /// Whether it computes in bf16: compute capability 8.0 (A100, RTX 30) or more.
    pub fn has_bf16(&self) -> bool {
        self.compute_capability >= LEAST_FOR_BF16
    }
}
