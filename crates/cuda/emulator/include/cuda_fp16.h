// CUDA's name for float16.h.
#pragma once
#include "float16.h"
