#pragma once

// Norms of rows. Include inside an anonymous namespace.
#include "cpu/simd/vector.inl"

// Sum of squares in fp32. Four running sums hide the latency of the additions.
template <class T>
inline float squared_norm(const T* row, std::int64_t d) {
  Vector s0{}, s1{}, s2{}, s3{};
  std::int64_t j = 0;
  for (; j + 4 * kLanes <= d; j += 4 * kLanes) {
    const Vector a = load(row + j), b = load(row + j + kLanes);
    const Vector c = load(row + j + 2 * kLanes), e = load(row + j + 3 * kLanes);
    s0 = a * a + s0;
    s1 = b * b + s1;
    s2 = c * c + s2;
    s3 = e * e + s3;
  }
  for (; j + kLanes <= d; j += kLanes) {
    const Vector a = load(row + j);
    s0 = a * a + s0;
  }
  float total = sum((s0 + s1) + (s2 + s3));
  for (; j < d; ++j) {
    const float a = load1(row + j);
    total += a * a;
  }
  return total;
}

// Whether the fp32 sum of squares can be trusted: it neither overflowed, nor lost terms to underflow, nor is zero or
// NaN.
inline bool plain(float squared) { return squared > 1e-24f && squared < 1e30f; }

// 1 / norm, rounded once.
inline float inverse_norm(float squared) {
  return static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(squared)));
}

// The norm of any row in double precision; 0 for a row that has no direction, which is then counted in `bad`.
template <class T>
double exact_norm(const T* row, std::int64_t d, std::int64_t index, BadRows* bad) {
  // The largest float squared is 1e77: no overflow, so a non-finite sum means a non-finite element.
  double squared = 0.0;
  for (std::int64_t j = 0; j < d; ++j) {
    const double a = load1(row + j);
    squared += a * a;
  }
  const bool finite = __builtin_isfinite(squared);
  if (finite && squared > 0.0) return __builtin_sqrt(squared);
  ++(finite ? bad->zero : bad->nonfinite);
  if (bad->first < 0 || index < bad->first) bad->first = index;  // streams do not find them in order
  return 0.0;
}
