// A tile of 128 x 128 dot products of fp16 rows, by one block of four warps on the tensor cores.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/launch.cuh"
#include "cuda/ptx.cuh"
#include "cuda/rows.hpp"

namespace dataprophet::cuda::tile {

constexpr int kSide = 128, kThreads = 128;
constexpr int kDepth = 64;  // elements of a row that a stage of the pipeline holds: 128 bytes, all banks
constexpr int kStages = 3;
constexpr int kPack = 8;  // elements of 16 bytes
constexpr int kStageElements = 2 * kSide * kDepth;
constexpr std::size_t kSharedBytes = kStages * kStageElements * sizeof(__half);

// Each warp owns 64 x 64 products: 4 x 8 fragments of 16 x 8, so that shared memory keeps up with the tensor cores.
constexpr int kWarpSide = 64, kRowFragments = 4, kColumnFragments = 8;
using Products = float[kRowFragments][kColumnFragments][4];

// Rows as the tiles read them: fp16, `pitch` elements apart, a multiple of kDepth, with zeros behind the last column
// and up to a multiple of kSide rows.
__host__ __device__ inline std::int64_t tiles_of(std::int64_t n) { return (n + kSide - 1) / kSide; }
inline std::int64_t padded_rows(std::int64_t n) { return tiles_of(n) * kSide; }
inline std::int64_t padded_columns(std::int64_t d) { return round_up<std::int64_t>(d, kDepth); }

// The place of element e of fragment (i, j) in the tile.
__device__ inline int tile_row(int i, int e) {
  return threadIdx.x / 64 * kWarpSide + i * 16 + e / 2 * 8 + threadIdx.x % 32 / 4;
}
__device__ inline int tile_column(int j, int e) {
  return threadIdx.x / 32 % 2 * kWarpSide + j * 8 + threadIdx.x % 4 * 2 + e % 2;
}

// Where element `pack` of 16 bytes of a row lies: neighbouring rows are rotated against each other, so that the eight
// rows that ldmatrix reads at once lie in different banks.
__device__ inline int swizzled(int row, int pack) { return row * kDepth + (pack ^ (row % 8)) * kPack; }

__device__ inline void start_copy(__half* stage, const __half* a, const __half* b, std::int64_t pitch) {
  const int pack = threadIdx.x % (kDepth / kPack), first = threadIdx.x / (kDepth / kPack);
  constexpr int kStep = kThreads / (kDepth / kPack);
#pragma unroll
  for (int i = 0; i < kSide / kStep; ++i) {
    const int row = first + i * kStep;
    ptx::cp_async_16(stage + swizzled(row, pack), a + row * pitch + pack * kPack);
    ptx::cp_async_16(stage + kSide * kDepth + swizzled(row, pack), b + row * pitch + pack * kPack);
  }
}

__device__ inline void multiply(const __half* stage, Products& products) {
  const int lane = threadIdx.x % 32;
  const int a_row = threadIdx.x / 64 * kWarpSide + lane % 16, a_pack = lane / 16;
  const int b_row = threadIdx.x / 32 % 2 * kWarpSide + lane % 8 + lane / 16 * 8, b_pack = lane / 8 % 2;
#pragma unroll
  for (int step = 0; step < kDepth / 16; ++step) {
    std::uint32_t a[kRowFragments][4], b[kColumnFragments / 2][4];
#pragma unroll
    for (int i = 0; i < kRowFragments; ++i) {
      ptx::ldmatrix_x4(a[i], stage + swizzled(a_row + i * 16, step * 2 + a_pack));
    }
#pragma unroll
    for (int j = 0; j < kColumnFragments / 2; ++j) {
      ptx::ldmatrix_x4(b[j], stage + kSide * kDepth + swizzled(b_row + j * 16, step * 2 + b_pack));
    }
#pragma unroll
    for (int i = 0; i < kRowFragments; ++i) {
#pragma unroll
      for (int j = 0; j < kColumnFragments; ++j) {
        ptx::mma_m16n8k16<__half>(products[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
      }
    }
  }
}

// products = the dot products of 128 rows from a on with 128 rows from b on, over `steps` times kDepth columns:
// columns_of(step) gives the first column of each. Shared memory is free again afterwards.
template <class ColumnsOf>
__device__ inline void multiply_rows(const __half* a, const __half* b, std::int64_t pitch, int steps,
                                     const ColumnsOf& columns_of, Products& products) {
  __half* stages = dynamic_shared<__half>();
#pragma unroll
  for (int i = 0; i < kRowFragments; ++i) {
#pragma unroll
    for (int j = 0; j < kColumnFragments; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) products[i][j][e] = 0.0f;
    }
  }
  const auto copy = [&](int step) {
    if (step < steps) {
      const int2 columns = columns_of(step);
      start_copy(stages + step % kStages * kStageElements, a + columns.x, b + columns.y, pitch);
    }
    ptx::cp_async_commit();  // an empty group where there is nothing left, so that counting goes on
  };
#pragma unroll
  for (int step = 0; step < kStages - 1; ++step) copy(step);
  for (int step = 0; step < steps; ++step) {
    ptx::cp_async_wait<kStages - 2>();
    __syncthreads();  // the stage is there for all, and all have left the one that is copied to next
    copy(step + kStages - 1);
    multiply(stages + step % kStages * kStageElements, products);
  }
  ptx::cp_async_wait<0>();
  __syncthreads();
}

// Tiles are numbered in squares of kGroup x kGroup, so that the blocks that run at a time share rows in the L2 cache.
constexpr int kGroup = 16;

__host__ __device__ inline std::int64_t groups_of(std::int64_t tiles) { return (tiles + kGroup - 1) / kGroup; }

struct Place {
  std::int64_t row, column;
};

// The place of block `index` in a grid of row_tiles x column_tiles; it may lie outside.
__device__ inline Place place_in_rectangle(std::int64_t index, std::int64_t column_tiles) {
  const std::int64_t groups = groups_of(column_tiles), group = index / (kGroup * kGroup);
  const int within = static_cast<int>(index % (kGroup * kGroup));
  return {group / groups * kGroup + within / kGroup, group % groups * kGroup + within % kGroup};
}

inline std::int64_t blocks_of_rectangle(std::int64_t row_tiles, std::int64_t column_tiles) {
  return groups_of(row_tiles) * groups_of(column_tiles) * kGroup * kGroup;
}

// The same for the upper triangle of a square; a place may also lie below the diagonal.
__device__ inline Place place_in_triangle(std::int64_t index) {
  const std::int64_t group = index / (kGroup * kGroup);
  auto column = static_cast<std::int64_t>((sqrt(8.0 * static_cast<double>(group) + 1.0) - 1.0) / 2.0);
  while (column * (column + 1) / 2 > group) --column;
  while ((column + 1) * (column + 2) / 2 <= group) ++column;
  const int within = static_cast<int>(index % (kGroup * kGroup));
  return {(group - column * (column + 1) / 2) * kGroup + within / kGroup, column * kGroup + within % kGroup};
}

inline std::int64_t blocks_of_triangle(std::int64_t tiles) {
  const std::int64_t groups = groups_of(tiles);
  return groups * (groups + 1) / 2 * kGroup * kGroup;
}

}  // namespace dataprophet::cuda::tile
