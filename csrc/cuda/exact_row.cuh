// Cosines of a row whose squares leave the range of fp32.
#pragma once

#include "cuda/norm.cuh"

namespace dataprophet::cuda {

// By one warp, in double precision. Counts the row where it has no direction, if it is to; it gets 0.
template <class T>
__device__ void exact_row(const T* row, std::int64_t d, const float* directions, int count, bool counts_bad,
                          std::int64_t index, std::int64_t n, float* out, BadRows* bad) {
  const int lane = threadIdx.x % 32;
  const double squared = warp_sum(lane_squares(row, d, lane, 32));
  const double inverse = exact_inverse(squared, counts_bad && lane == 0, index, n, bad);
  for (int p = 0; p < count; ++p) {
    double dot = 0.0;
    for (std::int64_t j = lane; j < d && inverse > 0.0; j += 32) {
      dot += static_cast<double>(to_float(row[j])) * directions[p * d + j];
    }
    dot = warp_sum(dot);
    if (lane == 0) out[p] = static_cast<float>(dot * inverse);
  }
}

}  // namespace dataprophet::cuda
