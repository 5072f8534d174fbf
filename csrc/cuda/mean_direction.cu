#include <algorithm>

#include "cuda/cluster_sums.hpp"
#include "cuda/grid.cuh"
#include "cuda/launch.cuh"
#include "cuda/mean_direction.hpp"
#include "cuda/norm.cuh"
#include "cuda/warp_directions.cuh"
#include "cuda/weights.hpp"

namespace dataprophet::cuda {
namespace {

constexpr int kMaxThreads = 256, kPacks = 8;

// Rows of a chunk: a function of the array alone. fp32 sums over at most 256 rows, the rest in double precision.
std::int64_t chunk_rows(std::int64_t n) {
  return std::clamp<std::int64_t>(round_up<std::int64_t>(divide_up<std::int64_t>(n, 1024), kPacks), kPacks, 256);
}

// Calls body with the fewest columns of a lane, of those that there is a kernel for, that hold so many; false: none
// does.
template <class Body>
bool for_columns(std::int64_t columns, const Body& body) {
  const auto with = [&](auto most) {
    if (columns > most) return false;
    body(most);
    return true;
  };
  return with(std::integral_constant<int, 8>()) || with(std::integral_constant<int, 24>()) ||
         with(std::integral_constant<int, 32>()) || with(std::integral_constant<int, 48>()) ||
         with(std::integral_constant<int, 64>());
}

// Rows that a warp does not hold. Each thread owns SLOTS packs of columns and keeps kPacks packs of several rows in
// flight, so that a row is read once: the block sums its squares, then each thread adds up its columns from registers.
template <class T, int V, int SLOTS>
__global__ void sum_directions(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride, std::int64_t chunk,
                               float* partial, BadRows* bad) {
  constexpr int R = kPacks / SLOTS;
  __shared__ float squares[2][kMaxThreads / 32][R];
  __shared__ double scratch[32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const std::int64_t begin = blockIdx.x * chunk, end = min(n, begin + chunk);
  float sums[SLOTS][V] = {};
  int side = 0;
  for (std::int64_t first = begin; first < end; first += R, side ^= 1) {
    Pack<T, V> packs[R][SLOTS];
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int s = 0; s < SLOTS; ++s) {
        const std::int64_t column = (threadIdx.x + static_cast<std::int64_t>(s) * blockDim.x) * V;
        if (first + r < end && column < d) {
          packs[r][s].load(x + (first + r) * stride + column);
        } else {
          packs[r][s].clear();
        }
      }
    }
    float squared[R] = {};
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int s = 0; s < SLOTS; ++s) {
        float values[V];
        packs[r][s].unpack(values);
#pragma unroll
        for (int v = 0; v < V; ++v) squared[r] = fmaf(values[v], values[v], squared[r]);
      }
    }
    const float total = warp_sums<R>(squared);
    if (lane % (32 / R) == 0) squares[side][warp][lane / (32 / R)] = total;
    __syncthreads();  // the other side may still be read: two sides, one barrier
#pragma unroll
    for (int r = 0; r < R; ++r) {
      float row_squared = 0.0f;
      for (int w = 0; w < warps; ++w) row_squared += squares[side][w][r];
      const std::int64_t row = first + r;
      if (row >= end) continue;
      if (plain(row_squared)) {
        const float scale = inverse_norm(row_squared);
#pragma unroll
        for (int s = 0; s < SLOTS; ++s) {
          float values[V];
          packs[r][s].unpack(values);
#pragma unroll
          for (int v = 0; v < V; ++v) sums[s][v] = fmaf(values[v], scale, sums[s][v]);
        }
      } else {  // the same branch in all threads, as they added the same numbers
        const double exact = block_sum(lane_squares(x + row * stride, d, threadIdx.x, blockDim.x), scratch);
        const double scale = exact_inverse(exact, threadIdx.x == 0, row, n, bad);
        if (scale == 0.0) continue;
#pragma unroll
        for (int s = 0; s < SLOTS; ++s) {
          float values[V];
          packs[r][s].unpack(values);
#pragma unroll
          for (int v = 0; v < V; ++v) sums[s][v] += static_cast<float>(values[v] * scale);
        }
      }
    }
  }
