#include "cuda/cosine_tensor.cuh"
#include "cuda/cosine_to.hpp"
#include "cuda/exact_row.cuh"
#include "cuda/grid.cuh"
#include "cuda/launch.cuh"
#include "cuda/norm.cuh"
#include "cuda/panel.cuh"

namespace dataprophet::cuda {
namespace {

// Twice the rows of a panel elsewhere: each element of a direction that a warp reads, from the L1 cache, serves more.
constexpr int kRows = 2 * kPanelRows;

template <class T, int V>
__global__ void __launch_bounds__(kPanelThreads, 2)
    cosine_to_kernel(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride, const float* directions,
                     std::int64_t targets, float* out, BadRows* bad) {
  const std::int64_t first = panel_first_row<kRows>(), target = blockIdx.y * std::int64_t{kPanel};
  if (first >= n) return;
  const int count = static_cast<int>(min(targets - target, std::int64_t{kPanel}));
  const T* rows[kRows];
  row_pointers(x, first, n, stride, rows);
  float sums[kRows][kPanel] = {};
  float squared[kRows] = {};
  panel<kRows, kPanel, V>(
      rows, d, directions + target * d, count,
      [&](std::int64_t, float (&a)[kRows][kPart<V>]) {
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
#pragma unroll
          for (int v = 0; v < kPart<V>; ++v) squared[r] = fmaf(a[r][v], a[r][v], squared[r]);
        }
      },
      [](float sum, int, int, float a, float c) { return fmaf(a, c, sum); }, sums);
  const int lane = threadIdx.x % 32, p = lane % kPanel;
#pragma unroll
  for (int r = 0; r < kRows; ++r) squared[r] = warp_sum(squared[r]);
#pragma unroll
  for (int pair = 0; pair < kRows / 2; ++pair) {
    const float dot = pair_sums(sums, pair);
    const float mine = lane < kPanel ? squared[pair * 2] : squared[pair * 2 + 1];
    const std::int64_t row = first + pair * 2 + lane / kPanel;
    if (row < n && p < count && plain(mine)) out[row * targets + target + p] = dot * inverse_norm(mine);
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const std::int64_t row = first + r;
    if (row < n && !plain(squared[r])) {
      exact_row(rows[r], d, directions + target * d, count, target == 0, row, n, out + row * targets + target, bad);
    }
  }
}

// What the tensor cores need of the directions, for 16-bit rows.
struct Layout {
  std::int64_t all, pitch;  // targets, in whole panels, and columns
  void* terms;
  float* factors;
  std::size_t bytes;
  Layout(void* base, std::int64_t targets, std::int64_t d)
      : all(round_up<std::int64_t>(targets, tensor::kTargets)), pitch(round_up<std::int64_t>(d, tensor::kColumns)) {
    Workspace space(base);
    terms = space.take<__half>(tensor::kTerms<__nv_bfloat16> * all * pitch);
    factors = space.take<float>(all);
    bytes = space.bytes();
  }
};

}  // namespace

std::size_t cosine_to_workspace_bytes(std::int64_t targets, std::int64_t d) {
  return Layout(nullptr, targets, d).bytes;
}

void cosine_to(const Rows& x, const float* directions, std::int64_t targets, float* out, BadRows* bad, void* workspace,
               Stream stream) {
  set_zero(bad, kBadRows * sizeof(BadRows), stream);
  for_type_of(x, [&](auto* data, auto width) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
    if constexpr (sizeof(T) == 2 && width > 1) {
      const Layout at(workspace, targets, x.d);
      auto* terms = static_cast<T*>(at.terms);
      constexpr int kWarps = tensor::kThreads / 32;
      launch(tensor::split_directions<T>, grid(at.all / kWarps), tensor::kThreads, 0, stream, directions, targets, x.d,
             at.pitch, terms, at.factors);
      launch(tensor::cosine_tensor_kernel<T>, grid(divide_up(x.n, tensor::kBlockRows), panels(targets)),
             tensor::kThreads, 0, stream, data, x.n, x.d, x.stride, directions, terms, at.factors, targets, at.all,
             at.pitch, out, bad);
    } else {
      launch(cosine_to_kernel<T, width>, grid(panel_blocks<kRows>(x.n), panels(targets)), kPanelThreads, 0, stream,
             data, x.n, x.d, x.stride, directions, targets, out, bad);
    }
  });
}

}  // namespace dataprophet::cuda
