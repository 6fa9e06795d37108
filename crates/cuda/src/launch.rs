//! Loading the compiled kernels and starting them.
//! Not here: what a kernel computes (`kernels/*.cu`), the shapes it is launched with (a file per operation).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::sync::{LazyLock, Mutex, PoisonError};

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::CudaFunction;
use candle_core::cuda_backend::cudarc::driver::sys::{self, CUfunction_attribute};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::{CudaDevice, DeviceLocation, Result, backend::BackendDevice, bail};

use super::array::Array;

/// A kernel: its name, and the compiled source that holds it.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    pub(crate) binary: &'static [u8],
}

/// A [`Kernel`] of the source `kernels/SOURCE.cu`.
macro_rules! kernel {
    ($source:literal, $name:expr) => {
        $crate::launch::Kernel {
            name: $name,
            binary: include_bytes!(concat!(env!("OUT_DIR"), "/", $source, ".fatbin")),
        }
    };
}
pub(crate) use kernel;

/// One argument of a kernel.
#[derive(Clone, Copy)]
pub(crate) enum Argument {
    Address(u64),
    /// An int to the kernel: a launch with more is refused.
    Count(usize),
    Float(f32),
    /// 32 bits.
    Word(u32),
}

impl Argument {
    /// What a kernel is told of a count; 0 for all else.
    fn count(self, kernel: &Kernel) -> Result<i32> {
        let Self::Count(n) = self else { return Ok(0) };
        i32::try_from(n).or_else(|_| bail!("{}: {n} is more than a kernel counts", kernel.name))
    }
}

impl From<Array<'_>> for Argument {
    fn from(array: Array) -> Self {
        Self::Address(array.address())
    }
}

/// A null address where there is no array.
impl From<Option<Array<'_>>> for Argument {
    fn from(array: Option<Array>) -> Self {
        Self::Address(array.map_or(0, |array| array.address()))
    }
}

impl From<usize> for Argument {
    fn from(n: usize) -> Self {
        Self::Count(n)
    }
}

impl From<bool> for Argument {
    fn from(yes: bool) -> Self {
        Self::Count(usize::from(yes))
    }
}

impl From<u32> for Argument {
    fn from(bits: u32) -> Self {
        Self::Word(bits)
    }
}

impl From<f64> for Argument {
    fn from(x: f64) -> Self {
        Self::Float(x as f32)
    }
}

/// Threads of a block, where nothing asks for another number.
const THREADS: usize = 256;

/// How many threads run a kernel.
#[derive(Clone, Copy)]
pub(crate) struct Grid {
    /// Blocks along x, y and z.
    pub(crate) blocks: [usize; 3],
    /// Threads of a block.
    pub(crate) threads: usize,
    /// Bytes of dynamic shared memory of a block.
    pub(crate) shared: usize,
}

impl Grid {
    /// A thread for each of `n` items.
    pub(crate) fn of_items(n: usize) -> Self {
        Self::of_blocks(n.div_ceil(THREADS))
    }

    /// Blocks of the usual size.
    pub(crate) fn of_blocks(n: usize) -> Self {
        Self { blocks: [n, 1, 1], threads: THREADS, shared: 0 }
    }
}

/// Starts a kernel behind all that was started before. Nothing is started where the grid has no block.
///
/// # Safety
/// The arguments are those of the kernel in number, order and type, and every address is of an array as large as the kernel
/// assumes, which no tensor frees before this call returns.
///
/// # Errors
/// The kernel cannot be loaded or started, or a count is beyond what it takes.
pub(crate) unsafe fn launch(
    device: &CudaDevice,
    kernel: &Kernel,
    grid: Grid,
    arguments: &[Argument],
) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { start(device, kernel, grid, arguments, false) }
}

/// As [`launch`], but the kernel may begin while what was started before ends: it waits for that itself, after what it can do
/// without (programmatic dependent launch, `wait_for_previous` in `kernels/common.cuh`).
///
/// # Safety
/// As of [`launch`]; and every thread of the kernel calls `wait_for_previous`, before it reads what a kernel writes and before it
/// writes.
///
/// # Errors
/// As of [`launch`].
pub(crate) unsafe fn launch_early(
    device: &CudaDevice,
    kernel: &Kernel,
    grid: Grid,
    arguments: &[Argument],
) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { start(device, kernel, grid, arguments, true) }
}

