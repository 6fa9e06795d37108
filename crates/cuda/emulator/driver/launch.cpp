// Launching kernels: the limits of a launch, its arguments, and that the memory they point to is there.
#include "driver/counters.h"
#include "driver/lock.h"
#include "driver/memory.h"
#include "driver/module.h"
#include "driver/stream.h"
#include "executor/fault.h"

#include <cstdio>
#include <cstring>
#include <sys/mman.h>

namespace driver {
namespace {

// What the driver copies during the call, so that the caller may reuse its variables.
struct Arguments {
  std::vector<std::vector<unsigned char>> values;
  std::vector<AllocationHandle> memory;
  std::vector<AllocationHandle> written;  // of these, what the kernel may write
};

// What kernels may still write that have not ended, were they to overlap: the last one that did not begin early, and those since.
std::vector<AllocationHandle> in_flight;

void protect_in_flight(int protection) {
  for (const AllocationHandle& allocation : in_flight)
    if (allocation->mapping && !allocation->is_gone) protect(*allocation, protection);
}
bool is_forbidden;
void forbid() {
  if (!is_forbidden) protect_in_flight(PROT_NONE);
  is_forbidden = true;
}
void allow() {
  if (is_forbidden) protect_in_flight(PROT_READ | PROT_WRITE);
  is_forbidden = false;
}

bool is_within_limits(const Function& function, dim3 grid, dim3 block, unsigned shared_bytes) {
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  return grid.x && grid.y && grid.z && grid.x <= 2147483647u && grid.y <= 65535 && grid.z <= 65535 && threads &&
         threads <= MOST_THREADS && block.z <= 64 && shared_bytes <= unsigned(function.max_dynamic_shared_bytes);
}

std::shared_ptr<Arguments> copy_arguments(const simt::Kernel& kernel, void** values) {
  const auto arguments = std::make_shared<Arguments>();
  for (size_t i = 0; i < kernel.parameters.size(); ++i) {
    const auto* value = static_cast<const unsigned char*>(values[i]);
    arguments->values.emplace_back(value, value + kernel.parameters[i].bytes);
    if (!kernel.parameters[i].is_pointer) continue;
    uintptr_t address;
    memcpy(&address, value, sizeof address);
    if (!address || is_pinned(reinterpret_cast<void*>(address))) continue;
    // One past the end is allowed: it is what an empty slice has.
    const AllocationHandle allocation = find_allocation(address);
    if (!allocation) {
      const std::string who = "argument " + std::to_string(i) + " of kernel " + kernel.name;
      report_wild_pointer(who.c_str(), address);
    }
    arguments->memory.push_back(allocation);
    if (kernel.parameters[i].is_written) arguments->written.push_back(allocation);
  }
  return arguments;
}

Result launch(void* handle, dim3 grid, dim3 block, unsigned shared_bytes, void* stream, void** values, bool begins_early = false) {
  Locked locked;
  const auto& function = *static_cast<Function*>(handle);
  const simt::Kernel* kernel = function.kernel;
  if (!is_within_limits(function, grid, block, shared_bytes)) {
    fprintf(stderr, "emulated device: refused launch of %s: grid (%u,%u,%u), block (%u,%u,%u), %u of %d shared bytes\n",
            kernel->name, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared_bytes, function.max_dynamic_shared_bytes);
    return INVALID_VALUE;
  }
  if (!values && !kernel->parameters.empty()) return INVALID_VALUE;
  const auto arguments = copy_arguments(*kernel, values);
  const bool may_exceed = function.has_asked;
  simt::precaution = {forbid, allow};
  const uint64_t threads = uint64_t(grid.x) * grid.y * grid.z * block.x * block.y * block.z;
  submit(stream_of(stream), {kernel->name, threads, [=] {
                               for (const auto& allocation : arguments->memory)
                                 check_still_there(std::string("kernel ") + kernel->name, *allocation);
                               std::vector<void*> addresses;
                               for (auto& value : arguments->values) addresses.push_back(value.data());
                               if (begins_early) ++counters.early_launches;
                               else in_flight.clear();
                               simt::launch({kernel, addresses.data(), grid, block, shared_bytes, may_exceed, begins_early});
                               in_flight.insert(in_flight.end(), arguments->written.begin(), arguments->written.end());
                             }, Work::KERNEL});
  return SUCCESS;
}

// CUlaunchConfig. Clusters are not emulated; attributes that are not named here are hints.
struct LaunchConfig {
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
  void* stream;
  struct Attribute {
    int id;
    char padding[4];
    char value[64];
  }* attributes;
  unsigned n_attributes;
};
constexpr int CLUSTER_DIMENSION = 4;                   // CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
constexpr int PROGRAMMATIC_STREAM_SERIALIZATION = 6;   // CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION

}  // namespace

bool is_in_flight(uintptr_t address) {
  if (!is_forbidden) return false;
  for (const AllocationHandle& allocation : in_flight)
    if (address >= allocation->address && address < allocation->address + allocation->bytes) return true;
  return false;
}

CUDA_API int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                            unsigned block_y, unsigned block_z, unsigned shared_bytes, void* stream, void** values, void**) {
  return launch(function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, stream, values);
}

CUDA_API int cuLaunchKernelEx(const LaunchConfig* config, void* function, void** values, void**) {
  bool begins_early = false;
  for (unsigned i = 0; i < config->n_attributes; ++i) {
    if (config->attributes[i].id == CLUSTER_DIMENSION) return NOT_SUPPORTED;
    if (config->attributes[i].id == PROGRAMMATIC_STREAM_SERIALIZATION) begins_early = config->attributes[i].value[0] != 0;
  }
  return launch(function, {config->grid_x, config->grid_y, config->grid_z}, {config->block_x, config->block_y, config->block_z},
                config->shared_bytes, config->stream, values, begins_early);
}

// Blocks run one after another: a barrier of the whole grid, which a cooperative launch is for, cannot be emulated.
CUDA_API int cuLaunchCooperativeKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
                                       void**) {
  return NOT_SUPPORTED;
}

}  // namespace driver
