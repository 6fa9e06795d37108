// What happens when a kernel touches memory it may not: the allocation next to the address and the kernel are named.
#include "driver/memory.h"
#include "driver/lock.h"
#include "executor/executor.h"
#include "executor/fault.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ucontext.h>
#include <unistd.h>

namespace simt {
bool overflows_stack(const void* address);
}

namespace driver {
namespace {

constexpr size_t NEAR = 64 << 10;  // further away than that from any allocation, a pointer is called wild

const char* kind_of_access([[maybe_unused]] const void* context) {
#ifdef __x86_64__
  const auto* machine = static_cast<const ucontext_t*>(context);
  return machine->uc_mcontext.gregs[REG_ERR] & 2 ? "write" : "read";
#else
  return "access";
#endif
}

// Names the allocation that the address just misses, or says that there is none.
void describe(char* text, size_t size, uintptr_t address, const char* access) {
  const auto next = present_allocations.upper_bound(address);
  size_t behind = NEAR, in_front = NEAR, bytes_before = 0, bytes_after = 0;
  if (next != present_allocations.begin()) {
    const Allocation& before = *std::prev(next)->second;
    behind = address - (before.address + before.bytes);
    bytes_before = before.bytes;
  }
  if (next != present_allocations.end()) {
    in_front = next->second->address - address;
    bytes_after = next->second->bytes;
  }
  if (behind < NEAR && behind < in_front)
    snprintf(text, size, "%s past the end: %zu bytes behind an allocation of %zu bytes", access, behind, bytes_before);
  else if (in_front < NEAR)
    snprintf(text, size, "%s before the beginning: %zu bytes in front of an allocation of %zu bytes", access, in_front,
             bytes_after);
  else
    snprintf(text, size, "%s of %#zx, which is in no allocation", access, size_t(address));
}

// The process is about to end, in code of ours or of a kernel, so what a handler may not do otherwise does no harm.
void on_bad_access(int signal_number, siginfo_t* info, void* context) {
  signal(signal_number, SIG_DFL);
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  char what[160], where[256], text[480];
  if (is_in_flight(address))
    snprintf(what, sizeof what, "too early: %s of what a kernel ahead may still write, before the wait for it", kind_of_access(context));
  else if (simt::overflows_stack(info->si_addr)) snprintf(what, sizeof what, "stack overflow: of a thread");
  else describe(what, sizeof what, address, kind_of_access(context));
  simt::describe_running_thread(where, sizeof where);
  if (!simt::running_kernel())
    snprintf(where, sizeof where, " outside kernels, with %zu allocations", present_allocations.size());
  const int length = snprintf(text, sizeof text, "emulated device: %s%s\n", what, where);
  if (write(STDERR_FILENO, text, length) != length) _exit(1);
  abort();
}

}  // namespace

void watch_for_bad_accesses() {
  static char stack[64 << 10];  // for the thread that starts the driver; others bring their own or use the kernel's stack
  stack_t current;
  if (sigaltstack(nullptr, &current) == 0 && (current.ss_flags & SS_DISABLE)) {
    stack_t ours = {};
    ours.ss_sp = stack;
    ours.ss_size = sizeof stack;
    sigaltstack(&ours, nullptr);
  }
  struct sigaction action = {};
  action.sa_sigaction = on_bad_access;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);
}

}  // namespace driver
