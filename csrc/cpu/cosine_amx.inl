#pragma once

// Cosine of bfloat16 rows to a few directions on AMX tiles. A direction is the sum of three bfloat16 parts, which hold
// its 24 bits exactly, and products of bfloat16 are exact in fp32. Include inside an anonymous namespace.
#include "cpu/cosine_rows.inl"
#include "cpu/tile.inl"

constexpr std::int64_t kTileRows = 16, kTileColumns = 32;  // of bfloat16, in a tile of 16 lines of 64 bytes
constexpr std::int64_t kBlock = 2 * kTileRows;             // rows that share a tile of directions

inline float squared_norm_bf16(const BFloat* row, std::int64_t d, const BFloat* fetch, std::int64_t fetched) {
  __m512 s0 = _mm512_setzero_ps(), s1 = s0;
  std::int64_t j = 0;
  for (; j + 2 * kTileColumns <= d; j += 2 * kTileColumns) {
    if (j < 2 * fetched) __builtin_prefetch(fetch + j / 2, 0, 2);
    const auto a = reinterpret_cast<__m512bh>(_mm512_loadu_si512(row + j));
    const auto b = reinterpret_cast<__m512bh>(_mm512_loadu_si512(row + j + kTileColumns));
    s0 = _mm512_dpbf16_ps(s0, a, a);
    s1 = _mm512_dpbf16_ps(s1, b, b);
  }
  float total = sum(s0 + s1);
  for (; j < d; ++j) total += load1(row + j) * load1(row + j);
  return total;
}

// dots[kBlock][16] += kBlock rows x a group of 16 directions over `steps` of kTileColumns columns, at most kSteps at a
// time: a chain of additions in fp32 that long. `tiles` holds the group's parts: [step][3][kTileRows][kTileColumns].
inline void multiply(const BFloat* x, std::int64_t stride, std::int64_t steps, const std::uint16_t* tiles,
                     const BFloat* fetch, std::int64_t fetch_stride, float* dots) {
  constexpr std::int64_t kSteps = 8, kTile = kTileRows * kTileColumns;
  alignas(64) float part[kBlock * kTileRows];
  const auto row_bytes = stride * static_cast<std::int64_t>(sizeof(BFloat));
  for (std::int64_t from = 0; from < steps; from += kSteps) {
    const std::int64_t to = from + kSteps < steps ? from + kSteps : steps;
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    for (std::int64_t step = from; step < to; ++step) {
      const BFloat* at = x + step * kTileColumns;
      const std::uint16_t* parts = tiles + step * 3 * kTile;
      if (fetch) {
        for (std::int64_t r = 0; r < kBlock; ++r) {
          __builtin_prefetch(fetch + r * fetch_stride + step * kTileColumns, 0, 2);
        }
      }
      _tile_loadd(0, at, row_bytes);
      _tile_loadd(1, at + kTileRows * stride, row_bytes);
      _tile_loadd(2, parts, 64);
      _tile_dpbf16ps(3, 0, 2);
      _tile_dpbf16ps(4, 1, 2);
      _tile_loadd(7, parts + kTile, 64);
      _tile_dpbf16ps(5, 0, 7);
      _tile_dpbf16ps(6, 1, 7);
      _tile_loadd(2, parts + 2 * kTile, 64);
      _tile_dpbf16ps(5, 0, 2);
      _tile_dpbf16ps(6, 1, 2);
    }
    for (int small = 1; small >= 0; --small) {  // the small parts first
      if (small) {
        _tile_stored(5, part, 64);
        _tile_stored(6, part + kTile / 2, 64);
      } else {
        _tile_stored(3, part, 64);
        _tile_stored(4, part + kTile / 2, 64);
      }
      for (std::int64_t i = 0; i < kBlock * kTileRows; i += kLanes) store(dots + i, load(dots + i) + load(part + i));
    }
  }
}

void cosine_rows_amx(const Rows& rows, std::int64_t begin, std::int64_t end, const Directions& directions, float* out,
                     BadRows* bad) {
  const auto* x = static_cast<const BFloat*>(rows.data);
  const std::int64_t d = rows.d, targets = directions.count, steps = d / kTileColumns, rest = d % kTileColumns;
  const std::int64_t all_steps = (d + kTileColumns - 1) / kTileColumns;
  _tile_loadconfig(&kConfiguration);
  std::int64_t r = begin;
  for (; r + kBlock <= end; r += kBlock) {
    const BFloat* block = x + r * rows.stride;
    const bool more = r + 2 * kBlock <= end;
    float squared[kBlock];
    BFloat padded[kBlock][kTileColumns] = {};
    for (std::int64_t i = 0; i < kBlock; ++i) {
      const BFloat* row = block + i * rows.stride;
      // Half of the rows that come next are fetched here, the other half between products.
      const BFloat* next = more ? row + kBlock * rows.stride : row;
      squared[i] = squared_norm_bf16(row, d, next, d / 2);
      for (std::int64_t j = 0; j < rest; ++j) padded[i][j] = row[steps * kTileColumns + j];
    }
    for (std::int64_t base = 0; base < targets; base += kTileRows) {
      const std::int64_t width = targets - base < kTileRows ? targets - base : kTileRows;
      const std::uint16_t* tiles = directions.tiles + base / kTileRows * all_steps * 3 * kTileRows * kTileColumns;
      alignas(64) float dots[kBlock * kTileRows] = {};
      const BFloat* fetch = more && base == 0 ? block + kBlock * rows.stride + d / 2 : nullptr;
      multiply(block, rows.stride, steps, tiles, fetch, rows.stride, dots);
      if (rest > 0) {
        multiply(padded[0], kTileColumns, 1, tiles + steps * 3 * kTileRows * kTileColumns, nullptr, 0, dots);
      }
      for (std::int64_t i = 0; i < kBlock; ++i) {
        const float scale = inverse_norm(squared[i]);
        float* to = out + (r + i - begin) * targets + base;
        for (std::int64_t t = 0; t < width; ++t) to[t] = dots[i * kTileRows + t] * scale;
      }
    }
    for (std::int64_t i = 0; i < kBlock; ++i) {
      if (plain(squared[i])) continue;
      cosine_exact(block + i * rows.stride, d, r + i, directions, out + (r + i - begin) * targets, bad);
    }
  }
  _tile_release();
  cosine_rows<BFloat>(rows, r, end, directions, out + (r - begin) * targets, bad);
}
