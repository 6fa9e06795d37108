// Activations of one number, with their slopes.
// Not here: arrays of them (activation.cu), the product that ends in one (decode_product.cu).
#pragma once

// An activation's value and its slope.
struct Point {
  float value, slope;
};

__device__ inline float sigmoid(float x) { return 1 / (1 + expf(-x)); }

__device__ inline Point silu(float x) {
  const float s = sigmoid(x), value = x * s;
  return {value, s + value * (1 - s)};
}

__device__ inline Point quick_gelu(float x) {
  const float s = sigmoid(1.702f * x), value = x * s;
  return {value, s + 1.702f * value * (1 - s)};
}

// x / 2 * (1 + tanh(u)) is x * sigmoid(2 u).
__device__ inline Point gelu_tanh(float x) {
  const float twice = 1.59576912160573f, cubic = 0.044715f;  // 2 sqrt(2 / pi)
  const float s = sigmoid(twice * (x + cubic * x * x * x)), value = x * s;
  return {value, s + value * (1 - s) * twice * (1 + 3 * cubic * x * x)};
}

// Phi(-z) = exp(-z^2 / 2) * R(z) for z >= 0, where R falls slowly: R(z) = t * p(t) with t = 1 / (1 + 0.3 z). The polynomial p
// is fitted for the smallest largest relative error over 0 <= z <= 14, 1.5e-7; in f32 all is within 5e-7, far below zero too.
__device__ inline Point gelu_erf(float x) {
  const float z = fabsf(x), bell = expf(-0.5f * x * x), t = __fdividef(1, 1 + 0.3f * z);
  float p = 0.0356747886f;
  p = p * t - 0.157203142f;
  p = p * t + 0.206353605f;
  p = p * t - 0.0536837307f;
  p = p * t + 0.12856167f;
  p = p * t + 0.09991348f;
  p = p * t + 0.120753958f;
  p = p * t + 0.119629299f;
  const float tail = bell * t * p, phi = x < 0 ? tail : 1 - tail;
  return {x * phi, phi + x * 0.398942280401433f * bell};
}
