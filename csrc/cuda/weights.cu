#include "cuda/grid.cuh"
#include "cuda/launch.cuh"
#include "cuda/norm.cuh"
#include "cuda/weights.hpp"

namespace dataprophet::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr float kLift = 0x1p64f;

std::int64_t blocks_of_warps(std::int64_t rows) { return divide_up<std::int64_t>(rows, kWarps); }

// A warp for each row.
template <class T, int V>
__global__ void inverse_norms_kernel(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride,
                                     RowWeight* weights, BadRows* bad) {
  const int lane = threadIdx.x % 32;
  const std::int64_t row = blockIdx.x * std::int64_t{kWarps} + threadIdx.x / 32;
  if (row >= n) return;
  const T* values = x + row * stride;
  const float squared = warp_squares<T, V>(values, d, lane);
  RowWeight weight{1.0f, 0.0f};
  if (plain(squared)) {
    weight.second = inverse_norm(squared);
  } else {
    const double exact = warp_sum(lane_squares(values, d, lane, 32));
    const double inverse = exact_inverse(exact, lane == 0, row, n, bad);
    weight = inverse > 1.0 ? RowWeight{kLift, static_cast<float>(inverse / kLift)}
                           : RowWeight{1.0f / kLift, static_cast<float>(inverse * kLift)};
  }
  if (lane == 0) weights[row] = weight;
}

// Absolute values of floats are in the order of their bits, with infinity and NaN at the top.
template <class T, int V>
__global__ void largest_kernel(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride, unsigned* largest,
                               BadRows* bad) {
  constexpr unsigned kInfinity = 0x7f800000u;
  __shared__ unsigned of_block;
  const int lane = threadIdx.x % 32;
  const std::int64_t row = blockIdx.x * std::int64_t{kWarps} + threadIdx.x / 32;
  if (threadIdx.x == 0) of_block = 0;
  __syncthreads();
  if (row < n) {
    unsigned most = 0;
    for (std::int64_t j = lane * V; j < d; j += 32 * V) {
      float a[V];
      load<T, V>(x + row * stride + j, a);
#pragma unroll
      for (int v = 0; v < V; ++v) most = max(most, __float_as_uint(a[v]) & 0x7fffffffu);
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) most = max(most, __shfl_xor_sync(kWarp, most, step));
    if (lane == 0 && most >= kInfinity) count_bad(false, row, n, bad);
    if (lane == 0 && most < kInfinity) atomicMax(&of_block, most);
  }
  __syncthreads();
  if (threadIdx.x == 0) atomicMax(largest, of_block);
}

__global__ void fill_kernel(const unsigned* largest, std::int64_t n, RowWeight* weights) {
  const std::int64_t row = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (row >= n) return;
  // The exponents of the largest element and of its factor add up to kCommonExponent - 1. The bias of each is 127.
  const int exponent = static_cast<int>(*largest >> 23);
  const int factor = *largest == 0 ? 127 : kCommonExponent - 1 + 254 - exponent;
  weights[row] = {1.0f, __uint_as_float(static_cast<unsigned>(min(max(factor, 1), 254)) << 23)};
}

}  // namespace

void inverse_norms(const Rows& x, RowWeight* weights, BadRows* bad, Stream stream) {
  for_type_of(x, [&](auto* data, auto width) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
    launch(inverse_norms_kernel<T, width>, grid(blocks_of_warps(x.n)), kThreads, 0, stream, data, x.n, x.d, x.stride,
           weights, bad);
  });
}

void common_weights(const Rows& x, RowWeight* weights, unsigned* largest, BadRows* bad, Stream stream) {
  set_zero(largest, sizeof(unsigned), stream);
  for_type_of(x, [&](auto* data, auto width) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
    launch(largest_kernel<T, width>, grid(blocks_of_warps(x.n)), kThreads, 0, stream, data, x.n, x.d, x.stride, largest,
           bad);
  });
  launch(fill_kernel, grid(divide_up<std::int64_t>(x.n, kThreads)), kThreads, 0, stream, largest, x.n, weights);
}

}  // namespace dataprophet::cuda
