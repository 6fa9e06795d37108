// The kernels that libraries brought along, by the file of their source and their name.
#include "executor/executor.h"

#include <map>
#include <string>

namespace simt {
namespace {

using Module = std::map<std::string, Kernel, std::less<>>;

// Made on first use: libraries add kernels before the constructors of this one are sure to have run.
std::map<std::string, Module, std::less<>>& modules() {
  static std::map<std::string, Module, std::less<>> table;
  return table;
}

}  // namespace

void add_kernel(Kernel kernel) {
  Module& module = modules()[kernel.module];
  module[kernel.name] = kernel;
}

bool has_module(const char* module) { return modules().count(module) != 0; }

const Kernel* find_kernel(const char* module, const char* name) {
  for (const auto& [file, kernels] : modules()) {
    if (*module && file != module) continue;
    const auto found = kernels.find(name);
    if (found != kernels.end()) return &found->second;
  }
  return nullptr;
}

}  // namespace simt
