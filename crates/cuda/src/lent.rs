//! A tensor's memory on a GPU, lent to numbers of another type while its own are not needed.
//! Not here: who lends which memory, and when.

use std::cell::Cell;
use std::mem::swap;

use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaStorage, DType, InplaceOp1, Layout, Result, Shape, Storage, Tensor, bail,
};

use super::array::Array;

/// Calls `f` with a flat tensor that begins where `memory` does, and returns what `f` does. Its numbers are whatever lies there until
/// they are written, and what is written replaces numbers of `memory`.
///
/// - `memory`: on a GPU, dense; nothing else reads or writes it before `f` returns
/// - `n`, `dtype`: how many numbers, of f32, bf16 or f16. Clones of the tensor hold none of them once `f` has returned.
///
/// # Errors
/// There is no room for them, or the device has none for a number more.
pub fn with_lent<T>(
    memory: &Tensor,
    (n, dtype): (usize, DType),
    f: impl FnOnce(&Tensor) -> T,
) -> Result<T> {
    let array = Array::of(memory)?;
    let room = memory.elem_count() * memory.dtype().size_in_bytes();
    let needed = n * dtype.size_in_bytes();
    if needed > room {
        bail!("{needed} bytes do not fit into {room} that are lent");
    }
    let (device, start) = (array.device(), array.address());
    let stream = device.cuda_stream();
    // SAFETY: its one number is never read.
    let substitute = unsafe { device.alloc_uninit(&Shape::from(1), dtype)? };
    // SAFETY: `memory` has as many bytes from there on and lives until `f` has returned, when the slice is given up without being
    // freed (`Lent`). Any bytes are numbers of these types.
    let slice = unsafe {
        match dtype {
            DType::BF16 => CudaStorageSlice::BF16(stream.upgrade_device_ptr(start, n)),
            DType::F16 => CudaStorageSlice::F16(stream.upgrade_device_ptr(start, n)),
            DType::F32 => CudaStorageSlice::F32(stream.upgrade_device_ptr(start, n)),
            other => bail!("memory is lent to numbers of type {other:?}"),
        }
    };
    let storage = Storage::Cuda(CudaStorage { slice, device: device.clone() });
    let tensor = Tensor::from_storage(storage, n, BackpropOp::none(), false);
    let lent = Lent { tensor, give_up: GiveUp { substitute: Cell::new(Some(substitute)) } };
    Ok(f(&lent.tensor))
}

/// A tensor in memory that is another's: however its use ends, the memory is not freed with it.
struct Lent {
    tensor: Tensor,
    give_up: GiveUp,
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Fails for tensors on a CPU alone.
        self.tensor.inplace_op1(&self.give_up).ok();
    }
}

/// Takes a tensor's slice from it, and puts another one in its place.
struct GiveUp {
    substitute: Cell<Option<CudaStorage>>,
}

impl InplaceOp1 for GiveUp {
    fn name(&self) -> &'static str {
        "give_up"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        bail!("memory is lent that is not a GPU's")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, _: &Layout) -> Result<()> {
        let Some(mut other) = self.substitute.take() else { return Ok(()) };
        swap(&mut storage.slice, &mut other.slice);
        match other.slice {
            CudaStorageSlice::BF16(slice) => slice.leak(),
            CudaStorageSlice::F16(slice) => slice.leak(),
            CudaStorageSlice::F32(slice) => slice.leak(),
            _ => bail!("memory was lent to numbers of another type"),
        };
        Ok(())
    }
}
