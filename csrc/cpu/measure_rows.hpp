// Cosines, lengths and sums by group of rows, in one read.
#pragma once

#include "cpu/simd/kernels.hpp"

namespace dataprophet::cpu {

// Where results go.
struct RowMeasures {
  float* cosines;   // [n][targets]; NaN for rows without a direction and those left out
  double* lengths;  // [n]; NaN for rows left out, 0 or not finite for rows without a direction
  double* sums;     // [count][d], of the directions of the rows of each group, their components in multiples of 2^-30
};

// groups[n] is in [-1, count), -1 for rows that are left out. The same bits for any number of threads, and for a row
// whatever is beside it. The sums are exact, for up to 2^32 rows as whole numbers and below 2^23 as doubles.
void measure_rows(const Kernels& kernels, Element element, const Rows& rows, std::int64_t n, const float* directions,
                  std::int64_t targets, const std::int64_t* groups, std::int64_t count, int threads,
                  const RowMeasures& out);

}  // namespace dataprophet::cpu
