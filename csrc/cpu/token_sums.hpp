// From sums over logits to what is told of a target.
#pragma once

#include <cstdint>
#include <limits>

#include "cpu/simd/logit_kernels.hpp"

namespace dataprophet::cpu {

// Results for each row; null where they are not wanted. A row with NaN or plus infinity, or of minus infinities alone,
// has no softmax: it gets NaN.
struct TokenResults {
  float* logprobs = nullptr;
  float* maximum = nullptr;  // for a shard of a vocabulary; these three are wanted together
  float* total = nullptr;
  float* target = nullptr;
};

// Sums of one row.
struct TokenSums {
  double maximum = -std::numeric_limits<double>::infinity(), total = 0.0;
};

// Merges `count` sums, `stride` apart, in their order.
TokenSums merged(const LogitSums& parts, std::int64_t count, std::int64_t stride);

// Writes what is wanted of a row. `target` is the target's logit, minus infinity where it is not among the tokens.
void write_results(const TokenSums& sums, float target, std::int64_t row, const TokenResults& results);

}  // namespace dataprophet::cpu
