// Let c be a row around the mean of its cluster, rounded to fp16, and e the difference of the means of the clusters a
// and b of two rows i and j. Then, with nothing but c_i . c_j left to the tensor cores,
//     |c_i - c_j + e|^2 = half(i, b) + half(j, a) - 2 c_i . c_j,   half(i, b) = |c_i|^2 + 2 c_i . e + |e|^2 / 2.
// Rounding is relative to the size of a cluster, not to the distance of clusters from each other.
#include <algorithm>
#include <cmath>

#include "cuda/distance_sums.hpp"
#include "cuda/grid.cuh"
#include "cuda/launch.cuh"
#include "cuda/panel.cuh"
#include "cuda/tile.cuh"

namespace dataprophet::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;

__global__ void round_centres(const double* means, std::int64_t d, std::int64_t pitch, std::int64_t count,
                              float* centres) {
  const std::int64_t i = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (i >= count) return;
  const std::int64_t j = i % pitch;
  centres[i] = j < d ? static_cast<float>(means[i / pitch * d + j]) : 0.0f;
}

// rows[i] = x - (shift + mean of the cluster), by place. A warp for each row, padding included.
template <class T>
__global__ void centre_rows(const T* x, std::int64_t d, std::int64_t stride, const RowWeight* weights,
                            const float* shift, const double* means, Clusters clusters, Picked places,
                            std::int64_t pitch, __half* rows, int* cluster_of) {
  const int lane = threadIdx.x % 32;
  const std::int64_t i = blockIdx.x * std::int64_t{kWarps} + threadIdx.x / 32;
  __half* to = rows + i * pitch;
  if (i >= places.m) {
    for (std::int64_t j = lane; j < pitch; j += 32) to[j] = __float2half_rn(0.0f);
    return;
  }
  const std::int64_t row = clusters.order[places.picked ? places.picked[i] : i];
  const int cluster = clusters.labels[row];
  const double weight = static_cast<double>(weights[row].first) * weights[row].second;
  for (std::int64_t j = lane; j < pitch; j += 32) {
    float value = 0.0f;
    if (j < d) {
      const double centred = to_float(x[row * stride + j]) * weight - shift[j];
      value = static_cast<float>(centred - means[cluster * d + j]);
    }
    to[j] = __float2half_rn(value);
  }
  if (lane == 0 && cluster_of) cluster_of[i] = cluster;
}

// norms[i] = |c_i|^2 from the diagonal tiles: then the distance of equal rows of a cluster is 0 to the bit.
__global__ void __launch_bounds__(tile::kThreads, 2)
    norm_tiles(const __half* rows, std::int64_t n, std::int64_t pitch, float* norms) {
  const std::int64_t first = blockIdx.x * std::int64_t{tile::kSide};
  tile::Products products;
  tile::multiply_rows(
      rows + first * pitch, rows + first * pitch, pitch, static_cast<int>(pitch / tile::kDepth),
      [](int step) { return make_int2(step * tile::kDepth, step * tile::kDepth); }, products);
#pragma unroll
  for (int i = 0; i < tile::kRowFragments; ++i) {
#pragma unroll
    for (int j = 0; j < tile::kColumnFragments; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = tile::tile_row(i, e);
        if (row == tile::tile_column(j, e) && first + row < n) norms[first + row] = products[i][j][e];
      }
    }
  }
}

