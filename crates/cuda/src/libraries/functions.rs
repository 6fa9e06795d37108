//! The functions of CUDA's libraries that the program calls, by library. Each is defined here under its own name, for the
//! linker, as a jump to the address that the slot beside it holds.
//!
//! A function that is missing here is linked to its library, which the program then needs to start: after another version of
//! candle, `scripts/emulated_cuda.sh check` names such functions. One too many asks more of a library than is used.
//!
//! Not here: filling the slots (`loaded`).

use std::arch::naked_asm;
use std::ffi::c_void;
use std::sync::atomic::AtomicPtr;

use candle_core::cuda_backend::cudarc::cublas::sys::cublasStatus_t;
use candle_core::cuda_backend::cudarc::curand::sys::curandStatus_t;
use candle_core::cuda_backend::cudarc::driver::sys::{CUDA_VERSION, CUresult};

/// The major release of CUDA that the program is built for; its libraries fit no other.
pub(super) const RELEASE: u32 = CUDA_VERSION / 1000;

/// A library, and what the program calls of it.
pub(super) struct Library {
    /// The file's name without its version.
    pub(super) name: &'static str,
    /// The version at the end of the file's name; none for that of the release.
    version: Option<u32>,
    pub(super) functions: &'static [Function],
}

impl Library {
    /// The name by which the dynamic linker finds it.
    pub(super) fn file(&self) -> String {
        format!("{}.so.{}", self.name, self.version.unwrap_or(RELEASE))
    }
}

/// A function of a library.
pub(super) struct Function {
    pub(super) name: &'static str,
    /// Where its calls go: at first to a function that answers `not initialised` as the library would.
    pub(super) address: &'static AtomicPtr<c_void>,
}

/// All of them; the driver first, as the others need it.
pub(super) static LIBRARIES: [&Library; 4] =
    [&driver::LIBRARY, &cublas::LIBRARY, &cublas_lt::LIBRARY, &curand::LIBRARY];

/// Jumps to the address that a slot holds; arguments, stack and return address stay as the caller left them. The name is
/// hidden: libraries that call such a function themselves reach each other's and never this one.
#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    ($function:ident) => {
        naked_asm!(
            concat!(".hidden ", stringify!($function)),
            "jmp qword ptr [rip + {address}]",
            address = sym slots::$function,
        )
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    ($function:ident) => {
        naked_asm!(
            concat!(".hidden ", stringify!($function)),
            "adrp x16, {address}",
            "ldr x16, [x16, :lo12:{address}]",
            "br x16",
            address = sym slots::$function,
        )
    };
}

/// A module for a library: its [`Library`], a slot for every function, and the functions.
macro_rules! library {
    ($module:ident, $name:literal, $version:expr, $status:ty, $not_loaded:expr, $($function:ident)*) => {
        #[expect(non_upper_case_globals, reason = "the library's names")]
        mod $module {
            use super::*;

            pub(super) static LIBRARY: Library = Library {
                name: $name,
                version: $version,
                functions: &[$(Function {
                    name: stringify!($function),
                    address: &slots::$function,
                }),*],
            };

            /// What every function is until the library is loaded.
            extern "C" fn not_loaded() -> $status {
                $not_loaded
            }

            mod slots {
                use super::*;
                $(pub(super) static $function: AtomicPtr<c_void> =
                    AtomicPtr::new(not_loaded as *mut c_void);)*
            }

            $(
                // SAFETY: the name is that of the library's function, whose callers have its declaration; a jump keeps
                // to any. Nothing else of that name is linked.
                #[unsafe(naked)]
                #[unsafe(no_mangle)]
                extern "C" fn $function() {
                    jump!($function)
                }
            )*
        }
    };
}

library!(driver, "libcuda", Some(1), CUresult, CUresult::CUDA_ERROR_NOT_INITIALIZED,
    cuCtxDestroy_v2 cuCtxGetCurrent cuCtxSetCurrent cuCtxSynchronize cuDeviceGet
    cuDeviceGetAttribute cuDeviceGetDefaultMemPool cuDeviceGetName cuDevicePrimaryCtxRelease_v2
    cuDevicePrimaryCtxRetain cuDriverGetVersion cuEventCreate cuEventDestroy_v2 cuEventRecord
    cuEventSynchronize cuFuncGetAttribute cuFuncSetAttribute cuGetErrorString cuGraphDestroy
    cuGraphExecDestroy
    cuGraphInstantiateWithFlags cuGraphLaunch cuInit cuLaunchKernel cuLaunchKernelEx
    cuMemAllocAsync cuMemAlloc_v2
    cuMemFreeAsync cuMemFreeHost cuMemFree_v2 cuMemGetInfo_v2 cuMemHostAlloc
    cuMemHostGetDevicePointer_v2 cuMemHostRegister_v2 cuMemHostUnregister
    cuMemPoolGetAttribute cuMemPoolSetAttribute
    cuMemcpyDtoDAsync_v2 cuMemcpyDtoHAsync_v2 cuMemcpyHtoDAsync_v2 cuMemcpyPeerAsync
    cuMemsetD8Async cuModuleGetFunction cuModuleLoad cuModuleLoadData cuModuleUnload
    cuStreamBeginCapture_v2 cuStreamCreate cuStreamDestroy_v2 cuStreamEndCapture
    cuStreamIsCapturing cuStreamSynchronize cuStreamWaitEvent
);

library!(cublas, "libcublas", None, cublasStatus_t, cublasStatus_t::CUBLAS_STATUS_NOT_INITIALIZED,
    cublasCreate_v2 cublasDestroy_v2 cublasDgemmStridedBatched cublasGemmEx
    cublasGemmStridedBatchedEx cublasSetMathMode cublasSetStream_v2 cublasSetWorkspace_v2
);

library!(cublas_lt, "libcublasLt", None, cublasStatus_t, cublasStatus_t::CUBLAS_STATUS_NOT_INITIALIZED,
    cublasLtMatmul cublasLtMatmulAlgoGetHeuristic cublasLtMatmulDescCreate
    cublasLtMatmulDescDestroy cublasLtMatmulDescSetAttribute cublasLtMatmulPreferenceCreate
    cublasLtMatmulPreferenceDestroy cublasLtMatmulPreferenceSetAttribute
    cublasLtMatrixLayoutCreate cublasLtMatrixLayoutDestroy
);

// The same version since CUDA 10.
library!(curand, "libcurand", Some(10), curandStatus_t, curandStatus_t::CURAND_STATUS_NOT_INITIALIZED,
    curandCreateGenerator curandDestroyGenerator curandSetPseudoRandomGeneratorSeed
    curandSetStream
);
