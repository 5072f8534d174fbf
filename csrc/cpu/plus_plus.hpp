// Greedy k-means++: first centres for k-means.
#pragma once

#include <vector>

#include "cpu/framed_rows.hpp"

namespace dataprophet::cpu {

// k rows, the first at draws[0] * n. For each of the others kCandidates rows are drawn with probabilities that are
// proportional to the squared distance to the nearest centre, and the one that lowers the inertia most is taken
// (Arthur and Vassilvitskii, 2007, with scikit-learn's greedy choice). With fewer distinct rows than k, the lowest rows
// that are no centres yet follow. draws[1 + kCandidates * (k - 1)] are uniforms in [0, 1).
std::vector<std::int64_t> plus_plus(const FramedRows& points, std::int64_t k, const double* draws);

}  // namespace dataprophet::cpu