// halves[n][k], see above.
__global__ void __launch_bounds__(kPanelThreads, 2)
    half_distances(const __half* rows, std::int64_t n, std::int64_t pitch, std::int64_t k, const float* centres,
                   const int* cluster_of, const float* norms, float* halves) {
  constexpr int V = 8, R = kPanelRows;
  const std::int64_t first = panel_first_row(), cluster = blockIdx.y * std::int64_t{kPanel};
  if (first >= n) return;
  const __half* pointers[R];
  const float* own[R];
  row_pointers(rows, first, n, pitch, pointers);
#pragma unroll
  for (int r = 0; r < R; ++r) own[r] = centres + cluster_of[min(first + r, n - 1)] * pitch;
  float means[R][kPart<V>];
  float sums[R][kPanel] = {};
  const std::int64_t count = min(k - cluster, std::int64_t{kPanel});
  panel<R, kPanel, V>(
      pointers, pitch, centres + cluster * pitch, count,
      [&](std::int64_t j, float (&)[R][kPart<V>]) {
#pragma unroll
        for (int r = 0; r < R; ++r) load_floats<kPart<V>>(own[r] + j, means[r]);
      },
      [&](float sum, int r, int v, float a, float c) {
        const float e = means[r][v] - c;
        return fmaf(e, fmaf(0.5f, e, 2.0f * a), sum);
      },
      sums);
  const int lane = threadIdx.x % 32, p = lane % kPanel;
#pragma unroll
  for (int pair = 0; pair < R / 2; ++pair) {
    const float sum = pair_sums(sums, pair);
    const std::int64_t row = first + pair * 2 + lane / kPanel;
    if (row < n && p < count) halves[row * k + cluster + p] = norms[row] + sum;
  }
}

struct Tiles {
  const __half *a, *b;
  std::int64_t m, n, pitch, k;
  const std::int64_t* picked;  // the place of each row of a; null where a is b
  const int* cluster_of;
  const float* halves;
  float factor;
  FixedPoint* sums;
  std::int64_t first_block;
  __device__ std::int64_t place(std::int64_t i) const { return picked ? picked[i] : i; }
  __device__ void add(std::int64_t i, int cluster, float distance) const {
    atomicAdd(&sums[i * k + cluster], static_cast<FixedPoint>(__float2ll_rn(distance * factor)));
  }
};

__device__ inline float distance(float half_i, float half_j, float product) {
  return ptx::sqrt_approx(fmaxf(fmaf(-2.0f, product, half_i + half_j), 0.0f));
}

// Half of 2 N values to each of two lanes, added up: `step` is the bit in which the lanes differ.
template <int N>
__device__ inline void fold(const float (&values)[2 * N], float (&kept)[N], int step) {
  const bool upper = threadIdx.x & step;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float mine = upper ? values[i + N] : values[i], other = upper ? values[i] : values[i + N];
    kept[i] = mine + __shfl_xor_sync(kWarp, other, step);
  }
}

// A whole tile whose rows are of cluster a and its columns of cluster b.
template <bool TRIANGLE>
__device__ inline void add_tile(const Tiles& tiles, const tile::Products& products, std::int64_t first_row,
                                std::int64_t first_column, int a, int b) {
  float row_halves[8], column_halves[16];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    row_halves[i] = tiles.halves[tiles.place(first_row + tile::tile_row(i / 2, i % 2 * 2)) * tiles.k + b];
  }
#pragma unroll
  for (int j = 0; j < 16; ++j) {
    column_halves[j] = tiles.halves[(first_column + tile::tile_column(j / 2, j % 2)) * tiles.k + a];
  }
  float rows[8] = {}, columns[16] = {};
#pragma unroll
  for (int i = 0; i < 8; ++i) {
#pragma unroll
    for (int j = 0; j < 16; ++j) {
      const float found = distance(row_halves[i], column_halves[j], products[i / 2][j / 2][i % 2 * 2 + j % 2]);
      rows[i] += found;
      columns[j] += found;
    }
  }
  const int lane = threadIdx.x % 32;
  float rows4[4], rows2[2];
  fold(rows, rows4, 2);
  fold(rows4, rows2, 1);
#pragma unroll
  for (int e = 0; e < 2; ++e) tiles.add(first_row + tile::tile_row(lane % 4, 2 * e), b, rows2[e]);
  if (!TRIANGLE) return;
  float columns8[8], columns4[4], columns2[2];
  fold(columns, columns8, 16);
  fold(columns8, columns4, 8);
  fold(columns4, columns2, 4);
