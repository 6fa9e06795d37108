// Fibers: stacks of their own that a thread switches between. Not here: which fiber runs when (scheduler.cpp).
#pragma once
#include <cstddef>

#if !defined(__x86_64__) && !defined(EMULATED_PORTABLE_FIBERS)
#define EMULATED_PORTABLE_FIBERS
#endif

namespace simt {

class Fiber {
 public:
  // Stands for the stack that the caller is on.
  Fiber() = default;
  // Starts `body` when it is first switched to. `body` never returns.
  explicit Fiber(void (*body)());
  Fiber(const Fiber&) = delete;

  // Goes on in this fiber where it left off; `from` is the running one. Returns when somebody switches back to `from`.
  void resume(Fiber& from);
  // Is the address in the page before the stack, which only an overflow touches?
  bool overflows_at(const void* address) const;

 private:
  char* stack = nullptr;
  void* context = nullptr;  // the saved stack pointer, or a ucontext_t where switching is not in assembly
};

#ifndef EMULATED_PORTABLE_FIBERS
// Saves the registers that a function must preserve on the stack, and the stack pointer in `*from`; takes those of `to`.
extern "C" void emulated_switch_stack(void** from, void* to);
inline void Fiber::resume(Fiber& from) { emulated_switch_stack(&from.context, context); }
#endif

}  // namespace simt
