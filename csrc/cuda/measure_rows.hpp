// Cosines, lengths and sums by group of rows.
#pragma once

#include "cuda/rows.hpp"

namespace dataprophet::cuda {

// Where results go.
struct RowMeasures {
  float* cosines;            // [n][targets]; NaN for rows without a direction and those left out
  double* lengths;           // [n]; NaN for rows left out, 0 or not finite for rows without a direction
  unsigned long long* sums;  // [count][d], of the directions of the rows of each group, in multiples of 2^-30
};

std::size_t measure_rows_workspace_bytes(std::int64_t n, std::int64_t targets, std::int64_t d);

// groups[n] is in [-1, count), -1 for rows that are left out; order[n] are the numbers of the rows, those of a group
// side by side. directions[targets][d] start at a multiple of 16 bytes; targets may be 0. What is beside a row changes
// none of its bits, nor does the order those of a sum: whole numbers are added, which are signed.
void measure_rows(const Rows& x, const float* directions, std::int64_t targets, const std::int64_t* groups,
                  const std::int64_t* order, std::int64_t count, const RowMeasures& out, void* workspace,
                  Stream stream);

}  // namespace dataprophet::cuda
