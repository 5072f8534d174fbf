#include "cpu/cluster_means.hpp"

#include "cpu/parallel.hpp"

namespace dataprophet::cpu {
namespace {

constexpr std::int64_t kPieceRows = 4096;
constexpr std::int64_t kRowsAtOnce = 64;

// Positions [begin, end) of a cluster: a job of work whose size does not depend on the number of threads.
struct Piece {
  std::int64_t cluster, begin, end;
};

std::vector<Piece> pieces_of(const Clusters& clusters) {
  std::vector<Piece> pieces;
  for (std::int64_t c = 0; c < clusters.count(); ++c) {
    const std::int64_t stop = clusters.begin[static_cast<std::size_t>(c + 1)];
    for (std::int64_t p = clusters.begin[static_cast<std::size_t>(c)]; p < stop; p += kPieceRows) {
      pieces.push_back({c, p, std::min(p + kPieceRows, stop)});
    }
  }
  return pieces;
}

}  // namespace

std::vector<double> cluster_means(const Kernels& kernels, const Points& points, const Clusters& clusters, int threads) {
  const auto d = static_cast<std::size_t>(points.d());
  const std::vector<Piece> pieces = pieces_of(clusters);
  std::vector<double> means(static_cast<std::size_t>(clusters.count()) * d);
  std::vector<std::vector<double>> later(pieces.size());  // of pieces that are not the first of their cluster
  const AddRows add_rows = kernels.add_rows[static_cast<int>(points.element())];
  const auto is_first = [&](const Piece& piece) {
    return piece.begin == clusters.begin[static_cast<std::size_t>(piece.cluster)];
  };
  parallel_for(static_cast<std::int64_t>(pieces.size()), threads, [&](std::int64_t index) {
    const Piece& piece = pieces[static_cast<std::size_t>(index)];
    double* sum = means.data() + static_cast<std::size_t>(piece.cluster) * d;
    if (!is_first(piece)) {
      later[static_cast<std::size_t>(index)].resize(d);
      sum = later[static_cast<std::size_t>(index)].data();
    }
    const void* rows[kRowsAtOnce];
    float scale[kRowsAtOnce];
    for (std::int64_t p = piece.begin; p < piece.end; p += kRowsAtOnce) {
      const std::int64_t count = std::min(kRowsAtOnce, piece.end - p);
      points.gather(clusters.order.data() + p, count, rows, scale);
      add_rows(rows, count, scale, points.d(), sum);
    }
  });
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (is_first(pieces[i])) continue;
    double* sum = means.data() + static_cast<std::size_t>(pieces[i].cluster) * d;
    for (std::size_t j = 0; j < d; ++j) sum[j] += later[i][j];
  }
  for (std::int64_t c = 0; c < clusters.count(); ++c) {
    double* mean = means.data() + static_cast<std::size_t>(c) * d;
    for (std::size_t j = 0; j < d; ++j) mean[j] /= static_cast<double>(clusters.size(c));
  }
  return means;
}

std::vector<double> squared_distance_sums(const Kernels& kernels, const Points& points, const Clusters& clusters,
                                          const std::vector<std::int64_t>* left, int threads) {
  const auto k = static_cast<std::size_t>(clusters.count());
  const auto d = static_cast<std::size_t>(points.d());
  std::vector<float> high(k * d), low(k * d);
  {
    const std::vector<double> means = cluster_means(kernels, points, clusters, threads);
    for (std::size_t j = 0; j < means.size(); ++j) {
      high[j] = static_cast<float>(means[j]);
      low[j] = static_cast<float>(means[j] - static_cast<double>(high[j]));
    }
  }
  const SquaredDistances squared_distances = kernels.squared_distances[static_cast<int>(points.element())];

  const std::vector<Piece> pieces = pieces_of(clusters);
  std::vector<double> spread_of_piece(pieces.size());
  parallel_for(static_cast<std::int64_t>(pieces.size()), threads,
               [&, buffer = std::vector<float>()](std::int64_t index) mutable {
                 const Piece& piece = pieces[static_cast<std::size_t>(index)];
                 const auto c = static_cast<std::size_t>(piece.cluster);
                 const Centres own{high.data() + c * d, low.data() + c * d, 1, points.d()};
                 buffer.resize(d);
                 const void* rows[kRowsAtOnce];
                 float scale[kRowsAtOnce];
                 double squared[kRowsAtOnce];
                 for (std::int64_t p = piece.begin; p < piece.end; p += kRowsAtOnce) {
                   const std::int64_t count = std::min(kRowsAtOnce, piece.end - p);
                   points.gather(clusters.order.data() + p, count, rows, scale);
                   squared_distances(rows, count, scale, own, buffer.data(), squared);
                   for (std::int64_t i = 0; i < count; ++i)
                     spread_of_piece[static_cast<std::size_t>(index)] += squared[i];
                 }
               });
  std::vector<double> spread(k);
  for (std::size_t i = 0; i < pieces.size(); ++i)
    spread[static_cast<std::size_t>(pieces[i].cluster)] += spread_of_piece[i];

  const std::int64_t count = left ? static_cast<std::int64_t>(left->size()) : clusters.n();
  std::vector<double> sums(static_cast<std::size_t>(count) * k);
  const Centres all{high.data(), low.data(), clusters.count(), points.d()};
  const std::int64_t jobs = (count + kRowsAtOnce - 1) / kRowsAtOnce;
  parallel_for(jobs, threads, [&, buffer = std::vector<float>()](std::int64_t job) mutable {
    const std::int64_t first = job * kRowsAtOnce, some = std::min(kRowsAtOnce, count - first);
    std::int64_t indices[kRowsAtOnce];
    const void* rows[kRowsAtOnce];
    float scale[kRowsAtOnce];
    for (std::int64_t i = 0; i < some; ++i) {
      const std::int64_t position = left ? (*left)[static_cast<std::size_t>(first + i)] : first + i;
      indices[i] = clusters.order[static_cast<std::size_t>(position)];
    }
    points.gather(indices, some, rows, scale);
    buffer.resize(d);
    double* out = sums.data() + static_cast<std::size_t>(first) * k;
    squared_distances(rows, some, scale, all, buffer.data(), out);
    for (std::int64_t i = 0; i < some; ++i, out += k) {
      for (std::size_t c = 0; c < k; ++c) {
        out[c] = static_cast<double>(clusters.size(static_cast<std::int64_t>(c))) * out[c] + spread[c];
      }
    }
  });
  return sums;
}

}  // namespace dataprophet::cpu
