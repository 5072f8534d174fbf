// What each instruction set provides for k-means.
#pragma once

#include <cstdint>

#include "cpu/rows.hpp"

namespace dataprophet::cpu {

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

// Centroids as the kernels read them.
struct Centroids {
  const float* values;  // [k][pitch], as z
  const float* halves;  // [k] half their squared norms
  float longest;        // the largest of their norms
  std::int64_t k;
};

// A pass of Lloyd's algorithm over rows [begin, end). Arrays are indexed by row.
struct LloydPass {
  Centroids centroids;
  std::int32_t* labels;  // -1 before the first pass
  float* gaps;           // how much farther at least the second nearest centroid is than the own one
  const float* moves;    // [k] how far each centroid moved since the last pass
  std::int32_t most_moved;
  float second_move;  // of the centroid that moved most but one
  bool assign;        // else labels are kept, and all rows are added
};
// What a pass adds up: sums change by the rows that change their cluster.
struct LloydSums {
  double* sums;          // [k][d] of z, by label
  std::int64_t* counts;  // [k] rows by label
  double squares;        // of the z that were read
};
// Scratch of one thread.
struct LloydScratch {
  float* rows;   // [kBucketRows][pitch]
  float* block;  // [k][pitch], zeros before and after
};
using LloydRows = void (*)(const Rows& rows, std::int64_t begin, std::int64_t end, const Frame& frame,
                           const LloydPass& pass, const LloydScratch& scratch, LloydSums* sums);

// Adds up the squared distances of rows [begin, end) to their centroids, and writes them by row unless `out` is null.
using SpreadRows = void (*)(const Rows& rows, std::int64_t begin, std::int64_t end, const Frame& frame,
                            const Centroids& centroids, const std::int32_t* labels, float* out, double* inertia);

constexpr std::int64_t kBucketRows = 64;

}  // namespace dataprophet::cpu
