// Norms of rows, and the count of rows without a direction.
#pragma once

#include <cuda_runtime.h>

#include "cuda/load.cuh"
#include "cuda/ptx.cuh"
#include "cuda/reduce.cuh"
#include "cuda/rows.hpp"

namespace dataprophet::cuda {

// Whether a fp32 sum of squares can be trusted: it neither overflowed, nor lost terms to underflow, nor is zero or NaN.
__device__ inline bool plain(float squared) { return squared > 1e-24f && squared < 1e30f; }

// 1 / sqrt(squared) of a sum that is plain, to an ulp or so: the hardware's estimate and a step of Newton's.
__device__ inline float inverse_norm(float squared) {
  const float estimate = ptx::rsqrt_approx(squared);
  return fmaf(0.5f * estimate, fmaf(-squared * estimate, estimate, 1.0f), estimate);
}

__device__ inline void count_bad(bool zero, std::int64_t row, std::int64_t n, BadRows* bad) {
  atomicAdd(&bad[zero ? 0 : 1], 1ull);
  atomicMax(&bad[2], static_cast<BadRows>(n - row));
}

// 1 / norm of a row whose sum of squares in double precision is given: 0 for one without a direction, which is counted.
// The square of the largest float is 1e77: a sum that is not finite means an element that is not.
__device__ inline double exact_inverse(double squared, bool count, std::int64_t row, std::int64_t n, BadRows* bad) {
  const bool finite = squared <= 1.7e308;
  if (finite && squared > 0.0) return 1.0 / sqrt(squared);
  if (count) count_bad(finite, row, n, bad);
  return 0.0;
}

// Sum of squares of a row, in fp32, by a warp that reads V elements a lane at a time.
template <class T, int V>
__device__ inline float warp_squares(const T* row, std::int64_t d, int lane) {
  float squared = 0.0f;
  for (std::int64_t j = lane * V; j < d; j += 32 * V) {
    float a[V];
    load<T, V>(row + j, a);
#pragma unroll
    for (int v = 0; v < V; ++v) squared = fmaf(a[v], a[v], squared);
  }
  return warp_sum(squared);
}

// Part of a lane in the sum of squares of a row, in double precision.
template <class T>
__device__ inline double lane_squares(const T* row, std::int64_t d, int lane, int lanes) {
  double squared = 0.0;
  for (std::int64_t j = lane; j < d; j += lanes) {
    const double a = to_float(row[j]);
    squared += a * a;
  }
  return squared;
}

}  // namespace dataprophet::cuda