#pragma unroll
  for (int e = 0; e < 2; ++e) tiles.add(first_column + tile::tile_column(lane / 4, e), a, columns2[e]);
}

// Any tile: distances go through shared memory, and each thread adds up a row, then a column, cluster by cluster.
template <bool TRIANGLE>
__device__ inline void add_mixed_tile(const Tiles& tiles, const tile::Products& products, std::int64_t first_row,
                                      std::int64_t first_column) {
  constexpr int kPitch = tile::kSide + 1;
  static_assert(tile::kSide * kPitch * sizeof(float) <= tile::kSharedBytes && tile::kThreads == tile::kSide);
  float* shared = dynamic_shared<float>();
#pragma unroll
  for (int i = 0; i < tile::kRowFragments; ++i) {
#pragma unroll
    for (int j = 0; j < tile::kColumnFragments; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) shared[tile::tile_row(i, e) * kPitch + tile::tile_column(j, e)] = products[i][j][e];
    }
  }
  __syncthreads();
  const int row_count = static_cast<int>(min(tiles.m - first_row, std::int64_t{tile::kSide}));
  const int column_count = static_cast<int>(min(tiles.n - first_column, std::int64_t{tile::kSide}));
  const int mine = threadIdx.x;
  if (mine < row_count) {
    const std::int64_t i = first_row + mine, place = tiles.place(i);
    const int a = tiles.cluster_of[place];
    int run = -1;
    FixedPoint total = 0;
    for (int c = 0; c < column_count; ++c) {
      const std::int64_t j = first_column + c;
      float& cell = shared[mine * kPitch + c];
      if (TRIANGLE ? j <= i : j == place) {
        cell = 0.0f;
        continue;
      }
      const int b = tiles.cluster_of[j];
      if (b != run && run >= 0) {
        atomicAdd(&tiles.sums[i * tiles.k + run], total);
        total = 0;
      }
      run = b;
      cell = distance(tiles.halves[place * tiles.k + b], tiles.halves[j * tiles.k + a], cell);
      total += static_cast<FixedPoint>(__float2ll_rn(cell * tiles.factor));
    }
    if (run >= 0) atomicAdd(&tiles.sums[i * tiles.k + run], total);
  }
  if (!TRIANGLE) return;
  __syncthreads();
  if (mine >= column_count) return;
  const std::int64_t j = first_column + mine;
  int run = tiles.cluster_of[first_row];
  FixedPoint total = 0;
  for (int r = 0; r < row_count; ++r) {
    const int a = tiles.cluster_of[first_row + r];
    if (a != run) {
      atomicAdd(&tiles.sums[j * tiles.k + run], total);
      total = 0;
    }
    run = a;
    total += static_cast<FixedPoint>(__float2ll_rn(shared[r * kPitch + mine] * tiles.factor));
  }
  atomicAdd(&tiles.sums[j * tiles.k + run], total);
}

template <bool TRIANGLE>
__global__ void __launch_bounds__(tile::kThreads, 2) distance_tiles(Tiles tiles) {
  const tile::Place place = TRIANGLE
                                ? tile::place_in_triangle(tiles.first_block + blockIdx.x)
                                : tile::place_in_rectangle(tiles.first_block + blockIdx.x, tile::tiles_of(tiles.n));
  const std::int64_t first_row = place.row * tile::kSide, first_column = place.column * tile::kSide;
  if (first_row >= tiles.m || first_column >= tiles.n || (TRIANGLE && place.row > place.column)) return;
  tile::Products products;
  tile::multiply_rows(
      tiles.a + first_row * tiles.pitch, tiles.b + first_column * tiles.pitch, tiles.pitch,
      static_cast<int>(tiles.pitch / tile::kDepth),
      [](int step) { return make_int2(step * tile::kDepth, step * tile::kDepth); }, products);

  bool whole = first_row + tile::kSide <= tiles.m && first_column + tile::kSide <= tiles.n;
  int a = 0, b = 0;
  if (whole) {
    const std::int64_t top = tiles.place(first_row), bottom = tiles.place(first_row + tile::kSide - 1);
    a = tiles.cluster_of[top];
    b = tiles.cluster_of[first_column];
    whole = a == tiles.cluster_of[bottom] && b == tiles.cluster_of[first_column + tile::kSide - 1] &&
            (bottom < first_column || top >= first_column + tile::kSide);  // no row meets itself
  }
  if (whole) {
    add_tile<TRIANGLE>(tiles, products, first_row, first_column, a, b);
  } else {
    add_mixed_tile<TRIANGLE>(tiles, products, first_row, first_column);
  }
}

}  // namespace

