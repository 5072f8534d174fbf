// The cosine of each row to a few directions.
#pragma once

#include "cuda/rows.hpp"

namespace dataprophet::cuda {

// out[n][targets] = <row / |row|, direction>. directions[targets][d] are used as given, and start at a multiple of 16
// bytes. Counts the rows that have no direction; they get 0.
void cosine_to(const Rows& x, const float* directions, std::int64_t targets, float* out, BadRows* bad, Stream stream);

}  // namespace dataprophet::cuda
