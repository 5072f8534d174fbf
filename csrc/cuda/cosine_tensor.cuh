// Cosines of 16-bit rows to up to 16 directions at a time on the tensor cores, which leave the pass to the bandwidth of
// memory. Rows enter as they are. Each direction is split into terms of their type, 22 bits or more together, and
// scaled by a power of two. Sums of tensor cores are cut off: fp32 adds up 32 columns at a time.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "cuda/exact_row.cuh"
#include "cuda/norm.cuh"
#include "cuda/ptx.cuh"

namespace dataprophet::cuda::tensor {

constexpr int kThreads = 128, kTargets = 16, kColumns = 32;
constexpr int kWarpRows = 32, kFragments = kWarpRows / 16;
constexpr std::int64_t kBlockRows = kThreads / 32 * kWarpRows;
constexpr int kScaleExponent = 10;  // of the largest element of a direction: its last term is then no denormal number

template <class T>
constexpr int kTerms = std::is_same_v<T, __half> ? 2 : 3;

__device__ inline void round_to(float x, __half* to) { *to = __float2half_rn(x); }
__device__ inline void round_to(float x, __nv_bfloat16* to) { *to = __float2bfloat16_rn(x); }

// terms[kTerms][targets][pitch] and the factors that they were divided by, for a whole number of panels of kTargets:
// beyond the last target all is 0. A warp for each target.
template <class T>
__global__ void split_directions(const float* directions, std::int64_t targets, std::int64_t d, std::int64_t pitch,
                                 T* terms, float* factors) {
  const int lane = threadIdx.x % 32;
  const std::int64_t target = blockIdx.x * std::int64_t{kThreads / 32} + threadIdx.x / 32;
  const std::int64_t all = gridDim.x * std::int64_t{kThreads / 32};
  unsigned most = 0;  // bits of absolute values are in their order
  for (std::int64_t j = lane; j < d && target < targets; j += 32) {
    most = max(most, __float_as_uint(directions[target * d + j]) & 0x7fffffffu);
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) most = max(most, __shfl_xor_sync(kWarp, most, step));
  // In two steps, as the factor of a denormal number is beyond float32.
  const int exponent = kScaleExponent - (static_cast<int>(most >> 23) - 127);
  const float first = ldexpf(1.0f, exponent / 2), second = ldexpf(1.0f, exponent - exponent / 2);
  for (std::int64_t j = lane; j < pitch; j += 32) {
    float rest = target < targets && j < d ? directions[target * d + j] * first * second : 0.0f;
#pragma unroll
    for (int term = 0; term < kTerms<T>; ++term) {
      T rounded;
      round_to(rest, &rounded);
      terms[(term * all + target) * pitch + j] = rounded;
      rest -= to_float(rounded);
    }
  }
  if (lane == 0) factors[target] = ldexpf(1.0f, -exponent);
}

// A lane's four pairs of neighbouring columns, starting at 8 (lane % 4) of the 32, of row lane / 4. Which column is
// called which in a product does not matter, so long as both factors agree: pairs 0 and 1 serve the first product of
// 16 columns, 2 and 3 the second.
template <class T>
__device__ inline uint4 pairs_of(const T* row, std::int64_t column, std::int64_t d) {
  return column < d ? *reinterpret_cast<const uint4*>(row + column) : make_uint4(0, 0, 0, 0);
}

template <class T>
__device__ inline float squares_of(const uint4& pairs, float sum) {
  float values[8];
  Pack<T, 8>{pairs}.unpack(values);
#pragma unroll
  for (int v = 0; v < 8; ++v) sum = fmaf(values[v], values[v], sum);
  return sum;
}

// Rows start at multiples of 16 bytes and hold whole ones. `all` is the number of targets in `terms`.
template <class T>
__global__ void __launch_bounds__(kThreads, 4)
    cosine_tensor_kernel(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride, const float* directions,
                         const T* terms, const float* factors, std::int64_t targets, std::int64_t all,
                         std::int64_t pitch, float* out, BadRows* bad) {
  const int lane = threadIdx.x % 32, group = lane / 4, within = lane % 4;
  const std::int64_t first = blockIdx.x * kBlockRows + threadIdx.x / 32 * kWarpRows;
  const std::int64_t target = blockIdx.y * std::int64_t{kTargets};
  if (first >= n) return;
  const T* rows[2 * kFragments];
#pragma unroll
  for (int r = 0; r < 2 * kFragments; ++r) rows[r] = x + min(first + r * 8 + group, n - 1) * stride;
  float sums[kFragments][2][4] = {}, squared[2 * kFragments] = {};
  uint4 next[2 * kFragments];
#pragma unroll
  for (int r = 0; r < 2 * kFragments; ++r) next[r] = pairs_of(rows[r], within * 8, d);
  for (std::int64_t start = 0; start < d; start += kColumns) {
    uint4 a[2 * kFragments];
#pragma unroll
    for (int r = 0; r < 2 * kFragments; ++r) {
      a[r] = next[r];
      next[r] = pairs_of(rows[r], start + kColumns + within * 8, d);
      squared[r] = squares_of<T>(a[r], squared[r]);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // eight targets each
      float products[kFragments][4] = {};
#pragma unroll
      for (int term = kTerms<T> - 1; term >= 0; --term) {
        const T* vector = terms + (term * all + target + half * 8 + group) * pitch + start + within * 8;
        const uint4 b = *reinterpret_cast<const uint4*>(vector);
#pragma unroll
        for (int i = 0; i < kFragments; ++i) {
          const uint4 &top = a[2 * i], &bottom = a[2 * i + 1];
          const std::uint32_t left[4] = {top.x, bottom.x, top.y, bottom.y};
          const std::uint32_t right[4] = {top.z, bottom.z, top.w, bottom.w};
          ptx::mma_m16n8k16<T>(products[i], left, b.x, b.y);
          ptx::mma_m16n8k16<T>(products[i], right, b.z, b.w);
        }
      }
#pragma unroll
      for (int i = 0; i < kFragments; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[i][half][e] += products[i][e];
      }
    }
  }
#pragma unroll
  for (int r = 0; r < 2 * kFragments; ++r) {
    squared[r] += __shfl_xor_sync(kWarp, squared[r], 1);
    squared[r] += __shfl_xor_sync(kWarp, squared[r], 2);
    const std::int64_t row = first + r * 8 + group;
    if (row < n && plain(squared[r])) {
      const float inverse = inverse_norm(squared[r]);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const std::int64_t to = target + e / 2 * 8 + within * 2 + e % 2;
        if (to < targets) out[row * targets + to] = sums[r / 2][e / 2][r % 2 * 2 + e % 2] * inverse * factors[to];
      }
    }
    for (int other = 0; other < 8; ++other) {  // rows out of range, by the whole warp
      const std::int64_t at = first + r * 8 + other;
      const bool exact = at < n && !plain(__shfl_sync(kWarp, squared[r], other * 4));
      if (!exact) continue;
      exact_row(x + at * stride, d, directions + target * d,
                static_cast<int>(min(targets - target, std::int64_t{kTargets})), target == 0, at, n,
                out + at * targets + target, bad);
    }
  }
}

}  // namespace dataprophet::cuda::tensor
