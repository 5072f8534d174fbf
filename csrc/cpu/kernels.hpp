// The function table that each instruction set fills in. One translation unit per instruction set defines one table.
#pragma once

#include <cstdint>

#include "cpu/element.hpp"

namespace dataprophet::cpu {

// Rows that have no direction. They are counted and left out; the caller decides what to do.
struct BadRows {
  std::int64_t zero = 0;
  std::int64_t nonfinite = 0;
  std::int64_t first = -1;
};

// Rows of an (n, d) array with unit inner stride.
struct Rows {
  const void* data;
  std::int64_t stride;  // between rows, in elements; may be negative
  std::int64_t d;
};

// sum[d] += the directions (l2-normalised rows) of rows [begin, end). `block` is scratch of d floats.
using SumDirections = void (*)(const Rows& rows, std::int64_t begin, std::int64_t end, float* block, double* sum,
                               BadRows* bad);

// out[(row - begin) * targets + t] = <row / |row|, direction t> for rows [begin, end).
// `packed` holds the directions in panels of kPanel: [panel][d][kPanel], zero-padded.
using CosineRows = void (*)(const Rows& rows, std::int64_t begin, std::int64_t end, const float* packed,
                            std::int64_t targets, float* out, BadRows* bad);

constexpr int kPanel = 16;

// For benchmarks: see peak.hpp.
using Spin = double (*)(std::int64_t rounds);
using ReadThrough = std::uint32_t (*)(const void* data, std::int64_t bytes);

struct Kernels {
  const char* name;
  SumDirections sum_directions[kRowElements];  // by Element
  CosineRows cosine_rows[kRowElements];
  Spin spin_float;
  Spin spin_bfloat;
  ReadThrough read_through;
};

extern const Kernels kBaseline;
#if defined(__x86_64__)
extern const Kernels kAvx2;
extern const Kernels kAvx512;
extern const Kernels kAvx512Bf16;
extern const Kernels kAmx;
#endif

}  // namespace dataprophet::cpu
