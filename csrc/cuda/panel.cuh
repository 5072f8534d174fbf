// A few rows against a few vectors, by one warp: the inner loop of every operation of O(n K d).
#pragma once

#include <cuda_runtime.h>

#include "cuda/load.cuh"
#include "cuda/reduce.cuh"
#include "cuda/weights.hpp"

namespace dataprophet::cuda {

constexpr int kPanelRows = 4, kPanel = 16, kPanelThreads = 128, kPanelWarps = kPanelThreads / 32;

// Of warps with R rows each.
template <int R = kPanelRows>
std::int64_t panel_blocks(std::int64_t n) {
  return divide_up<std::int64_t>(n, kPanelWarps * R);
}
inline std::int64_t panels(std::int64_t count) { return divide_up<std::int64_t>(count, kPanel); }

// The first row of this warp.
template <int R = kPanelRows>
__device__ inline std::int64_t panel_first_row() {
  return blockIdx.x * std::int64_t{kPanelWarps * R} + threadIdx.x / 32 * R;
}

// Columns that are worked on at a time: four of the eight of a pack, for the sake of registers.
template <int V>
constexpr int kPart = V == 1 ? 1 : 4;

// Adds step(sum, r, v, element of row r, element of vector p) over this lane's columns to sums[r][p]. prepare(j, a)
// may change the elements a[R][kPart<V>] from column j on first. vectors[count][d] are rows without gaps; vectors
// beyond the last repeat it. The packs of the next columns are under way meanwhile.
template <int R, int P, int V, class T, class Prepare, class Step>
__device__ inline void panel(const T* const (&rows)[R], std::int64_t d, const float* vectors, std::int64_t count,
                             const Prepare& prepare, const Step& step, float (&sums)[R][P]) {
  constexpr int W = kPart<V>;
  std::int64_t j = static_cast<std::int64_t>(threadIdx.x % 32) * V;
  if (j >= d) return;
  Pack<T, V> next[R];
#pragma unroll
  for (int r = 0; r < R; ++r) next[r].load(rows[r] + j);
  while (j < d) {
    Pack<T, V> packs[R];
#pragma unroll
    for (int r = 0; r < R; ++r) packs[r] = next[r];
    const std::int64_t following = j + 32 * V;
    if (following < d) {
#pragma unroll
      for (int r = 0; r < R; ++r) next[r].load(rows[r] + following);
    }
#pragma unroll
    for (int part = 0; part < V; part += W) {
      float a[R][W];
#pragma unroll
      for (int r = 0; r < R; ++r) {
        float all[V];
        packs[r].unpack(all);
#pragma unroll
        for (int v = 0; v < W; ++v) a[r][v] = all[part + v];
      }
      prepare(j + part, a);
#pragma unroll
      for (int p = 0; p < P; ++p) {
        float c[W];
        load_floats<W>(vectors + min(static_cast<std::int64_t>(p), count - 1) * d + j + part, c);
#pragma unroll
        for (int r = 0; r < R; ++r) {
#pragma unroll
          for (int v = 0; v < W; ++v) sums[r][p] = step(sums[r][p], r, v, a[r][v], c[v]);
        }
      }
    }
    j = following;
  }
}

// Rows beyond the last repeat it.
template <int R, class T>
__device__ inline void row_pointers(const T* x, std::int64_t first, std::int64_t n, std::int64_t stride,
                                    const T* (&rows)[R]) {
#pragma unroll
  for (int r = 0; r < R; ++r) rows[r] = x + min(first + r, n - 1) * stride;
}

// sums[r][p] = this lane's part of |row * weight - shift - vector|^2. Differences, not dot products: no digits are lost
// where a row is close to a vector.
template <int R, int P, int V, class T>
__device__ inline void squared_distances(const T* x, std::int64_t first, std::int64_t n, std::int64_t d,
                                         std::int64_t stride, const RowWeight* weights, const float* shift,
                                         const float* vectors, std::int64_t count, float (&sums)[R][P]) {
  constexpr int W = kPart<V>;
  const T* rows[R];
  row_pointers<R>(x, first, n, stride, rows);
  RowWeight weight[R];
#pragma unroll
  for (int r = 0; r < R; ++r) weight[r] = weights[min(first + r, n - 1)];
#pragma unroll
  for (int r = 0; r < R; ++r) {
#pragma unroll
    for (int p = 0; p < P; ++p) sums[r][p] = 0.0f;
  }
  panel<R, P, V>(
      rows, d, vectors, count,
      [&](std::int64_t j, float (&a)[R][W]) {
        float offset[W];
        load_floats<W>(shift + j, offset);
#pragma unroll
        for (int r = 0; r < R; ++r) {
#pragma unroll
          for (int v = 0; v < W; ++v) a[r][v] = fmaf(a[r][v] * weight[r].first, weight[r].second, -offset[v]);
        }
      },
      [](float sum, int, int, float a, float c) {
        const float difference = a - c;
        return fmaf(difference, difference, sum);
      },
      sums);
}

// The sums of two of the R rows over the warp: lane i gets that of row pair * 2 + i / kPanel and of vector
// i % kPanel.
template <int R>
__device__ inline float pair_sums(float (&sums)[R][kPanel], int pair) {
  float values[2 * kPanel];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int p = 0; p < kPanel; ++p) values[r * kPanel + p] = sums[pair * 2 + r][p];
  }
  return warp_sums<2 * kPanel>(values);
}

}  // namespace dataprophet::cuda