#pragma unroll
  for (int s = 0; s < SLOTS; ++s) {
    const std::int64_t column = (threadIdx.x + static_cast<std::int64_t>(s) * blockDim.x) * V;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      if (column < d) partial[blockIdx.x * d + column + v] = sums[s][v];
    }
  }
}

// out[j] = the sum of partial[chunk][j] over the chunks, over n. 32 columns and 32 ways through the chunks.
__global__ void add_chunks(const float* partial, std::int64_t chunks, std::int64_t d, std::int64_t n, double* out) {
  __shared__ double sums[32][33];
  const int column = threadIdx.x % 32, way = threadIdx.x / 32;
  const std::int64_t j = blockIdx.x * std::int64_t{32} + column;
  double sum = 0.0;
  if (j < d) {
    for (std::int64_t chunk = way; chunk < chunks; chunk += 32) sum += partial[chunk * d + j];
  }
  sums[way][column] = sum;
  __syncthreads();
  if (way > 0 || j >= d) return;
  double total = 0.0;
  for (int w = 0; w < 32; ++w) total += sums[w][column];
  out[j] = total / static_cast<double>(n);
}

// Rows that no block can hold in registers take the two passes of cluster_sums.
bool wide(const Rows& x) { return x.d > kMaxThreads * 4 * (whole_packs(x) ? 16 / element_bytes(x.element) : 1); }

struct Layout {
  float* partial;
  RowWeight* weights;
  ClusterSums sums;
  std::size_t bytes;
  Layout(void* base, std::int64_t n, std::int64_t d) {
    Workspace space(base);
    partial = space.take<float>(divide_up(n, chunk_rows(n)) * d);
    weights = space.take<RowWeight>(n);
    sums = ClusterSums(&space, n, d, 1);
    bytes = space.bytes();
  }
};

}  // namespace

std::size_t mean_direction_workspace_bytes(std::int64_t n, std::int64_t d) { return Layout(nullptr, n, d).bytes; }

void mean_direction(const Rows& x, double* out, BadRows* bad, void* workspace, Stream stream) {
  const Layout at(workspace, x.n, x.d);
  set_zero(bad, kBadRows * sizeof(BadRows), stream);
  if (wide(x)) {
    inverse_norms(x, at.weights, bad, stream);
    cluster_means(x, at.weights, nullptr, nullptr, at.sums, out, nullptr, nullptr, stream);
    return;
  }
  const std::int64_t chunk = chunk_rows(x.n), chunks = divide_up(x.n, chunk);
  for_type_of(x, [&](auto* data, auto width) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
    constexpr int V = width;
    const std::int64_t packs = divide_up<std::int64_t>(x.d, V);
    const int threads = static_cast<int>(std::min<std::int64_t>(kMaxThreads, round_up<std::int64_t>(packs, 32)));
    const auto run = [&](auto kernel) {
      launch(kernel, grid(chunks), threads, 0, stream, data, x.n, x.d, x.stride, chunk, at.partial, bad);
    };
    if constexpr (V > 1) {
      const auto by_warps = [&](auto columns_of_lane) {
        constexpr int kPacks = columns_of_lane / V;
        launch(warps::sum_directions<T, V, kPacks>, grid(chunks), warps::kThreads,
               static_cast<std::size_t>(x.d) * sizeof(float), stream, data, x.n, x.d, x.stride, chunk, at.partial, bad);
      };
      if (for_columns(divide_up<std::int64_t>(x.d, 32), by_warps)) return;
    }
    if (packs <= kMaxThreads) {
      run(sum_directions<T, V, 1>);
    } else if (packs <= 2 * kMaxThreads) {
      run(sum_directions<T, V, 2>);
    } else {
      run(sum_directions<T, V, 4>);
    }
  });
  launch(add_chunks, grid(divide_up<std::int64_t>(x.d, 32)), 1024, 0, stream, at.partial, chunks, x.d, x.n, out);
}

}  // namespace dataprophet::cuda
