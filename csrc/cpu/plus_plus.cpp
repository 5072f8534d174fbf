#include "cpu/plus_plus.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace dataprophet::cpu {
namespace {

using Inertias = std::array<double, kCandidates>;

std::size_t size(std::int64_t count) { return static_cast<std::size_t>(count); }

// Squared distances to the nearest centre, and to the candidates that were looked at last.
struct Distances {
  std::vector<float> closest, candidates;
  std::vector<Inertias> inertia;  // by chunk, with each of the candidates
  int chosen = -1;

  double inertia_of(std::int64_t chunk) const { return inertia[size(chunk)][size(chosen)]; }
  double to_nearest(std::int64_t row) const {
    return std::min(closest[size(row)], candidates[size(row * kCandidates + chosen)]);
  }
};

// The row at which the running sum of distances passes `target`. Sums are added in the order in which the pass over a
// chunk added them, so that the row is in the chunk that the sums of chunks say.
std::int64_t row_at(const FramedRows& points, const Distances& distances, double target) {
  double before = 0.0;
  std::int64_t chunk = 0, last = 0;
  for (; chunk < points.chunks.count; ++chunk) {
    const double inside = distances.inertia_of(chunk);
    if (inside > 0.0) last = chunk;
    if (before + inside > target) break;
    before += inside;
  }
  if (chunk == points.chunks.count) chunk = last;  // a draw so near to 1 that it rounds to the whole sum
  double sum = 0.0;
  std::int64_t row = points.chunks.begin(chunk);
  for (std::int64_t r = row; r < points.chunks.end(chunk); ++r) {
    const double distance = distances.to_nearest(r);
    if (distance > 0.0) row = r;
    sum += distance;
    if (before + sum > target) break;
  }
  return row;
}

}  // namespace

std::vector<std::int64_t> plus_plus(const FramedRows& points, std::int64_t k, const double* draws) {
  // Around zero rather than the mean: differences of rows round less than differences of rows less their mean.
  const Aligned<float> zero = zeros<float>(points.frame.pitch);
  Frame frame = points.frame;
  frame.shift = zero.get();
  const Aligned<float> candidates = zeros<float>(kCandidates * frame.pitch);
  Distances distances;
  distances.closest.assign(size(points.n), std::numeric_limits<float>::infinity());
  distances.candidates.assign(size(points.n * kCandidates), 0.0f);
  distances.inertia.resize(size(points.chunks.count));

  std::vector<std::int64_t> chosen;
  std::array<std::int64_t, kCandidates> rows;
  rows.fill(std::min(points.n - 1, static_cast<std::int64_t>(draws[0] * static_cast<double>(points.n))));
  for (;;) {
    for (std::int64_t q = 0; q < kCandidates; ++q) {
      points.kernels.read_row[points.type()](points.rows, rows[size(q)], frame, candidates.get() + q * frame.pitch);
    }
    const SeedPass pass{candidates.get(), distances.chosen, distances.closest.data(), distances.candidates.data()};
    parallel_for(points.chunks.count, points.threads, [&](std::int64_t chunk) {
      Inertias& inertia = distances.inertia[size(chunk)];
      inertia.fill(0.0);
      points.kernels.seed_rows[points.type()](points.rows, points.chunks.begin(chunk), points.chunks.end(chunk), frame,
                                              pass, inertia.data());
    });
    Inertias total{};
    for (const Inertias& part : distances.inertia) {
      for (std::size_t q = 0; q < kCandidates; ++q) total[q] += part[q];
    }
    distances.chosen = static_cast<int>(std::min_element(total.begin(), total.end()) - total.begin());
    chosen.push_back(rows[size(distances.chosen)]);
    if (static_cast<std::int64_t>(chosen.size()) == k) return chosen;

    const double inertia = total[size(distances.chosen)];
    if (inertia > 0.0) {
      const double* uniform = draws + 1 + kCandidates * (static_cast<std::int64_t>(chosen.size()) - 1);
      for (std::size_t q = 0; q < kCandidates; ++q) rows[q] = row_at(points, distances, uniform[q] * inertia);
    } else {
      std::vector<std::int64_t> taken = chosen;
      std::sort(taken.begin(), taken.end());
      std::int64_t free = 0;
      for (const std::int64_t row : taken) free += row == free;
      rows.fill(free);
    }
  }
}

}  // namespace dataprophet::cpu
