// The mean direction of an array: the mean of its l2-normalised rows.
#pragma once

#include "cpu/simd/kernels.hpp"

namespace dataprophet::cpu {

// Writes the mean of rows / |rows| over n rows to out[d] and returns the rows that have no direction; where there are
// any, out is the mean of the others. The same bits for any number of threads.
BadRows mean_direction(const Kernels& kernels, Element element, const Rows& rows, std::int64_t n, int threads,
                       double* out);

// Adds the counts of a later chunk.
void merge(BadRows* total, const BadRows& later);

}  // namespace dataprophet::cpu
