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

void describe(char* text, size_t size, uintptr_t address, const char* access) {
  auto next = live_allocations.upper_bound(address);
  if (next != live_allocations.begin()) {
    const Allocation& before = *std::prev(next)->second;
    const uintptr_t end = before.address + before.bytes;
    if (address - end < NEAR) {
      snprintf(text, size, "%s past the end: %zu bytes behind an allocation of %zu bytes", access, size_t(address - end),
               before.bytes);
      return;
    }
  }
  if (next != live_allocations.end() && next->second->address - address < NEAR)
    snprintf(text, size, "%s before the beginning: %zu bytes in front of an allocation of %zu bytes", access,
             size_t(next->second->address - address), next->second->bytes);
  else
    snprintf(text, size, "%s of %#zx, which is in no allocation", access, size_t(address));
}

// The process is about to end, in code of ours or of a kernel, so what a handler may not do otherwise does no harm.
void on_bad_access(int signal_number, siginfo_t* info, void* context) {
  signal(signal_number, SIG_DFL);
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  if (!simt::running_kernel()) return;  // not ours: the access is repeated and ends the program as it always did
  char what[160], where[256], text[480];
  if (simt::overflows_stack(info->si_addr)) snprintf(what, sizeof what, "stack overflow: of a thread");
  else describe(what, sizeof what, address, kind_of_access(context));
  simt::describe_running_thread(where, sizeof where);
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
