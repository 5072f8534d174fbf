#pragma once

// Cosine of bfloat16 rows to a few directions on AMX tiles. A direction is the sum of three bfloat16 parts, which hold
// its 24 bits exactly, and products of bfloat16 are exact in fp32. (float32 rows in three parts were slower than fused
// multiply-adds.) Include inside an anonymous namespace.
#include "cpu/simd/cosine_rows.inl"
#include "cpu/simd/tile.inl"

constexpr std::int64_t kTileRows = 16, kTileColumns = 32;  // of bfloat16, in a tile of 16 lines of 64 bytes
constexpr std::int64_t kTileSize = kTileRows * kTileColumns;
constexpr std::int64_t kBlock = 2 * kTileRows;  // rows that share a tile of directions

inline Vector add_squares(Vector total, const BFloat* p) {
  const auto a = reinterpret_cast<__m512bh>(_mm512_loadu_si512(p));
  return _mm512_dpbf16_ps(total, a, a);
}

// Squared norms of two rows, one of each stream; the rows that follow are fetched.
inline void squared_norms_of(const BFloat* const* row, std::int64_t following, std::int64_t d, float* squared) {
  Vector total[2] = {};
  std::int64_t j = 0;
  for (; j + kTileColumns <= d; j += kTileColumns) {
    for (int i = 0; i < 2; ++i) {
      __builtin_prefetch(row[i] + following + j);
      total[i] = add_squares(total[i], row[i] + j);
    }
  }
  for (int i = 0; i < 2; ++i) {
    squared[i] = sum(total[i]);
    for (std::int64_t rest = j; rest < d; ++rest) squared[i] += load1(row[i] + rest) * load1(row[i] + rest);
  }
}

// Adds to tiles 3 and 4 (rows 0 to 15 and 16 to 31) the products of the first parts of rows and directions, and to
// tiles 5 and 6 the smaller ones. `parts` holds 32 columns of directions, [3][kTileSize].
inline void multiply_step(const BFloat* const* x, std::int64_t at, std::int64_t stride, const std::uint16_t* parts) {
  const auto bytes = stride * static_cast<std::int64_t>(sizeof(BFloat));
  _tile_loadd(0, x[0] + at, bytes);
  _tile_loadd(1, x[1] + at, bytes);
  _tile_loadd(2, parts, 64);
  _tile_dpbf16ps(3, 0, 2);
  _tile_dpbf16ps(4, 1, 2);
  _tile_loadd(7, parts + kTileSize, 64);
  _tile_dpbf16ps(5, 0, 7);
  _tile_dpbf16ps(6, 1, 7);
  _tile_loadd(2, parts + 2 * kTileSize, 64);
  _tile_dpbf16ps(5, 0, 2);
  _tile_dpbf16ps(6, 1, 2);
}

// dots[2][16][16] += 16 rows of each stream x 16 directions over `columns`, kSteps * 32 at a time: a chain of additions
// in fp32 that long. `tiles` holds the parts of the directions.
inline void multiply(const BFloat* const* x, std::int64_t stride, std::int64_t columns, const std::uint16_t* tiles,
                     float* dots) {
  constexpr std::int64_t kSteps = 8;
  alignas(64) float part[kBlock * kTileRows];
  const std::int64_t steps = (columns + kTileColumns - 1) / kTileColumns;
  for (std::int64_t from = 0; from < steps; from += kSteps) {
    const std::int64_t to = from + kSteps < steps ? from + kSteps : steps;
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    for (std::int64_t step = from; step < to; ++step) {
      const std::int64_t at = step * kTileColumns;
      multiply_step(x, at, stride, tiles + step * 3 * kTileSize);
    }
    for (int first = 0; first < 2; ++first) {  // the small parts before the first
      if (first) {
        _tile_stored(3, part, 64);
        _tile_stored(4, part + kTileRows * kTileRows, 64);
      } else {
        _tile_stored(5, part, 64);
        _tile_stored(6, part + kTileRows * kTileRows, 64);
      }
      for (std::int64_t i = 0; i < kBlock * kTileRows; i += kLanes) store(dots + i, load(dots + i) + load(part + i));
    }
  }
}

void cosine_rows_amx(const Rows& rows, std::int64_t begin, std::int64_t end, const Directions& directions, float* out,
                     BadRows* bad) {
  const auto* x = static_cast<const BFloat*>(rows.data);
  const std::int64_t d = rows.d, targets = directions.count;
  // A tile of bfloat16 is read as it stands: the last columns, where they do not fill one, from a copy.
  const std::int64_t rest = d % kTileColumns;
  const std::int64_t group_size = (d + kTileColumns - 1) / kTileColumns * 3 * kTileSize;
  // Two streams of rows, each from front to back, as memory serves them fastest.
  const std::int64_t length = (end - begin) / kBlock * kTileRows;
  _tile_loadconfig(&kConfiguration);
  for (std::int64_t r = begin; r < begin + length; r += kTileRows) {
    const std::int64_t first[2] = {r, r + length};
    const BFloat* block[2] = {x + first[0] * rows.stride, x + first[1] * rows.stride};
    float squared[kTileRows][2];
    BFloat padded[2][kTileRows * kTileColumns] = {};
    for (std::int64_t i = 0; i < kTileRows; ++i) {
      const BFloat* row[2] = {block[0] + i * rows.stride, block[1] + i * rows.stride};
      squared_norms_of(row, first[1] + i + 1 < end ? rows.stride : 0, d, squared[i]);
      for (int stream = 0; stream < 2; ++stream) {
        for (std::int64_t j = 0; j < rest; ++j) padded[stream][i * kTileColumns + j] = row[stream][d - rest + j];
      }
    }
    for (std::int64_t base = 0; base < targets; base += kTileRows) {
      const std::uint16_t* tiles = directions.tiles + base / kTileRows * group_size;
      const std::int64_t width = targets - base < kTileRows ? targets - base : kTileRows;
      alignas(64) float dots[2][kTileRows][kTileRows] = {};
      multiply(block, rows.stride, d - rest, tiles, dots[0][0]);
      if (rest > 0) {
        const BFloat* last[2] = {padded[0], padded[1]};
        multiply(last, kTileColumns, rest, tiles + d / kTileColumns * 3 * kTileSize, dots[0][0]);
      }
      for (int stream = 0; stream < 2; ++stream) {
        for (std::int64_t i = 0; i < kTileRows; ++i) {
          const float scale = inverse_norm(squared[i][stream]);
          float* to = out + (first[stream] + i - begin) * targets + base;
          for (std::int64_t t = 0; t < width; ++t) to[t] = dots[stream][i][t] * scale;
        }
      }
    }
    for (int stream = 0; stream < 2; ++stream) {
      for (std::int64_t i = 0; i < kTileRows; ++i) {
        if (plain(squared[i][stream])) continue;
        const std::int64_t index = first[stream] + i;
        cosine_exact(x + index * rows.stride, d, index, directions, out + (index - begin) * targets, bad);
      }
    }
  }
  _tile_release();
  const std::int64_t done = begin + 2 * length;
  cosine_rows<BFloat>(rows, done, end, directions, out + (done - begin) * targets, bad);
}
