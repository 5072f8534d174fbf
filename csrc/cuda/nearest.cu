#include "cuda/cluster_sums.hpp"
#include "cuda/grid.cuh"
#include "cuda/launch.cuh"
#include "cuda/nearest.hpp"
#include "cuda/norm.cuh"
#include "cuda/tile.cuh"
#include "cuda/weights.hpp"

namespace dataprophet::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr float kUnit = 1024.0f;  // keeps the second term of a unit vector's elements among the normal fp16 numbers

// A cosine and a row of y as one integer that is larger for the better match: floats in their order, then lower rows.
using Match = unsigned long long;

__device__ inline Match match_of(float value, std::int64_t row) {
  const unsigned bits = __float_as_uint(value + 0.0f);  // no minus zero
  const unsigned ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return static_cast<Match>(ordered) << 32 | (0xffffffffu - static_cast<unsigned>(row));
}

__device__ inline std::int64_t row_of(Match match) {
  return static_cast<std::int64_t>(0xffffffffu - static_cast<unsigned>(match & 0xffffffffu));
}

__global__ void round_shift(const double* mean, std::int64_t d, float* shift) {
  const std::int64_t j = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (j < d) shift[j] = static_cast<float>(mean[j]);
}

// Normalised rows less the shift as two fp16 terms: the first in columns [0, pitch / 2), the second, which it leaves,
// behind. offsets[row] = the product of the row with the shift, unless null.
template <class T>
__global__ void split_rows(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride, const RowWeight* weights,
                           const float* shift, std::int64_t pitch, __half* terms, float* offsets) {
  const std::int64_t row = blockIdx.x * std::int64_t{kWarps} + threadIdx.x / 32, columns = pitch / 2;
  const bool inside = row < n;
  const RowWeight weight = inside ? weights[row] : RowWeight{0.0f, 0.0f};
  double offset = 0.0;
  for (std::int64_t j = threadIdx.x % 32; j < columns; j += 32) {
    float value = 0.0f;
    if (inside && j < d) {
      value = fmaf(to_float(x[row * stride + j]) * weight.first, weight.second, -shift[j]) * kUnit;
      offset += static_cast<double>(value) * shift[j];
    }
    const __half high = __float2half_rn(value);
    terms[row * pitch + j] = high;
    terms[row * pitch + columns + j] = __float2half_rn(value - __half2float(high));
  }
  offset = warp_sum(offset);
  if (inside && offsets && threadIdx.x % 32 == 0) offsets[row] = static_cast<float>(offset * kUnit);
}

// With m the mean direction of y, and u and v what unit vectors of x and y have besides, a cosine is
// (m + u) . (m + v) = u . v + m . v + terms of the row of x alone. So the tensor cores, whose sums are rough, compute
// u . v only, which is small where all rows are alike.
__global__ void __launch_bounds__(tile::kThreads, 2)
    match_tiles(const __half* x, const __half* y, const float* offsets, std::int64_t n, std::int64_t m,
                std::int64_t pitch, std::int64_t first_block, Match* best) {
  const tile::Place place = tile::place_in_rectangle(first_block + blockIdx.x, tile::tiles_of(m));
  const std::int64_t first_row = place.row * tile::kSide, first_column = place.column * tile::kSide;
  if (first_row >= n || first_column >= m) return;
  const int half = static_cast<int>(pitch / 2), steps = half / tile::kDepth;
  tile::Products products;
  // The two small products come first: sums of tensor cores lose digits once they are large.
  tile::multiply_rows(
      x + first_row * pitch, y + first_column * pitch, pitch, 3 * steps,
      [&](int step) {
        const int column = step % steps * tile::kDepth;
        return make_int2(step < steps ? half + column : column,
                         step >= steps && step < 2 * steps ? half + column : column);
      },
      products);
#pragma unroll
  for (int i = 0; i < tile::kRowFragments; ++i) {
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      Match match = 0;
#pragma unroll
      for (int j = 0; j < tile::kColumnFragments; ++j) {
#pragma unroll
        for (int e = 2 * side; e < 2 * side + 2; ++e) {
          const std::int64_t column = first_column + tile::tile_column(j, e);
          if (column < m) match = max(match, match_of(products[i][j][e] + offsets[column], column));
        }
      }
#pragma unroll
      for (int step = 1; step < 4; step *= 2) match = max(match, __shfl_xor_sync(kWarp, match, step));
      const std::int64_t row = first_row + tile::tile_row(i, 2 * side);
      if (threadIdx.x % 4 == 0 && row < n) atomicMax(&best[row], match);
    }
  }
}

