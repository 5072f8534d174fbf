// For each row the row of another array whose direction is nearest.
#pragma once

#include <utility>

#include "cpu/simd/kernels.hpp"

namespace dataprophet::cpu {

// Writes the largest cosine of each of n rows to any of m others, in double precision before it is rounded, and the
// index of that one, the lowest among equals. n x m is never stored. The same bits for any number of threads. Returns
// the rows, and the others, that have no direction: nothing is then written.
std::pair<BadRows, BadRows> nearest(const Kernels& kernels, Element element, const Rows& rows, std::int64_t n,
                                    const Rows& others, std::int64_t m, int threads, float* cosine,
                                    std::int64_t* index);

}  // namespace dataprophet::cpu
