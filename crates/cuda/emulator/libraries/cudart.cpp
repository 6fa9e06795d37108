// libcudart: what a program built by the real nvcc asks of it when it starts. Candle's quantised kernels register themselves
// through it; they are not emulated, so everything that would use them stops the program.
#include "driver/result.h"
#include "executor/fault.h"

CUDA_API void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
CUDA_API void __cudaRegisterFatBinaryEnd(void**) {}
CUDA_API void __cudaUnregisterFatBinary(void**) {}
CUDA_API void __cudaRegisterFunction() {}
CUDA_API void __cudaRegisterVar() {}

#define NOT_EMULATED(name) \
  CUDA_API int name() { simt::fault("not emulated", "the CUDA runtime's %s", #name); }
NOT_EMULATED(__cudaGetKernel)
NOT_EMULATED(__cudaLaunchKernel_ptsz)
NOT_EMULATED(__cudaPopCallConfiguration)
NOT_EMULATED(__cudaPushCallConfiguration)
NOT_EMULATED(cudaDeviceGetAttribute)
NOT_EMULATED(cudaFree)
NOT_EMULATED(cudaFreeAsync_ptsz)
NOT_EMULATED(cudaFuncGetAttributes)
NOT_EMULATED(cudaFuncSetAttribute)
NOT_EMULATED(cudaGetDevice)
NOT_EMULATED(cudaGetDeviceCount)
NOT_EMULATED(cudaGetErrorName)
NOT_EMULATED(cudaGetErrorString)
NOT_EMULATED(cudaGetLastError)
NOT_EMULATED(cudaMalloc)
NOT_EMULATED(cudaMallocAsync_ptsz)
NOT_EMULATED(cudaMemsetAsync_ptsz)
NOT_EMULATED(cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags)
NOT_EMULATED(cudaPeekAtLastError)
NOT_EMULATED(cudaSetDevice)
NOT_EMULATED(cudaStreamSynchronize_ptsz)
