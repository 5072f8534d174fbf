// The cosine of each row to a few directions.
#pragma once

#include "cuda/rows.hpp"

namespace dataprophet::cuda {

std::size_t cosine_to_workspace_bytes(std::int64_t targets, std::int64_t d);

// out[n][targets] = <row / |row|, direction>. directions[targets][d] are used as given, and start at a multiple of 16
// bytes. Counts the rows that have no direction; they get 0.
void cosine_to(const Rows& x, const float* directions, std::int64_t targets, float* out, BadRows* bad, void* workspace,
               Stream stream);

}  // namespace dataprophet::cuda
