// What each instruction set provides for single rows: norms, sums, and distances to a few points.
#pragma once

#include <cstdint>

namespace dataprophet::cpu {

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
// Cosine of two rows, in double precision.
using Cosine = double (*)(const void* a, const void* b, std::int64_t d);

}  // namespace dataprophet::cpu
