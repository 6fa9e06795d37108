// Atomic operations: plain ones, since threads run one at a time. Each returns what was there before.
// Atomics of floats add in the order in which threads run, as on a GPU: a result that depends on it differs between orders.
#pragma once

template <class T, class V> T atomicAdd(T* at, V value) {
  const T old = *at;
  *at = old + T(value);
  return old;
}
inline unsigned count_arrival(unsigned* arrived) { return atomicAdd(arrived, 1u); }
template <class T, class V> T atomicSub(T* at, V value) {
  const T old = *at;
  *at = old - T(value);
  return old;
}
template <class T, class V> T atomicMin(T* at, V value) {
  const T old = *at;
  if (T(value) < old) *at = T(value);
  return old;
}
template <class T, class V> T atomicMax(T* at, V value) {
  const T old = *at;
  if (T(value) > old) *at = T(value);
  return old;
}
template <class T, class V> T atomicExch(T* at, V value) {
  const T old = *at;
  *at = T(value);
  return old;
}
template <class T, class V> T atomicOr(T* at, V value) {
  const T old = *at;
  *at = old | T(value);
  return old;
}
template <class T, class V> T atomicAnd(T* at, V value) {
  const T old = *at;
  *at = old & T(value);
  return old;
}
template <class T, class C, class V> T atomicCAS(T* at, C expected, V value) {
  const T old = *at;
  if (old == T(expected)) *at = T(value);
  return old;
}
