// What each instruction set provides for products of all pairs of rows.
#pragma once

#include <cstdint>

namespace dataprophet::cpu {

// Packs rows * scale - centre (one scale for each row, one centre for all) into panels for Tiles::multiply.
using PackRows = void (*)(const void* const* rows, std::int64_t count, const float* scale, const float* centre,
                          std::int64_t d, void* panels);

// What comes next: tiles of floats fetch a cache line of it with each column, `step` bytes on each time.
struct Ahead {
  const char* at;
  std::int64_t step;
};

// Dot products of all pairs of rows of two packed panels, a tile at a time. The dot product of two rows is the same
// bits wherever they stand, so that of a row with itself is that with its copy.
struct Tiles {
  int left, right;    // rows of a panel on each side; a tile is [left][right]
  int step;           // columns are padded to a multiple of this
  int element_bytes;  // of a packed element
  int row_extra;      // bytes of a packed row beside them
  PackRows pack_left, pack_right;
  void (*multiply)(const void* left_panel, const void* right_panel, std::int64_t d, float* dots, Ahead ahead);
  void (*begin)();  // before and after the products of a thread
  void (*end)();

  std::int64_t row_bytes(std::int64_t d) const {  // at least one step, so that rows of no columns take room too
    return (d + step - (d > 0)) / step * step * element_bytes + row_extra;
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
using AddDistances = void (*)(const DistanceTile& tile);

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
  int row, column;  // of the tile
  float bound;
};
// Writes them row by row, and returns how many there are.
using Screen = int (*)(const ScreenTile& tile, Candidate* candidates);
// Squared norms of what packing rows * scale - centre takes off.
using RoundedOff = void (*)(const void* const* rows, std::int64_t count, const float* scale, const float* centre,
                            std::int64_t d, double* squared);

// Tiles for a first look at all pairs.
struct RoughTiles {
  Tiles tiles;
  RoundedOff rounded_off;  // null where packing keeps floats
  double most_taken_off;   // as shares of both rows, times the root of their columns, for these tiles to pay
};
constexpr std::int64_t kMostByteColumns = 1 << 16;  // times 255 * 127, the largest product, is less than 2^31

}  // namespace dataprophet::cpu
