// The cosine of each row to a few directions.
#pragma once

#include "cpu/simd/kernels.hpp"

namespace dataprophet::cpu {

// out[n][targets] = <row / |row|, direction>. directions[targets][d] are used as given. Returns the rows that have no
// direction; they get 0. The same bits for any number of threads.
BadRows cosine_to(const Kernels& kernels, Element element, const Rows& rows, std::int64_t n, const float* directions,
                  std::int64_t targets, int threads, float* out);

}  // namespace dataprophet::cpu
