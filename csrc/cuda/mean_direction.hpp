// The mean direction of an array: the mean of its l2-normalised rows.
#pragma once

#include "cuda/rows.hpp"

namespace dataprophet::cuda {

std::size_t mean_direction_workspace_bytes(std::int64_t n, std::int64_t d);

// Writes the mean of rows / |rows| to out[d], and counts the rows that have no direction; where there are any, out is
// of no use.
void mean_direction(const Rows& x, double* out, BadRows* bad, void* workspace, Stream stream);

}  // namespace dataprophet::cuda
