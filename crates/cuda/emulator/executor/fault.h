// How the emulated device reports that a program did something wrong: it stops it, naming the fault and, inside a kernel,
// the kernel, its block and thread. Not here: errors that the real driver returns (driver/result.h).
#pragma once
#include <cstddef>

namespace simt {

// Prints `emulated device: NAME: details` on standard error and aborts. Tests look for NAME.
[[noreturn]] void fault(const char* name, const char* format, ...) __attribute__((format(printf, 2, 3)));

// ` in kernel K, block (x,y,z), thread (x,y,z)`, or an empty text outside kernels.
void describe_running_thread(char* text, size_t bytes);

}  // namespace simt
