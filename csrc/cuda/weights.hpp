// One factor for each row, by which an operation reads it: 1 / norm, or one power of two for the whole array.
#pragma once

#include "cuda/rows.hpp"

namespace dataprophet::cuda {

// element * first * second. Two factors, since the inverse of a denormal norm is beyond float32.
struct RowWeight {
  float first, second;
};

// weights[n] = 1 / norm; 0 for rows without a direction, which are added to `bad`.
void inverse_norms(const Rows& x, RowWeight* weights, BadRows* bad, Stream stream);

// weights[n] = the power of two that brings the largest absolute element of x to [2^13, 2^14), the same for all rows:
// then differences are below 2^15 and fit fp16, and sums of their squares fit fp32. Rows with NaN or infinity are added
// to `bad`. `largest` is one number of scratch.
void common_weights(const Rows& x, RowWeight* weights, unsigned* largest, BadRows* bad, Stream stream);

constexpr int kCommonExponent = 14;

}  // namespace dataprophet::cuda
