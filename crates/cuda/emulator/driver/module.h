// Modules and the functions in them. Not here: launches (launch.cpp).
#pragma once
#include "executor/executor.h"

#include <map>
#include <string>

namespace driver {

constexpr unsigned MOST_THREADS = 1024;
constexpr int MOST_SHARED_BYTES = 227 << 10;     // that a function may ask for, an H100's
constexpr int SHARED_BYTES_AT_FIRST = 48 << 10;  // that it has without asking

struct Function {
  const simt::Kernel* kernel;
  int max_dynamic_shared_bytes = SHARED_BYTES_AT_FIRST;
  bool has_asked = false;  // for dynamic memory beside its variables
};

struct Module {
  std::string source;  // the file name that the stand-in for nvcc wrote into it; empty for a binary of the real nvcc
  std::map<std::string, Function> functions;
};

}  // namespace driver
