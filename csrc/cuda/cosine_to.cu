#include "cuda/cosine_to.hpp"
#include "cuda/launch.cuh"
#include "cuda/norm.cuh"
#include "cuda/panel.cuh"

namespace dataprophet::cuda {
namespace {

// A row whose squares leave the range of fp32, in double precision.
template <class T>
__device__ void exact_row(const T* row, std::int64_t d, const float* directions, int count, bool counts_bad,
                          std::int64_t index, std::int64_t n, float* out, BadRows* bad) {
  const int lane = threadIdx.x % 32;
  const double squared = warp_sum(lane_squares(row, d, lane, 32));
  const double inverse = exact_inverse(squared, counts_bad && lane == 0, index, n, bad);
  for (int p = 0; p < count; ++p) {
    double dot = 0.0;
    for (std::int64_t j = lane; j < d && inverse > 0.0; j += 32) {
      dot += static_cast<double>(to_float(row[j])) * directions[p * d + j];
    }
    dot = warp_sum(dot);
    if (lane == 0) out[p] = static_cast<float>(dot * inverse);
  }
}

template <class T, int V>
__global__ void __launch_bounds__(kPanelThreads, 2)
    cosine_to_kernel(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride, const float* directions,
                     std::int64_t targets, float* out, BadRows* bad) {
  const std::int64_t first = panel_first_row(), target = blockIdx.y * std::int64_t{kPanel};
  if (first >= n) return;
  const int count = static_cast<int>(min(targets - target, std::int64_t{kPanel}));
  const T* rows[kPanelRows];
  row_pointers(x, first, n, stride, rows);
  float sums[kPanelRows][kPanel] = {};
  float squared[kPanelRows] = {};
  panel<kPanelRows, kPanel, V>(
      rows, d, directions + target * d, count,
      [&](std::int64_t, float (&a)[kPanelRows][kPart<V>]) {
#pragma unroll
        for (int r = 0; r < kPanelRows; ++r) {
#pragma unroll
          for (int v = 0; v < kPart<V>; ++v) squared[r] = fmaf(a[r][v], a[r][v], squared[r]);
        }
      },
      [](float sum, int, int, float a, float c) { return fmaf(a, c, sum); }, sums);
  const int lane = threadIdx.x % 32, p = lane % kPanel;
#pragma unroll
  for (int r = 0; r < kPanelRows; ++r) squared[r] = warp_sum(squared[r]);
#pragma unroll
  for (int pair = 0; pair < kPanelRows / 2; ++pair) {
    const float dot = pair_sums(sums, pair);
    const float mine = lane < kPanel ? squared[pair * 2] : squared[pair * 2 + 1];
    const std::int64_t row = first + pair * 2 + lane / kPanel;
    if (row < n && p < count && plain(mine)) out[row * targets + target + p] = dot * inverse_norm(mine);
  }
#pragma unroll
  for (int r = 0; r < kPanelRows; ++r) {
    const std::int64_t row = first + r;
    if (row < n && !plain(squared[r])) {
      exact_row(rows[r], d, directions + target * d, count, target == 0, row, n, out + row * targets + target, bad);
    }
  }
}

}  // namespace

void cosine_to(const Rows& x, const float* directions, std::int64_t targets, float* out, BadRows* bad, Stream stream) {
  set_zero(bad, kBadRows * sizeof(BadRows), stream);
  for_type_of(x, [&](auto* data, auto width) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
    launch(cosine_to_kernel<T, width>, dim3(panel_blocks(x.n), panels(targets)), kPanelThreads, 0, stream, data, x.n,
           x.d, x.stride, directions, targets, out, bad);
  });
}

}  // namespace dataprophet::cuda
