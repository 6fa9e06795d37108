//! Dense arrays on a GPU, as kernels see them: an address with a shape.
//! Not here: which kernel reads them.

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::DevicePtr;
use candle_core::op::BackpropOp;
use candle_core::{
    CudaDevice, CudaStorage, DType, Device, Layout, Result, Shape, Storage, Tensor, bail,
};
use half::{bf16, f16};

/// A dense array that a kernel reads.
#[derive(Clone, Copy)]
pub struct Array<'a> {
    address: u64,
    dtype: DType,
    shape: &'a Shape,
    device: &'a CudaDevice,
}

impl<'a> Array<'a> {
    /// What a custom operation of candle is given.
    ///
    /// # Errors
    /// It is not dense, or its numbers are none of bf16, f16, f32, f64 and u32.
    pub fn of_storage(storage: &'a CudaStorage, layout: &'a Layout) -> Result<Self> {
        let address = address(storage, layout)?;
        let (dtype, shape, device) = (storage.dtype(), layout.shape(), storage.device());
        Ok(Self { address, dtype, shape, device })
    }

    /// A tensor's array, for as long as the tensor is borrowed.
    ///
    /// # Errors
    /// It is not on a GPU, not dense, or its numbers are none of bf16, f16, f32, f64 and u32.
    pub fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let (Storage::Cuda(storage), Device::Cuda(device)) = (&*storage, tensor.device()) else {
            bail!("a CUDA kernel was given a tensor on {:?}", tensor.device().location())
        };
        let address = address(storage, layout)?;
        Ok(Self { address, dtype: tensor.dtype(), shape: tensor.shape(), device })
    }

    /// A dense array that starts at an address of the device's.
    pub(crate) fn at(address: u64, dtype: DType, shape: &'a Shape, device: &'a CudaDevice) -> Self {
        Self { address, dtype, shape, device }
    }

    /// Its first number's address on the device.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Its type of numbers.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Whether it starts where so many of its numbers are one access to memory.
    pub(crate) fn is_aligned_to(&self, n: u64) -> bool {
        self.address.is_multiple_of(n * self.dtype.size_in_bytes() as u64)
    }

    /// The device it is on.
    pub fn device(&self) -> &'a CudaDevice {
        self.device
    }

    /// Its shape.
    pub fn shape(&self) -> &'a Shape {
        self.shape
    }

    /// Rows and columns: all axes but the last, and the last.
    pub(crate) fn rows(&self) -> (usize, usize) {
        let width = self.shape.dims().last().copied().unwrap_or(1);
        (self.shape.elem_count() / width.max(1), width)
    }

    /// Of two things, for numbers in f32 and in bf16, the one that its numbers need, and their type; for other numbers the first, which
    /// [`Array::require`] then refuses.
    pub(crate) fn in_f32_or_bf16<K>(&self, [in_f32, in_bf16]: [K; 2]) -> (K, DType) {
        match self.dtype {
            DType::BF16 => (in_bf16, DType::BF16),
            _ => (in_f32, DType::F32),
        }
    }

    /// Itself, where it holds these numbers in this shape.
    pub(crate) fn require(self, what: &str, dtype: DType, dims: &[usize]) -> Result<Self> {
        if self.dtype != dtype || self.shape.dims() != dims {
            let (found, shape) = (self.dtype, self.shape.dims());
            bail!("{what} is {shape:?} in {found:?}, expected {dims:?} in {dtype:?}");
        }
        Ok(self)
    }
}

fn address(storage: &CudaStorage, layout: &Layout) -> Result<u64> {
    fn start<T: CudaDType>(storage: &CudaStorage) -> Result<u64> {
        let slice = storage.as_cuda_slice::<T>()?;
        // All work is on this stream, in order: what reads or writes through the address later needs no event.
        Ok(slice.device_ptr(slice.stream()).0)
    }
    let Some((first, _)) = layout.contiguous_offsets() else {
        bail!("a CUDA kernel was given an array that is not dense: {layout:?}")
    };
    let start = match storage.dtype() {
        DType::BF16 => start::<bf16>(storage)?,
        DType::F16 => start::<f16>(storage)?,
        DType::F32 => start::<f32>(storage)?,
        DType::F64 => start::<f64>(storage)?,
        DType::U32 => start::<u32>(storage)?,
        other => bail!("a CUDA kernel was given numbers of type {other:?}"),
    };
    Ok(start + (first * storage.dtype().size_in_bytes()) as u64)
}

/// A dense array, f32 or bf16, that a kernel changes in place, such as a gradient's part of an arena. What is added to numbers in bf16
/// is summed in f32, and the sum is rounded: once for each kernel that adds.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The array.
    pub array: Array<'a>,
    /// Whether a kernel adds to what is there; otherwise it overwrites it.
    pub add: bool,
}

impl<'a> Target<'a> {
    /// A tensor's array, to be added to or overwritten. Every tensor that shares its storage sees the change.
    ///
    /// # Errors
    /// As of [`Array::of`].
    pub fn of(tensor: &'a Tensor, add: bool) -> Result<Self> {
        Ok(Self { array: Array::of(tensor)?, add })
    }

    /// Its array where that has this shape, and of two kernels, for f32 and for bf16, the one that its numbers need.
    pub(crate) fn require<K>(
        &self,
        what: &str,
        dims: &[usize],
        kernels: [K; 2],
    ) -> Result<(Array<'a>, K)> {
        let (kernel, dtype) = self.array.in_f32_or_bf16(kernels);
        Ok((self.array.require(what, dtype, dims)?, kernel))
    }
}

/// A new dense array, of which a kernel writes every number.
pub struct Output {
    storage: CudaStorage,
    layout: Layout,
}

impl Output {
    /// Room for it, with nothing in it.
    pub(crate) fn new(device: &CudaDevice, shape: impl Into<Shape>, dtype: DType) -> Result<Self> {
        let layout = Layout::contiguous(shape);
        // The driver has no allocation of nothing.
        let room = Shape::from(layout.shape().elem_count().max(1));
        // SAFETY: the kernel that it is allocated for writes every number before anything reads one.
        let storage = unsafe { device.alloc_uninit(&room, dtype)? };
        Ok(Self { storage, layout })
    }

    /// What kernels see of it.
    ///
    /// # Errors
    /// Its numbers are none of bf16, f16, f32, f64 and u32.
    pub fn array(&self) -> Result<Array<'_>> {
        Array::of_storage(&self.storage, &self.layout)
    }

    /// What a custom operation of candle returns.
    pub fn into_parts(self) -> (CudaStorage, Shape) {
        (self.storage, self.layout.shape().clone())
    }

    /// The same numbers in another shape.
    ///
    /// # Errors
    /// That has another number of them.
    pub fn reshape(self, shape: Shape) -> Result<Self> {
        let (from, to) = (self.layout.shape().elem_count(), shape.elem_count());
        if from != to {
            bail!("{from} numbers do not take the shape {shape:?}");
        }
        Ok(Self { layout: Layout::contiguous(shape), ..self })
    }

    /// A tensor that no tape knows.
    pub fn into_tensor(self) -> Tensor {
        let (storage, shape) = self.into_parts();
        Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
    }
}
