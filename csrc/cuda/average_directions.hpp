// Averages of the directions of several fields of a row.
#pragma once

#include "cuda/rows.hpp"
#include "cuda/weights.hpp"

namespace dataprophet::cuda {

constexpr int kMostFields = 4;

// out[m][d] = the sum of element * weight over the fields of row chosen[i], l2-normalised and rounded to float16; 0
// where it has no direction. norms[m] is the length of the sum. weights[fields][m] are 1 / norm in two factors, and 0
// where a row lacks the field: what lies there may be anything. All fields have as many columns.
void average_directions(const Rows* fields, int count, const std::int64_t* chosen, std::int64_t m,
                        const RowWeight* weights, std::uint16_t* out, float* norms, Stream stream);

}  // namespace dataprophet::cuda
