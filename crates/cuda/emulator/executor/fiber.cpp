// Switching stacks: in assembly on x86-64, where a barrier of 1,024 threads costs microseconds; elsewhere by ucontext, which
// makes a system call each time. EMULATED_PORTABLE_FIBERS chooses the latter on any machine.
#include "executor/fiber.h"

#include "executor/fault.h"

#include <cstdint>
#include <sys/mman.h>

#ifdef EMULATED_PORTABLE_FIBERS
#include <ucontext.h>
#endif

namespace simt {
namespace {

constexpr size_t PAGE = 4096;
constexpr size_t STACK_BYTES = 256 << 10;

char* new_stack() {
  void* memory = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) fault("no memory", "no room for the stack of one more thread");
  mprotect(memory, PAGE, PROT_NONE);
  return static_cast<char*>(memory);
}

}  // namespace

bool Fiber::overflows_at(const void* address) const {
  return stack && address >= stack && address < stack + PAGE;
}

#ifdef EMULATED_PORTABLE_FIBERS

Fiber::Fiber(void (*body)()) : stack(new_stack()), context(new ucontext_t) {
  auto* start = static_cast<ucontext_t*>(context);
  getcontext(start);
  start->uc_stack.ss_sp = stack + PAGE;
  start->uc_stack.ss_size = STACK_BYTES - PAGE;
  start->uc_link = nullptr;
  makecontext(start, body, 0);
}

void Fiber::resume(Fiber& from) {
  if (!from.context) from.context = new ucontext_t;
  swapcontext(static_cast<ucontext_t*>(from.context), static_cast<ucontext_t*>(context));
}

#else

asm(R"(.text
.globl emulated_switch_stack
.hidden emulated_switch_stack
.type emulated_switch_stack, @function
emulated_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulated_switch_stack, .-emulated_switch_stack
)");

Fiber::Fiber(void (*body)()) : stack(new_stack()) {
  // Stacks begin at different distances from their ends: at the same one, a thousand of them would meet in the same few
  // lines of the caches, and a barrier would take a third longer.
  static size_t n_made = 0;
  const size_t distance = 64 + n_made++ % 128 * 512;
  // What emulated_switch_stack will pop: six registers, then the address to return to. Above it a null return address
  // for `body`; with it the stack is aligned as at the entry of a function.
  void** top = reinterpret_cast<void**>(stack + STACK_BYTES - distance);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(body);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  context = top;
}

#endif

}  // namespace simt
