// What each instruction set provides for directions.
#pragma once

#include <cstdint>

#include "cpu/rows.hpp"

namespace dataprophet::cpu {

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

// The same for any rows beside it, and lengths[row - begin] = |row|: 0 for rows of zeros, not finite for others that
// have no direction. Their cosines mean nothing. No element of a row exceeds its largest[row - begin], up to rounding,
// which means nothing for rows whose lengths fp32 cannot hold.
using MeasureRows = void (*)(const Rows& rows, std::int64_t begin, std::int64_t end, const Directions& directions,
                             float* out, double* lengths, float* largest);
// sum[d] += the rows, each times its scale and rounded to whole numbers, which add up to less than 2^31.
using AddWhole = void (*)(const void* const* rows, std::int64_t count, const float* scale, std::int64_t d,
                          std::int64_t* sum);
// The same of a row that fp32 cannot scale.
using AddWholeExact = void (*)(const void* row, double scale, std::int64_t d, std::int64_t* sum);

// total[d] += the row times its scale.
using AddScaled = void (*)(const void* row, float scale, std::int64_t d, float* total);
// out[d] = total / |total| in float16, or 0 where that has no direction. Returns |total|.
using UnitHalves = float (*)(const float* total, std::int64_t d, std::uint16_t* out);

}  // namespace dataprophet::cpu
