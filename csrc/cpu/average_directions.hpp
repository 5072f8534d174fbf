// Average of the directions of several fields of a row, normalised again: what the sketch keeps of a sample.
#pragma once

#include <vector>

#include "cpu/simd/kernels.hpp"

namespace dataprophet::cpu {

// The rows of a field, each to be multiplied by its scale: 1 / its length, or 0 where it is left out.
struct ScaledRows {
  Element element;
  Rows rows;
  const float* scale;  // [m]
};

// out[i] = s / |s| in float16, where s is the sum over fields of row chosen[i] times its scale; norms[i] = |s|, and
// out[i] is 0 where that is 0. The same bits for any number of threads, and for a row whatever is beside it.
void average_directions(const Kernels& kernels, const std::vector<ScaledRows>& fields, const std::int64_t* chosen,
                        std::int64_t m, std::int64_t d, int threads, std::uint16_t* out, float* norms);

}  // namespace dataprophet::cpu
