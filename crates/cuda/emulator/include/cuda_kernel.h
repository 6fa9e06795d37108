// What a kernel's source finds where nvcc would give it CUDA: this is included before every .cu that build.sh compiles.
// Not here: tensor cores and cp.async (tensor_core.h), which nvcc offers as assembly only; a kernel includes them by name.
#pragma once
#define CUDA_EMULATOR 1
#define __CUDA_ARCH__ 900
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

// A source is compiled inside a namespace (build.sh): headers of the standard library that it includes must be here too.
#include "arithmetic.h"
#include "atomics.h"
#include "cuda/std/limits"
#include "float16.h"
#include "float8.h"
#include "keywords.h"
#include "shared_memory.h"
#include "vector_types.h"
#include "warp.h"
