// CUDA's name for float8.h.
#pragma once
#include "float8.h"
