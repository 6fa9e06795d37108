// What a kernel's source finds where nvcc would give it CUDA: this is included before every .cu that build.sh compiles.
// A source is compiled inside a namespace (build.sh), so every header it may include, those of the standard library too, must
// have been included here: its own `#include` of them then adds nothing.
#pragma once
#define CUDA_EMULATOR 1
#define __CUDA_ARCH__ 900
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "arithmetic.h"
#include "atomics.h"
#include "cuda/std/limits"
#include "float16.h"
#include "float8.h"
#include "keywords.h"
#include "shared_memory.h"
#include "tensor_core.h"
#include "vector_types.h"
#include "warp.h"
