#include <algorithm>

#include "cuda/cosine_to.hpp"
#include "cuda/grid.cuh"
#include "cuda/launch.cuh"
#include "cuda/measure_rows.hpp"
#include "cuda/norm.cuh"

namespace dataprophet::cuda {
namespace {

constexpr double kUnits = 1 << 30;  // in 1
constexpr int kLengthThreads = 256, kLengthRows = kLengthThreads / 32;
constexpr int kSumThreads = 128, kSumRows = 32, kAtOnce = 4;
constexpr float kExact = -1.0f;  // stands for the scale of a row that fp32 cannot normalise

// Lengths, the scales that make whole numbers of directions, 0 for rows without one, and NaN for the cosines of these.
// A warp for each row.
template <class T, int V>
__global__ void row_lengths(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride, const std::int64_t* groups,
                            float* cosines, std::int64_t targets, double* lengths, float* scales) {
  const int lane = threadIdx.x % 32;
  const std::int64_t row = blockIdx.x * std::int64_t{kLengthRows} + threadIdx.x / 32;
  if (row >= n) return;
  const float nan = __uint_as_float(0x7fc00000u);
  double length = nan;
  if (groups[row] >= 0) {
    const T* values = x + row * stride;
    const float squared = warp_squares<T, V>(values, d, lane);
    length = sqrt(plain(squared) ? static_cast<double>(squared) : warp_sum(lane_squares(values, d, lane, 32)));
  }
  const bool good = length > 0.0 && length <= 1.7e308;
  const bool scaled = length > 1e-12 && length < 1e15;
  if (lane == 0) {
    lengths[row] = length;
    scales[row] = !good ? 0.0f : scaled ? static_cast<float>(kUnits / length) : kExact;
  }
  for (std::int64_t t = lane; t < targets && !good; t += 32) cosines[row * targets + t] = nan;
}

template <int V>
__device__ inline void add_to(unsigned long long* sum, long long (&total)[V]) {
#pragma unroll
  for (int v = 0; v < V; ++v) {
    if (total[v] != 0) atomicAdd(&sum[v], static_cast<unsigned long long>(total[v]));
    total[v] = 0;
  }
}

// sums[group][j] += whole multiples of 2^-30. A thread keeps a pack of columns through kSumRows rows, in the order of
// their groups: whole numbers add up to the same in any order.
template <class T, int V>
__global__ void __launch_bounds__(kSumThreads)
    sum_wholes(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride, const std::int64_t* groups,
               const std::int64_t* order, const double* lengths, const float* scales, unsigned long long* sums) {
  __shared__ std::int64_t rows[kSumRows], group_of[kSumRows];
  __shared__ float scale_of[kSumRows];
  const std::int64_t begin = blockIdx.x * std::int64_t{kSumRows};
  const int count = static_cast<int>(min(n - begin, std::int64_t{kSumRows}));
  for (int i = threadIdx.x; i < count; i += kSumThreads) {
    rows[i] = order[begin + i];
    group_of[i] = groups[rows[i]];
    scale_of[i] = scales[rows[i]];
  }
  __syncthreads();
  const std::int64_t column = (blockIdx.y * std::int64_t{kSumThreads} + threadIdx.x) * V;
  if (column >= d) return;
  long long total[V] = {};
  std::int64_t group = group_of[0];
  for (int first = 0; first < count; first += kAtOnce) {
    Pack<T, V> packs[kAtOnce];
#pragma unroll
    for (int r = 0; r < kAtOnce; ++r) packs[r].load(x + rows[min(first + r, count - 1)] * stride + column);
#pragma unroll
    for (int r = 0; r < kAtOnce; ++r) {
      const int i = min(first + r, count - 1);
      const float scale = first + r < count ? scale_of[i] : 0.0f;
      if (scale == 0.0f) continue;
      if (group_of[i] != group) {
        if (group >= 0) add_to(sums + group * d + column, total);
        group = group_of[i];
      }
      float a[V];
      packs[r].unpack(a);
      if (scale == kExact) {
        const double exact = kUnits / lengths[rows[i]];
#pragma unroll
        for (int v = 0; v < V; ++v) total[v] += __double2ll_rn(a[v] * exact);
      } else {
#pragma unroll
        for (int v = 0; v < V; ++v) total[v] += __float2int_rn(a[v] * scale);
      }
    }
  }
  if (group >= 0) add_to(sums + group * d + column, total);
}

struct Layout {
  float* scales;
  BadRows* bad;  // the lengths tell
  unsigned char* cosines;
  std::size_t bytes;
  Layout(void* base, std::int64_t n, std::int64_t targets, std::int64_t d) {
    Workspace space(base);
    scales = space.take<float>(n);
    bad = space.take<BadRows>(kBadRows);
    cosines =
        space.take<unsigned char>(targets == 0 ? 0 : static_cast<std::int64_t>(cosine_to_workspace_bytes(targets, d)));
    bytes = space.bytes();
  }
};

}  // namespace

std::size_t measure_rows_workspace_bytes(std::int64_t n, std::int64_t targets, std::int64_t d) {
  return Layout(nullptr, n, targets, d).bytes;
}

void measure_rows(const Rows& x, const float* directions, std::int64_t targets, const std::int64_t* groups,
                  const std::int64_t* order, std::int64_t count, const RowMeasures& out, void* workspace,
                  Stream stream) {
  const Layout at(workspace, x.n, targets, x.d);
  set_zero(out.sums, static_cast<std::size_t>(count * x.d) * sizeof(unsigned long long), stream);
  if (targets > 0) cosine_to(x, directions, targets, out.cosines, at.bad, at.cosines, stream);
  for_type_of(x, [&](auto* data, auto width) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
    launch(row_lengths<T, width>, grid(divide_up<std::int64_t>(x.n, kLengthRows)), kLengthThreads, 0, stream, data, x.n,
           x.d, x.stride, groups, out.cosines, targets, out.lengths, at.scales);
    const std::int64_t strips = divide_up<std::int64_t>(x.d, kSumThreads * width);
    launch(sum_wholes<T, width>, grid(divide_up<std::int64_t>(x.n, kSumRows), strips), kSumThreads, 0, stream, data,
           x.n, x.d, x.stride, groups, order, out.lengths, at.scales, out.sums);
  });
}

}  // namespace dataprophet::cuda
