//! Tables of launches that serve many arrays: a row for each, uploaded in one copy (`kernels/table.cuh`).
//! Not here: what a row says of its array.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr};
use candle_core::{CudaDevice, Result};

use super::launch::{Argument, Grid};

/// At most as many of an array's elements are one block's: fixed, so that the order of additions, and with it the last bit,
/// does not depend on the device.
pub(crate) const SHARE: usize = 1 << 15;

/// What a kernel is told of one array.
#[repr(C)]
#[derive(Clone, Copy)]
struct Row<T> {
    of: T,
    n: i64,
    first_block: i32,
    aligned: i32,
}

// SAFETY: `Row` of `kernels/table.cuh`. What is in a row is for its kernel alone, and has its own promise.
unsafe impl<T: DeviceRepr> DeviceRepr for Row<T> {}

/// Rows on a device, and the blocks that work for them.
pub(crate) struct Table<T> {
    rows: CudaSlice<Row<T>>,
    n_blocks: usize,
}

impl<T: DeviceRepr + Copy> Table<T> {
    /// Uploads rows.
    ///
    /// - `rows`: at least one: what the kernel is told, the number of elements, whether every array is aligned
    pub(crate) fn new(device: &CudaDevice, rows: &[(T, usize, bool)]) -> Result<Self> {
        let mut n_blocks = 0;
        let row = |&(of, n, aligned): &(T, usize, bool)| {
            let first_block = n_blocks as i32;
            n_blocks += n.div_ceil(SHARE);
            Row { of, n: n as i64, first_block, aligned: i32::from(aligned) }
        };
        let rows: Vec<Row<T>> = rows.iter().map(row).collect();
        Ok(Self { rows: device.cuda_stream().clone_htod(&rows).w()?, n_blocks })
    }

    /// Where the rows are.
    pub(crate) fn address(&self) -> Argument {
        Argument::Address(self.rows.device_ptr(self.rows.stream()).0)
    }

    /// Blocks of all rows together.
    pub(crate) fn n_blocks(&self) -> usize {
        self.n_blocks
    }

    /// A launch of all of them.
    pub(crate) fn grid(&self) -> Grid {
        Grid::of_blocks(self.n_blocks)
    }
}
