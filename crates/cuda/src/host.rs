//! An array in the host's memory that kernels read and write where it is, over the bus, or that is copied to a GPU in one piece.
//! Not here: what is kept there.

use std::ffi::c_void;
use std::fmt;
use std::ops::Range;

use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{result, sys};
use candle_core::{CpuStorage, CudaDevice, Error, Result, Storage, Tensor, bail};

use super::array::Array;

/// A tensor on the CPU whose memory stays where it is and is known to a device.
///
/// What kernels write to it is there after a wait for the device; until then the host must not touch it.
pub struct HostArray {
    numbers: Tensor,
    /// Its bytes in the host's memory.
    bytes: Range<usize>,
    /// Where the device finds them.
    address: u64,
    device: CudaDevice,
}

impl HostArray {
    /// Pins a tensor's memory.
    ///
    /// - `numbers`: f32, bf16 or f16, on the CPU, dense, at least one number
    ///
    /// # Errors
    /// It is not such a tensor, or the driver cannot pin as much memory.
    pub fn new(numbers: Tensor, device: &CudaDevice) -> Result<Self> {
        let bytes = bytes_of(&numbers)?;
        let start = bytes.start as *mut c_void;
        device.cuda_stream().context().bind_to_thread().w()?;
        let flags = sys::CU_MEMHOSTREGISTER_PORTABLE | sys::CU_MEMHOSTREGISTER_DEVICEMAP;
        let mut address = 0;
        // SAFETY: the bytes are the tensor's, which lives until they are no longer registered; the address is written before
        // it is read.
        let pinned = unsafe {
            sys::cuMemHostRegister_v2(start, bytes.len(), flags).result().and_then(|()| {
                sys::cuMemHostGetDevicePointer_v2(&raw mut address, start, 0).result()
            })
        };
        // In words: that it has no memory means the host's here, not the device's (`memory::is_out_of_memory`).
        pinned.map_err(|error| {
            Error::msg(format!("cannot pin {} bytes of the host's memory: {error}", bytes.len()))
        })?;
        Ok(Self { numbers, bytes, address, device: device.clone() })
    }

    /// The tensor.
    pub fn numbers(&self) -> &Tensor {
        &self.numbers
    }

    /// What kernels see of a part of it.
    ///
    /// - `part`: shares the tensor's storage
    ///
    /// # Errors
    /// It does not, or is not dense.
    pub fn part<'a>(&'a self, part: &'a Tensor) -> Result<Array<'a>> {
        let bytes = self.own_bytes(part)?;
        let address = self.address + (bytes.start - self.bytes.start) as u64;
        Ok(Array::at(address, part.dtype(), part.shape(), &self.device))
    }

    /// Copies a part of it to an array of the device's. The host must not change that part before a wait for the device.
    ///
    /// - `part`: shares the tensor's storage
    /// - `to`: of the part's type and shape
    ///
    /// # Errors
    /// They are not such, or the device fails.
    pub fn copy(&self, part: &Tensor, to: Array) -> Result<()> {
        let bytes = self.own_bytes(part)?;
        to.require("a copy of the host's array", part.dtype(), part.dims())?;
        let stream = self.device.cuda_stream();
        stream.context().bind_to_thread().w()?;
        // SAFETY: these bytes are of the tensor, which outlives the copy (see `Drop`), and the array has as many.
        unsafe {
            let from = std::slice::from_raw_parts(bytes.start as *const u8, bytes.len());
            result::memcpy_htod_async(to.address(), from, stream.cu_stream()).w()
        }
    }

    /// Where the numbers of a part of it are.
    fn own_bytes(&self, part: &Tensor) -> Result<Range<usize>> {
        let bytes = bytes_of(part)?;
        if bytes.start < self.bytes.start || bytes.end > self.bytes.end {
            bail!("a tensor of the host's that a GPU is to reach is in no pinned memory")
        }
        Ok(bytes)
    }

    /// Waits for the device: the host may read what kernels have written until then.
    ///
    /// # Errors
    /// The device fails.
    pub fn wait(&self) -> Result<()> {
        self.device.synchronize()
    }
}

impl Drop for HostArray {
    fn drop(&mut self) {
        let (stream, start) = (self.device.cuda_stream(), self.bytes.start as *mut c_void);
        stream.context().record_err(stream.synchronize());
        // SAFETY: these bytes are registered, and no work is under way that uses them.
        stream.context().record_err(unsafe { sys::cuMemHostUnregister(start) }.result());
    }
}

impl fmt::Debug for HostArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostArray({:?})", self.numbers)
    }
}

/// Where a tensor's numbers are in the host's memory.
fn bytes_of(tensor: &Tensor) -> Result<Range<usize>> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets())
    else {
        bail!("{tensor:?} is to be reached by a GPU, expected dense numbers in the host's memory")
    };
    let Range { start, end } = match storage {
        CpuStorage::F32(numbers) => bytes_in(&numbers[start..end]),
        CpuStorage::BF16(numbers) => bytes_in(&numbers[start..end]),
        CpuStorage::F16(numbers) => bytes_in(&numbers[start..end]),
        _ => bail!("{tensor:?} is to be reached by a GPU, expected f32, bf16 or f16"),
    };
    Ok(start as usize..end as usize)
}

fn bytes_in<T>(numbers: &[T]) -> Range<*const u8> {
    let Range { start, end } = numbers.as_ptr_range();
    start.cast()..end.cast()
}
