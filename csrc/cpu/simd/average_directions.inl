#pragma once

// Sums of scaled rows, and their directions in float16. Include inside an anonymous namespace.
#include "cpu/simd/norm.inl"

template <class T>
void add_scaled(const void* row, float scale, std::int64_t d, float* total) {
  const T* x = static_cast<const T*>(row);
  const Vector s = splat(scale);
  std::int64_t j = 0;
  for (; j + kLanes <= d; j += kLanes) store(total + j, load(x + j) * s + load(total + j));
  for (; j < d; ++j) total[j] += load1(x + j) * scale;
}

// total / |total|, or 0 where that has no direction. Returns |total|.
inline float unit_halves(const float* total, std::int64_t d, std::uint16_t* out) {
  const float squared = squared_norm(total, d);
  const float norm = static_cast<float>(__builtin_sqrt(static_cast<double>(squared)));
  const float scale = norm > 0.0f ? 1.0f / norm : 0.0f;
  std::int64_t j = 0;
  for (; j + kLanes <= d; j += kLanes) store(reinterpret_cast<Half*>(out + j), load(total + j) * splat(scale));
  for (; j < d; ++j) store1(reinterpret_cast<Half*>(out + j), total[j] * scale);
  return norm;
}
