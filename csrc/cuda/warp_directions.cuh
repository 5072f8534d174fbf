// Sums of the directions of rows, a warp for each row: nothing waits for other warps until the end of a chunk.
#pragma once

#include <cuda_runtime.h>

#include "cuda/launch.cuh"
#include "cuda/norm.cuh"
#include "cuda/reduce.cuh"

namespace dataprophet::cuda::warps {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kInFlight = 8;  // packs that a lane waits for at a time, of one row or of several

// partial[block][d] = the sum of the directions of the rows of a chunk. Rows are whole packs, at most 32 PACKS of them.
// Every lane keeps its columns of the row, and of the sums, in registers.
template <class T, int V, int PACKS>
__global__ void __launch_bounds__(kThreads)
    sum_directions(const T* x, std::int64_t n, std::int64_t d, std::int64_t stride, std::int64_t chunk, float* partial,
                   BadRows* bad) {
  constexpr int R = PACKS < kInFlight ? kInFlight / PACKS : 1;
  auto* total = dynamic_shared<float>();  // [d]
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const std::int64_t begin = blockIdx.x * chunk, end = min(n, begin + chunk);
  float sums[PACKS][V] = {};
  for (std::int64_t first = begin + warp * R; first < end; first += kWarps * R) {
    Pack<T, V> packs[R][PACKS];
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const T* row = x + (first + r) * stride;
#pragma unroll
      for (int p = 0; p < PACKS; ++p) {
        const int column = (p * 32 + lane) * V;
        if (first + r < end && column < d) {
          packs[r][p].load(row + column);
        } else {
          packs[r][p].clear();
        }
      }
    }
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const std::int64_t row = first + r;
      if (row >= end) break;
      float squared = 0.0f;
#pragma unroll
      for (int p = 0; p < PACKS; ++p) {
        float values[V];
        packs[r][p].unpack(values);
#pragma unroll
        for (int v = 0; v < V; ++v) squared = fmaf(values[v], values[v], squared);
      }
      squared = warp_sum(squared);  // the same in all lanes, and so the branch
      if (plain(squared)) {
        const float scale = inverse_norm(squared);
#pragma unroll
        for (int p = 0; p < PACKS; ++p) {
          float values[V];
          packs[r][p].unpack(values);
#pragma unroll
          for (int v = 0; v < V; ++v) sums[p][v] = fmaf(values[v], scale, sums[p][v]);
        }
      } else {
        const double exact = warp_sum(lane_squares(x + row * stride, d, lane, 32));
        const double scale = exact_inverse(exact, lane == 0, row, n, bad);
        if (scale == 0.0) continue;  // its elements need not be numbers
#pragma unroll
        for (int p = 0; p < PACKS; ++p) {
          float values[V];
          packs[r][p].unpack(values);
#pragma unroll
          for (int v = 0; v < V; ++v) sums[p][v] += static_cast<float>(values[v] * scale);
        }
      }
    }
  }
  for (int turn = 0; turn < kWarps; ++turn) {  // in the order of the warps
    if (warp == turn) {
#pragma unroll
      for (int p = 0; p < PACKS; ++p) {
#pragma unroll
        for (int v = 0; v < V; ++v) {
          const int column = (p * 32 + lane) * V + v;
          if (column >= d) continue;
          const float before = turn == 0 ? 0.0f : total[column];
          if (turn + 1 < kWarps) {
            total[column] = before + sums[p][v];
          } else {
            partial[blockIdx.x * d + column] = before + sums[p][v];
          }
        }
      }
    }
    __syncthreads();
  }
}

}  // namespace dataprophet::cuda::warps