float fixed_point_factor(std::int64_t n, std::int64_t d) {
  const double largest = std::ldexp(std::sqrt(static_cast<double>(d)), kCommonExponent + 2);  // twice the bound
  return static_cast<float>(std::ldexp(1.0, std::min(24, 62 - std::ilogb(largest * static_cast<double>(n)) - 1)));
}

DistanceSums::DistanceSums(Workspace* space, std::int64_t n, std::int64_t d, std::int64_t k, std::int64_t m)
    : pitch(tile::padded_columns(d)) {
  sums = space->take<FixedPoint>(m * k);
  rows = space->take<__half>(tile::padded_rows(n) * pitch);
  picked_rows = space->take<__half>(m < n ? tile::padded_rows(m) * pitch : 0);
  norms = space->take<float>(n);
  halves = space->take<float>(n * k);
  centres = space->take<float>(k * pitch);
  cluster_of = space->take<int>(n);
}

void distance_sums(const Rows& x, const RowWeight* weights, const float* shift, const double* means,
                   const Clusters& clusters, const Picked& picked, const DistanceSums& scratch, Stream stream) {
  const std::int64_t pitch = scratch.pitch, n = x.n, k = clusters.k, m = picked.m;
  auto* rows = static_cast<__half*>(scratch.rows);
  auto* picked_rows = picked.picked ? static_cast<__half*>(scratch.picked_rows) : rows;
  launch(round_centres, grid(divide_up<std::int64_t>(k * pitch, kThreads)), kThreads, 0, stream, means, x.d, pitch,
         k * pitch, scratch.centres);
  for_type_of(x, [&](auto* data, auto) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
    const auto centre = [&](const Picked& places, __half* to, int* cluster_of) {
      launch(centre_rows<T>, grid(tile::padded_rows(places.m) / kWarps), kThreads, 0, stream, data, x.d, x.stride,
             weights, shift, means, clusters, places, pitch, to, cluster_of);
    };
    centre({nullptr, n}, rows, scratch.cluster_of);
    if (picked.picked) centre(picked, picked_rows, nullptr);
  });
  launch(norm_tiles, grid(tile::tiles_of(n)), tile::kThreads, tile::kSharedBytes, stream, rows, n, pitch,
         scratch.norms);
  launch(half_distances, grid(panel_blocks(n), panels(k)), kPanelThreads, 0, stream, rows, n, pitch, k, scratch.centres,
         scratch.cluster_of, scratch.norms, scratch.halves);
  set_zero(scratch.sums, static_cast<std::size_t>(m * k) * sizeof(FixedPoint), stream);
  Tiles tiles{
      picked_rows,  rows, m, n, pitch, k, picked.picked, scratch.cluster_of, scratch.halves, fixed_point_factor(n, x.d),
      scratch.sums, 0};
  const std::int64_t column_tiles = tile::tiles_of(n);
  const std::int64_t blocks = picked.picked ? tile::blocks_of_rectangle(tile::tiles_of(m), column_tiles)
                                            : tile::blocks_of_triangle(column_tiles);
  for_parts_of_grid(blocks, [&](std::int64_t first, std::int64_t count) {
    tiles.first_block = first;
    launch(picked.picked ? distance_tiles<false> : distance_tiles<true>, grid(count), tile::kThreads,
           tile::kSharedBytes, stream, tiles);
  });
}

}  // namespace dataprophet::cuda