/// `OTHINK_CUDA_EARLY=0` lets every kernel begin when all before it have ended, for debugging.
static BEGINS_EARLY: LazyLock<bool> =
    LazyLock::new(|| std::env::var("OTHINK_CUDA_EARLY").as_deref() != Ok("0"));

unsafe fn start(
    device: &CudaDevice,
    kernel: &Kernel,
    grid: Grid,
    arguments: &[Argument],
    is_early: bool,
) -> Result<()> {
    if grid.blocks.contains(&0) {
        return Ok(());
    }
    let counts: Vec<i32> =
        arguments.iter().map(|argument| argument.count(kernel)).collect::<Result<_>>()?;
    let mut values: Vec<*mut c_void> = arguments
        .iter()
        .zip(&counts)
        .map(|(argument, count)| match argument {
            Argument::Address(address) => std::ptr::from_ref(address) as *mut c_void,
            Argument::Count(_) => std::ptr::from_ref(count) as *mut c_void,
            Argument::Float(x) => std::ptr::from_ref(x) as *mut c_void,
            Argument::Word(bits) => std::ptr::from_ref(bits) as *mut c_void,
        })
        .collect();
    let Ready { function, waits } = ready(device, kernel, grid.shared)?;
    let mut early = sys::CUlaunchAttribute {
        id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
        pad: [0; 4],
        value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
    };
    let [x, y, z] = grid.blocks.map(|n| n as u32);
    let stream = device.cuda_stream();
    let shape = sys::CUlaunchConfig {
        gridDimX: x,
        gridDimY: y,
        gridDimZ: z,
        blockDimX: grid.threads as u32,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: grid.shared as u32,
        hStream: stream.cu_stream(),
        attrs: &raw mut early,
        numAttrs: u32::from(is_early && waits && *BEGINS_EARLY),
    };
    stream.context().bind_to_thread().w()?;
    // SAFETY: the caller's promise; every pointer is of a variable of this function, which the driver reads before it returns.
    unsafe {
        sys::cuLaunchKernelEx(
            &raw const shape,
            function.cu_function(),
            values.as_mut_ptr(),
            std::ptr::null_mut(),
        )
    }
    .result()
    .w()
}

/// A kernel on a device, and the bytes of dynamic shared memory that were asked for: without, its variables and they may have
/// 48 KB together.
struct Loaded {
    function: Ready,
    shared: usize,
}

/// A kernel that can be started.
#[derive(Clone)]
struct Ready {
    function: CudaFunction,
    /// Whether what it was compiled for has the instruction by which a kernel waits for those ahead of it.
    waits: bool,
}

/// The first version of PTX's targets with `griddepcontrol`.
const WAITING_TARGET: i32 = 90;

/// The kernel, loaded onto the device on its first use, ready for a launch with `shared` bytes of dynamic shared memory.
fn ready(device: &CudaDevice, kernel: &Kernel, shared: usize) -> Result<Ready> {
    static LOADED: LazyLock<Mutex<HashMap<(usize, &'static str), Loaded>>> =
        LazyLock::new(Mutex::default);
    let DeviceLocation::Cuda { gpu_id } = device.location() else {
        bail!("{} is a CUDA kernel", kernel.name)
    };
    let mut all = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let loaded = match all.entry((gpu_id, kernel.name)) {
        Entry::Occupied(loaded) => loaded.into_mut(),
        Entry::Vacant(place) => {
            let binary = Ptx::from_binary(kernel.binary.to_vec());
            let module = device.cuda_stream().context().load_module(binary).w()?;
            let function = module.load_function(kernel.name).w()?;
            let target = CUfunction_attribute::CU_FUNC_ATTRIBUTE_PTX_VERSION;
            let waits = function.get_attribute(target).w()? >= WAITING_TARGET;
            place.insert(Loaded { function: Ready { function, waits }, shared: 0 })
        }
    };
    if shared > loaded.shared {
        let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        loaded.function.function.set_attribute(most, shared as i32).w()?;
        loaded.shared = shared;
    }
    Ok(loaded.function.clone())
}
