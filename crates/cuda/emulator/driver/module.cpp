// Loading modules and finding functions. A module is the marker that the stand-in for nvcc wrote, naming its source; the
// kernels of that source are in libemulated_kernels.so, which lies beside this library. A binary of the real nvcc has no
// marker: there every kernel is found by its name alone.
#include "driver/module.h"

#include "driver/counters.h"
#include "driver/lock.h"
#include "driver/result.h"
#include "executor/fault.h"

#include <cstdio>
#include <cstring>
#include <dlfcn.h>

namespace driver {
namespace {

constexpr char MARKER[] = "// emulated module: ";

enum Attribute { MAX_THREADS = 0, SHARED_BYTES = 1, REGISTERS = 4, PTX_VERSION = 5, MAX_DYNAMIC_SHARED_BYTES = 8 };  // CUfunction_attribute

void load_kernels_once() {
  static bool is_loaded = false;
  if (is_loaded) return;
  is_loaded = true;
  Dl_info self;
  if (!dladdr(reinterpret_cast<void*>(&load_kernels_once), &self)) return;
  std::string path = self.dli_fname;
  path.erase(path.rfind('/') + 1);
  path += "libemulated_kernels.so";
  if (!dlopen(path.c_str(), RTLD_NOW)) fprintf(stderr, "emulated device: no kernels: %s\n", dlerror());
}

}  // namespace

CUDA_API int cuModuleLoadData(void** handle, const void* image) {
  Locked locked;
  load_kernels_once();
  ++counters.modules_loaded;
  const auto* text = static_cast<const char*>(image);
  std::string source;
  if (strncmp(text, MARKER, sizeof MARKER - 1) == 0) {
    text += sizeof MARKER - 1;
    source.assign(text, strcspn(text, "\n"));
  }
  *handle = new Module{source, {}};
  return SUCCESS;
}

CUDA_API int cuModuleLoad(void**, const char*) { return NOT_SUPPORTED; }

CUDA_API int cuModuleUnload(void* handle) {
  delete static_cast<Module*>(handle);
  return SUCCESS;
}

CUDA_API int cuModuleGetFunction(void** handle, void* module_handle, const char* name) {
  Locked locked;
  ++counters.function_lookups;
  auto& module = *static_cast<Module*>(module_handle);
  auto known = module.functions.find(name);
  if (known == module.functions.end()) {
    const simt::Kernel* kernel = simt::find_kernel(module.source.c_str(), name);
    if (!kernel && !module.source.empty() && !simt::has_module(module.source.c_str()))
      simt::fault("not emulated", "kernel %s: no kernel of %s was built into the emulated device", name, module.source.c_str());
    if (!kernel) return NOT_FOUND;
    known = module.functions.emplace(name, Function{kernel}).first;
  }
  *handle = &known->second;
  return SUCCESS;
}

CUDA_API int cuFuncGetAttribute(int* value, int attribute, void* handle) {
  switch (attribute) {
    case MAX_THREADS: *value = MOST_THREADS; break;
    case REGISTERS: *value = 32; break;
    case PTX_VERSION: *value = 90; break;
    case MAX_DYNAMIC_SHARED_BYTES: *value = static_cast<Function*>(handle)->max_dynamic_shared_bytes; break;
    default: *value = 0;
  }
  return SUCCESS;
}

CUDA_API int cuFuncSetAttribute(void* handle, int attribute, int value) {
  if (attribute != MAX_DYNAMIC_SHARED_BYTES) return SUCCESS;
  if (value < 0 || value > MOST_SHARED_BYTES) return INVALID_VALUE;
  static_cast<Function*>(handle)->max_dynamic_shared_bytes = value;
  static_cast<Function*>(handle)->has_asked = true;
  return SUCCESS;
}

CUDA_API int cuFuncSetCacheConfig(void*, int) { return SUCCESS; }

CUDA_API int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* n, void*, int threads, size_t) {
  *n = threads > 0 && threads <= 2048 ? 2048 / threads : 1;
  return SUCCESS;
}

CUDA_API int cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* n, void* f, int threads, size_t bytes, unsigned) {
  return cuOccupancyMaxActiveBlocksPerMultiprocessor(n, f, threads, bytes);
}

}  // namespace driver
