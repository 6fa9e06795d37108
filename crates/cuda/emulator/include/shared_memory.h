// `__shared__` variables. build.sh rewrites their declarations into references to what these functions return:
//     __shared__ T name[N];          ->  T (&name)[N] = simt::shared_variable<T[N]>([] {});
//     extern __shared__ T name[];    ->  T* name = simt::dynamic_shared<T>();
#pragma once
#include "executor/executor.h"

#include <cstring>

// A form that build.sh does not know reaches the compiler and ends here.
#define __shared__ this_form_of_shared_variable_is_unknown_to_build_sh

namespace simt {

// One block runs at a time, so a static variable is shared by just its threads. Every declaration has a lambda, hence a
// `Declaration`, of its own; two that agree in everything else must not share memory.
template <class T, class Declaration> T& shared_variable(Declaration) {
  alignas(128) static unsigned char bytes[sizeof(T)];
  static uint64_t serial = 0;
  if (serial != block_serial) {
    serial = block_serial;
    count_static_shared_memory(sizeof(T));
    memset(bytes, 0xff, sizeof(T));
  }
  return *reinterpret_cast<T*>(bytes);
}

template <class T> T* dynamic_shared() { return reinterpret_cast<T*>(dynamic_shared_memory()); }

}  // namespace simt