template <class T, class U>
__global__ void rescore(const T* x, std::int64_t n, std::int64_t d, std::int64_t x_stride, const U* y,
                        std::int64_t y_stride, const Match* best, float* cosine, std::int64_t* index) {
  const int lane = threadIdx.x % 32;
  const std::int64_t row = blockIdx.x * std::int64_t{kWarps} + threadIdx.x / 32;
  if (row >= n) return;
  const std::int64_t other = row_of(best[row]);
  double dot = 0.0;
  for (std::int64_t j = lane; j < d; j += 32) {
    dot += static_cast<double>(to_float(x[row * x_stride + j])) * to_float(y[other * y_stride + j]);
  }
  dot = warp_sum(dot);
  const double x_squared = warp_sum(lane_squares(x + row * x_stride, d, lane, 32));
  const double y_squared = warp_sum(lane_squares(y + other * y_stride, d, lane, 32));
  if (lane > 0) return;
  cosine[row] = static_cast<float>(dot / sqrt(x_squared) / sqrt(y_squared));
  index[row] = other;
}

struct Layout {
  RowWeight *x_weights, *y_weights;
  __half *x_terms, *y_terms;
  ClusterSums sums;
  double* mean;
  float *shift, *offsets;
  Match* best;
  std::int64_t pitch;
  std::size_t bytes;
  Layout(void* base, std::int64_t n, std::int64_t m, std::int64_t d) : pitch(2 * tile::padded_columns(d)) {
    Workspace space(base);
    x_weights = space.take<RowWeight>(n);
    y_weights = space.take<RowWeight>(m);
    x_terms = space.take<__half>(tile::padded_rows(n) * pitch);
    y_terms = space.take<__half>(tile::padded_rows(m) * pitch);
    sums = ClusterSums(&space, m, d, 1);
    mean = space.take<double>(d);
    shift = space.take<float>(d);
    offsets = space.take<float>(m);
    best = space.take<Match>(n);
    bytes = space.bytes();
  }
};

void split(const Rows& x, const RowWeight* weights, const Layout& at, __half* terms, float* offsets, Stream stream) {
  for_type_of(x, [&](auto* data, auto) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
    launch(split_rows<T>, grid(tile::padded_rows(x.n) / kWarps), kThreads, 0, stream, data, x.n, x.d, x.stride, weights,
           at.shift, at.pitch, terms, offsets);
  });
}

}  // namespace

std::size_t nearest_workspace_bytes(std::int64_t n, std::int64_t m, std::int64_t d) {
  return Layout(nullptr, n, m, d).bytes;
}

void nearest(const Rows& x, const Rows& y, float* cosine, std::int64_t* index, BadRows* bad_x, BadRows* bad_y,
             void* workspace, Stream stream) {
  const Layout at(workspace, x.n, y.n, x.d);
  set_zero(bad_x, kBadRows * sizeof(BadRows), stream);
  set_zero(bad_y, kBadRows * sizeof(BadRows), stream);
  inverse_norms(x, at.x_weights, bad_x, stream);
  inverse_norms(y, at.y_weights, bad_y, stream);
  cluster_means(y, at.y_weights, nullptr, nullptr, at.sums, at.mean, nullptr, nullptr, stream);
  launch(round_shift, grid(divide_up<std::int64_t>(x.d, kThreads)), kThreads, 0, stream, at.mean, x.d, at.shift);
  split(x, at.x_weights, at, at.x_terms, nullptr, stream);
  split(y, at.y_weights, at, at.y_terms, at.offsets, stream);
  set_zero(at.best, static_cast<std::size_t>(x.n) * sizeof(Match), stream);
  const std::int64_t blocks = tile::blocks_of_rectangle(tile::tiles_of(x.n), tile::tiles_of(y.n));
  for_parts_of_grid(blocks, [&](std::int64_t first, std::int64_t count) {
    launch(match_tiles, grid(count), tile::kThreads, tile::kSharedBytes, stream, at.x_terms, at.y_terms, at.offsets,
           x.n, y.n, at.pitch, first, at.best);
  });
  for_type_of(x, [&](auto* x_data, auto) {
    for_type_of(y, [&](auto* y_data, auto) {
      using T = std::remove_cv_t<std::remove_pointer_t<decltype(x_data)>>;
      using U = std::remove_cv_t<std::remove_pointer_t<decltype(y_data)>>;
      launch(rescore<T, U>, grid(divide_up<std::int64_t>(x.n, kWarps)), kThreads, 0, stream, x_data, x.n, x.d, x.stride,
             y_data, y.stride, at.best, cosine, index);
    });
  });
}

}  // namespace dataprophet::cuda
