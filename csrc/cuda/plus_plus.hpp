// First centroids of k-means by greedy k-means++.
#pragma once

#include "cuda/rows.hpp"
#include "cuda/weights.hpp"

namespace dataprophet::cuda {

constexpr int kCandidates = 4;

struct PlusPlus {
  float* reduced;      // [n][kCandidates] squared distances to the nearest centre, with each candidate taken for one
  double* chunk_sums;  // [chunks][kCandidates] their sums
  float* vectors;      // [kCandidates][d] the candidates
  std::int64_t *candidates, *chosen;
  int* best;
  PlusPlus() = default;
  PlusPlus(Workspace* space, std::int64_t n, std::int64_t d, std::int64_t k);
};

// centres[k][d], as element * weight - shift. draws[1 + kCandidates (k - 1)] in [0, 1): the first chooses a row, and
// each next four the candidates by squared distance, of which the one that leaves the least is kept.
void plus_plus(const Rows& x, const RowWeight* weights, const float* shift, const double* draws, std::int64_t k,
               const PlusPlus& scratch, float* centres, Stream stream);

}  // namespace dataprophet::cuda
