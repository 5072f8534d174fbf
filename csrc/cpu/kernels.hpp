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

// Rows as k-means sees them: z = row * scale - shift in fp32, in `pitch` floats of which `depth` are used, zero from
// column d on. The shift is near the mean and the scale a power of two, so that squares stay in range.
struct Frame {
  const float* shift;  // [pitch]
  float scale;
  std::int64_t depth, pitch;
};

// sum[d] += row * scale for rows [begin, end). `block` is scratch of d floats, `largest` takes the bits of the largest
// magnitude.
using SumRows = void (*)(const Rows& rows, std::int64_t begin, std::int64_t end, float scale, float* block, double* sum,
                         std::uint32_t* largest, BadRows* bad);

// out[pitch] = z of one row.
using ReadRow = void (*)(const Rows& rows, std::int64_t index, const Frame& frame, float* out);

constexpr int kCandidates = 4;  // of greedy k-means++

// A pass of greedy k-means++ over rows [begin, end). Arrays are indexed by row. Takes candidate `chosen` of the last
// pass (none before the first: -1) into `closest`, the squared distance to the nearest centre. Then distances[row][] =
// those to the new candidates, and inertia[] += what the inertia would be with each, added in the order of the rows.
struct SeedPass {
  const float* candidates;  // [kCandidates][pitch], as z
  int chosen;
  float* closest;
  float* distances;
};
using SeedRows = void (*)(const Rows& rows, std::int64_t begin, std::int64_t end, const Frame& frame,
                          const SeedPass& pass, double* inertia);

// A pass of Lloyd's algorithm over rows [begin, end).
struct LloydPass {
  const float* centroids;  // [k][pitch], as z
  const float* halves;     // [k] half their squared norms
  float longest;           // the largest of their norms
  std::int64_t k;
  std::int32_t* labels;  // by row; written if `assign`, else read
  float* distances;      // by row: squared distances to the own centroid; null if nobody asks
  bool assign, add, spread;
};
// What a pass adds up.
struct LloydSums {
  double* sums;          // [k][d] of z, by label; if `add`
  std::int64_t* counts;  // [k]; if `assign` or `add`
  double squares;        // of all z
  double inertia;        // if `spread`
};
// Scratch of one thread.
struct LloydScratch {
  float* rows;        // [kBucketRows][pitch]
  float* block;       // [k][pitch], zeros before and after
  std::int32_t* run;  // [k + 1]
};
using LloydRows = void (*)(const Rows& rows, std::int64_t begin, std::int64_t end, const Frame& frame,
                           const LloydPass& pass, const LloydScratch& scratch, LloydSums* sums);

constexpr std::int64_t kBucketRows = 64;

struct Kernels {
  const char* name;
  SumDirections sum_directions[kRowElements];  // by Element
  CosineRows cosine_rows[kRowElements];
  SumRows sum_rows[kRowElements];
  ReadRow read_row[kRowElements];
  SeedRows seed_rows[kRowElements];
  LloydRows lloyd_rows[kRowElements];
};

extern const Kernels kBaseline;
#if defined(__x86_64__)
extern const Kernels kAvx2;
extern const Kernels kAvx512;
extern const Kernels kAvx512Bf16;
extern const Kernels kAmx;
#endif

}  // namespace dataprophet::cpu
