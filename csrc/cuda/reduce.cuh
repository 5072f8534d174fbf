// Sums over the lanes of a warp and the warps of a block, always in the same order.
#pragma once

#include <cuda_runtime.h>

namespace dataprophet::cuda {

constexpr unsigned kWarp = 0xffffffffu;

// The sum over the warp, in every lane.
template <class T>
__device__ inline T warp_sum(T value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kWarp, value, step);
  return value;
}

// N sums over the warp at once: lane i returns the sum of values[i / (32 / N)]. About N shuffles rather than 5 N.
template <int N>
__device__ inline float warp_sums(float (&values)[N], int step = 16) {
  static_assert(N <= 32 && (N & (N - 1)) == 0);
  if constexpr (N == 1) {
    for (; step > 0; step /= 2) values[0] += __shfl_xor_sync(kWarp, values[0], step);
    return values[0];
  } else {
    const bool upper = threadIdx.x & step;
    float kept[N / 2];
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      const float mine = upper ? values[i + N / 2] : values[i];
      const float other = upper ? values[i] : values[i + N / 2];
      kept[i] = mine + __shfl_xor_sync(kWarp, other, step);
    }
    return warp_sums(kept, step / 2);
  }
}

// The sum over the block, in every thread; `scratch` is 32 elements of shared memory.
template <class T>
__device__ inline T block_sum(T value, T* scratch) {
  value = warp_sum(value);
  __syncthreads();  // the scratch may still be in use
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  T total = 0;
  for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) total += scratch[warp];
  return total;
}

}  // namespace dataprophet::cuda
