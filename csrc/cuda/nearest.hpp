// The best match of each row among other rows.
#pragma once

#include "cuda/rows.hpp"

namespace dataprophet::cuda {

std::size_t nearest_workspace_bytes(std::int64_t n, std::int64_t m, std::int64_t d);

// cosine[n] = the largest cosine of each row of x to a row of y, index[n] = that row, the lowest among equals. Rows are
// compared by products of two fp16 terms for each element (22 bits) around the mean direction of y; the cosine of the
// one chosen is then computed in double precision. Counts the rows that have no direction, for which results are of no
// use. y has fewer than 2^32 rows.
void nearest(const Rows& x, const Rows& y, float* cosine, std::int64_t* index, BadRows* bad_x, BadRows* bad_y,
             void* workspace, Stream stream);

}  // namespace dataprophet::cuda
