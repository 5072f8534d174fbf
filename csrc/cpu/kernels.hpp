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

// A few directions, as the kernels read them.
struct Directions {
  const float* values;  // [count][pitch], zero from column d on
  // For AMX, else null: parts of 16 directions and 32 columns, [group][step][3][16][32]; see cosine_amx.inl.
  const std::uint16_t* tiles;
  std::int64_t count, pitch;
};

// out[(row - begin) * directions.count + t] = <row / |row|, direction t> for rows [begin, end).
using CosineRows = void (*)(const Rows& rows, std::int64_t begin, std::int64_t end, const Directions& directions,
                            float* out, BadRows* bad);

// For benchmarks: see peak.hpp.
using Spin = double (*)(std::int64_t rounds);
using ReadThrough = std::uint32_t (*)(const void* data, std::int64_t bytes);
// Packs rows * scale - centre (one scale for each row, one centre for all) into panels for Tiles::multiply.
using PackRows = void (*)(const void* const* rows, std::int64_t count, const float* scale, const float* centre,
                          std::int64_t d, void* panels);

// Dot products of all pairs of rows of two packed panels, a tile at a time. The dot product of two rows is the same
// bits wherever they stand, so that of a row with itself is that with its copy.
struct Tiles {
  int left, right;    // rows of a panel on each side; a tile is [left][right]
  int step;           // columns are padded to a multiple of this
  int element_bytes;  // of a packed element
  PackRows pack_left, pack_right;
  void (*multiply)(const void* left_panel, const void* right_panel, std::int64_t d, float* dots);
  void (*begin)();  // before and after the products of a thread
  void (*end)();

  std::int64_t row_bytes(std::int64_t d) const {  // at least one step, so that rows of no columns take room too
    return (d + step - (d > 0)) / step * step * element_bytes;
  }
};

// Distances of a tile, sqrt(max(0, left_norm + right_norm - 2 dot)), summed along rows and columns.
struct DistanceTile {
  const float* dots;
  int rows, columns;         // rows that are there; columns of the tile, of which absent ones have the weight 0
  const float* left_norms;   // squared
  const float* right_norms;  // squared
  const float* weights;
  std::int64_t ahead;  // only pairs with row < column + ahead count, unless it is kAll
  float* row_sums;     // [rows][lanes], added to: sums of every lanes-th column
  float* column_sums;  // [columns], added to
};
constexpr std::int64_t kAll = INT64_MAX;

// Pairs of a tile whose dot + right_term + left_length * right_slack exceeds the left row's `least`.
struct ScreenTile {
  const float* dots;
  int rows, columns;
  const float* left_lengths;
  const float* least;
  const float* right_slack;
  const float* right_terms;
};
struct Candidate {
  int row, column;
  float bound;
};

// Points that rows are compared with, each as a sum of two floats.
struct Centres {
  const float* high;  // [count][d]
  const float* low;
  std::int64_t count, d;
};

// out[row] = sum of squares, in double precision: not finite where the row is not.
using SquaredNorms = void (*)(const void* const* rows, std::int64_t count, std::int64_t d, double* out);
// sum[d] += the rows, each times its scale.
using AddRows = void (*)(const void* const* rows, std::int64_t count, const float* scale, std::int64_t d, double* sum);
// out[row][centre] = |row * scale - centre| squared. `buffer` is scratch of d floats.
using SquaredDistances = void (*)(const void* const* rows, std::int64_t count, const float* scale,
                                  const Centres& centres, float* buffer, double* out);
// |a - b| squared of two rows, each times `scale`, in double precision.
using SquaredDistance = double (*)(const void* a, const void* b, float scale, std::int64_t d);
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

struct Kernels {
  const char* name;
  SumDirections sum_directions[kRowElements];  // by Element
  CosineRows cosine_rows[kRowElements];
  bool amx;  // whether cosine_rows of bfloat16 takes tiles
  Spin spin_float;
  Spin spin_bfloat;
  ReadThrough read_through;
  Tiles tiles[kRowElements];          // the fastest
  Tiles shallow_tiles[kRowElements];  // of floats: for few columns, where products cost little
  Tiles screen_tiles[kRowElements];   // rough: for a first look
  int lanes;
  void (*distance_tile)(const DistanceTile& tile);
  int (*screen_tile)(const ScreenTile& tile, Candidate* candidates);  // row by row; returns how many there are
  double (*cosine[kRowElements])(const void* a, const void* b, std::int64_t d);
  SquaredNorms squared_norms[kRowElements];
  AddRows add_rows[kRowElements];
  SquaredDistances squared_distances[kRowElements];
  SquaredDistance squared_distance[kRowElements];
  SumRows sum_rows[kRowElements];
  ReadRow read_row[kRowElements];
  SeedRows seed_rows[kRowElements];
  LloydRows lloyd_rows[kRowElements];
  SpreadRows spread_rows[kRowElements];
};

// The tiles for rows of d columns. Below 128 bfloat16 would round off much, and save nothing.
inline const Tiles& tiles_of(const Kernels& kernels, Element element, std::int64_t d) {
  return (d < 128 ? kernels.shallow_tiles : kernels.tiles)[static_cast<int>(element)];
}

extern const Kernels kBaseline;
#if defined(__x86_64__)
extern const Kernels kAvx2;
extern const Kernels kAvx512;
extern const Kernels kAvx512Bf16;
extern const Kernels kAmx;
#endif

}  // namespace dataprophet::cpu
