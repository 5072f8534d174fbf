#include "cpu/nearest.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <vector>

#include "cpu/buffer.hpp"
#include "cpu/mean_direction.hpp"
#include "cpu/parallel.hpp"
#include "cpu/points.hpp"

namespace dataprophet::cpu {
namespace {

constexpr std::int64_t kSlabBytes = 64 << 20;  // of packed others
constexpr std::int64_t kLeftRows = 448;        // of a job: whole tiles but on AVX2
constexpr std::int64_t kOthersOfJob = 16 * 1024;
constexpr std::int64_t kCandidates = 16384;  // that wait to be computed

// Directions p and q around a common centre c: the cosine is 1 - |p - q|^2 / 2 = 1 - |p|^2 / 2 + (pq - |q|^2 / 2). The
// product pq comes from tiles of bytes, bfloat16 or fp32. Where these hold p + e and q + f, it is off by at most
// |e| |q| + |p + e| |f|, a share of |p| |q| for its sums in fp32, and a little for what the directions and the terms
// are rounded by; half of |p|^2 and of |q|^2 by that share of them. Only pairs that may beat the best cosine so far are
// computed again, in double precision; what is found depends on no rounding of the tiles.
constexpr float kSlack = 8e-6f;

constexpr std::int64_t kLeastByteColumns = 128;  // below, padding costs what bytes save

// The smallest float that is no less.
float above(double value) { return std::nextafter(static_cast<float>(value), std::numeric_limits<float>::infinity()); }

struct Best {
  double cosine = -2.0;  // less than any
  std::int64_t index = -1;

  bool beaten_by(double other, std::int64_t at) const { return other > cosine || (other == cosine && at < index); }
};

// Rows of one side of the tiles, packed, and their lengths around the centre.
struct Packed {
  Buffer panels;
  std::vector<const void*> rows;
  std::vector<float> scale;
  std::vector<double> squared, rounded_off;  // and the squared lengths of what packing takes off

  void reserve(std::int64_t count, std::int64_t row_bytes) {
    panels.reserve(count * row_bytes + kPackOverrun);
    resize(count);
  }

  void resize(std::int64_t count) {
    rows.resize(static_cast<std::size_t>(count));
    scale.resize(static_cast<std::size_t>(count));
    squared.resize(static_cast<std::size_t>(count));
    rounded_off.resize(static_cast<std::size_t>(count));
  }
};

struct Scratch {
  Packed left;
  Buffer tile;
  std::vector<float> lengths, slack;  // see find_slack
};

class Nearest {
 public:
  Nearest(const Kernels& kernels, const Points& points, const Points& others, const std::vector<float>& centre)
      : kernels_(kernels),
        points_(points),
        others_(others),
        centre_(centre),
        origin_(centre.size()),
        d_(points.d()),
        rough_(choose()),
        tiles_(rough_.tiles),
        row_bytes_(tiles_.row_bytes(d_)),
        sums_share_(static_cast<double>(d_ + 20) * 0x1p-24),
        best_(static_cast<std::size_t>(points.n())),
        locks_(new std::mutex[static_cast<std::size_t>(left_blocks())]) {}

  const std::vector<Best>& run(int threads) {
    const std::int64_t slab = std::max<std::int64_t>(kSlabBytes / row_bytes_ / kOthersOfJob, 1) * kOthersOfJob;
    for (std::int64_t begin = 0; begin < others_.n(); begin += slab) {
      const std::int64_t count = std::min(slab, others_.n() - begin);
      pack_slab(begin, count, threads);
      const std::int64_t parts = (count + kOthersOfJob - 1) / kOthersOfJob;
      parallel_for(parts * left_blocks(), threads, [&, scratch = Scratch()](std::int64_t job) mutable {
        const std::int64_t first = job / left_blocks() * kOthersOfJob;
        work(job % left_blocks(), begin, first, std::min(first + kOthersOfJob, count), &scratch);
      });
    }
    return best_;
  }

 private:
  std::int64_t left_blocks() const { return (points_.n() + kLeftRows - 1) / kLeftRows; }

  // Bytes multiply fastest. Where they take much off, as from rows with a few large elements, too many pairs have to be
  // computed again: among rows drawn at random, cosines spread by one over the root of the columns.
  const RoughTiles& choose() const {
    const auto element = static_cast<int>(points_.element());
    const RoughTiles &rough = kernels_.rough_tiles[element], &bytes = kernels_.byte_tiles[element];
    if (!bytes.tiles.multiply || d_ < kLeastByteColumns || d_ > kMostByteColumns) return rough;
    const double share = share_of_sample(points_, bytes) + share_of_sample(others_, bytes);
    return share * std::sqrt(static_cast<double>(d_)) < bytes.most_taken_off ? bytes : rough;
  }

  // The mean share of a row's length that packing takes off.
  double share_of_sample(const Points& points, const RoughTiles& rough) const {
    const std::int64_t count = std::min<std::int64_t>(points.n(), 64);
    std::vector<std::int64_t> indices;
    for (std::int64_t i = 0; i < count; ++i) indices.push_back(i * points.n() / count);
    Packed sample;
    sample.resize(count);
    measure(points, rough.rounded_off, indices.data(), count, 0, &sample);
    double total = 0.0;
    for (std::size_t i = 0; i < indices.size(); ++i) {
      if (sample.squared[i] > 0.0) total += std::sqrt(sample.rounded_off[i] / sample.squared[i]);
    }
    return total / static_cast<double>(std::max<std::int64_t>(count, 1));
  }

  // Writes at place `at` where rows lie, their scales and lengths, and what packing takes off.
  void measure(const Points& points, RoundedOff rounded_off, const std::int64_t* indices, std::int64_t count,
               std::int64_t at, Packed* out) const {
    std::vector<float> buffer(static_cast<std::size_t>(d_));
    const Centres centre{centre_.data(), origin_.data(), 1, d_};
    const void** rows = out->rows.data() + at;
    float* scale = out->scale.data() + at;
    points.gather(indices, count, rows, scale);
    kernels_.squared_distances[static_cast<int>(points.element())](rows, count, scale, centre, buffer.data(),
                                                                   out->squared.data() + at);
    if (rounded_off) rounded_off(rows, count, scale, centre_.data(), d_, out->rounded_off.data() + at);
  }

  // Packs rows [begin, begin + count) of one side at place `at`.
  void pack(const Points& points, PackRows pack_rows, std::int64_t begin, std::int64_t count, std::int64_t at,
            Packed* out) const {
    constexpr std::int64_t kRowsAtOnce = 64;
    std::int64_t indices[kRowsAtOnce];
    for (std::int64_t first = 0; first < count; first += kRowsAtOnce) {
      const std::int64_t some = std::min(kRowsAtOnce, count - first);
      for (std::int64_t i = 0; i < some; ++i) indices[i] = begin + first + i;
      measure(points, rough_.rounded_off, indices, some, at + first, out);
    }
    pack_rows(out->rows.data() + at, count, out->scale.data() + at, centre_.data(), d_,
              static_cast<char*>(out->panels.get()) + at * row_bytes_);
  }

  void pack_slab(std::int64_t begin, std::int64_t count, int threads) {
    const std::int64_t width = padded(count, tiles_.right);
    right_.reserve(width, row_bytes_);
    right_terms_.assign(static_cast<std::size_t>(width), -std::numeric_limits<float>::infinity());  // beats nothing
    const std::int64_t rows_of_job = 32 * tiles_.right;
    parallel_for((count + rows_of_job - 1) / rows_of_job, threads, [&](std::int64_t job) {
      const std::int64_t at = job * rows_of_job, some = std::min(rows_of_job, count - at);
      pack(others_, tiles_.pack_right, begin + at, some, at, &right_);
      for (std::int64_t j = at; j < at + some; ++j) {
        right_terms_[static_cast<std::size_t>(j)] =
            static_cast<float>(-0.5 * (1.0 - sums_share_) * right_.squared[static_cast<std::size_t>(j)]) + kSlack;
      }
    });
  }

  // The length of what packing takes off a row; that and the row's own are sums in fp32.
  double rounded_off(const Packed& packed, std::int64_t at) const {
    return std::sqrt(packed.rounded_off[static_cast<std::size_t>(at)]) * (1.0 + sums_share_);
  }

  // By how much products of the packed rows with others [first, stop) of the slab may be off: a length of each row,
  // times the slack of the other. Packing takes about the same share off most rows; those that lose more count as
  // longer.
  void find_slack(const Packed& left, std::int64_t rows, std::int64_t first, std::int64_t stop,
                  Scratch* scratch) const {
    std::vector<double> shares;
    double usual = 0.0;
    for (std::int64_t i = 0; i < rows; ++i) {
      const double squared = left.squared[static_cast<std::size_t>(i)];
      shares.push_back(squared > 0.0 ? (1.0 + sums_share_) * rounded_off(left, i) / std::sqrt(squared) : 0.0);
      usual += shares.back() / static_cast<double>(rows);
    }
    scratch->lengths.clear();
    for (std::int64_t i = 0; i < rows; ++i) {
      const double share = shares[static_cast<std::size_t>(i)];
      const double more = share > usual ? std::max(share / usual, (1.0 + share) / (1.0 + usual)) : 1.0;
      scratch->lengths.push_back(above(more * std::sqrt(left.squared[static_cast<std::size_t>(i)])));
    }
    scratch->slack.assign(static_cast<std::size_t>(padded(stop - first, tiles_.right)), 0.0f);
    for (std::int64_t j = first; j < stop; ++j) {
      const double length = std::sqrt(right_.squared[static_cast<std::size_t>(j)]), off = rounded_off(right_, j);
      scratch->slack[static_cast<std::size_t>(j - first)] =
          above(usual * length + (1.0 + usual) * (off + sums_share_ * (length + off)));
    }
  }

  // What the bound of a pair must exceed to beat the best.
  float least_of(const Best& best, const Packed& left, std::int64_t i) const {
    return static_cast<float>(best.cosine - 1.0 +
                              0.5 * (1.0 - sums_share_) * left.squared[static_cast<std::size_t>(i)]);
  }

  // Computes the candidates that may be the best of their rows. The one with the highest bound of each row comes first:
  // few of the others may beat it then.
  void decide(const Candidate* candidates, std::int64_t count, const Packed& left, std::int64_t begin, Best* best,
              float* least) const {
    const auto cosine = kernels_.cosine[static_cast<int>(points_.element())];
    const auto compute = [&](const Candidate& candidate) {
      const std::int64_t i = candidate.row, other = begin + candidate.column;
      const double found =
          cosine(left.rows[static_cast<std::size_t>(i)], right_.rows[static_cast<std::size_t>(candidate.column)], d_);
      if (!best[i].beaten_by(found, other)) return;
      best[i] = {found, other};
      least[i] = std::max(least[i], least_of(best[i], left, i));
    };
    std::int64_t highest[kLeftRows];
    std::fill_n(highest, kLeftRows, std::int64_t{-1});
    for (std::int64_t c = 0; c < count; ++c) {
      std::int64_t& known = highest[candidates[c].row];
      if (known < 0 || candidates[c].bound > candidates[known].bound) known = c;
    }
    for (const std::int64_t c : highest) {
      if (c >= 0 && candidates[c].bound > least[candidates[c].row]) compute(candidates[c]);
    }
    for (std::int64_t c = 0; c < count; ++c) {
      const std::int64_t i = candidates[c].row;
      if (candidates[c].bound > least[i] && c != highest[i]) compute(candidates[c]);
    }
  }

  // A block of rows against others [first, stop) of the slab that begins at `begin`.
  void work(std::int64_t block, std::int64_t begin, std::int64_t first, std::int64_t stop, Scratch* scratch) {
    const std::int64_t row = block * kLeftRows, rows = std::min(kLeftRows, points_.n() - row);
    Packed* left = &scratch->left;
    left->reserve(padded(rows, tiles_.left), row_bytes_);
    pack(points_, tiles_.pack_left, row, rows, 0, left);
    find_slack(*left, rows, first, stop, scratch);
    const float* lengths = scratch->lengths.data();
    Best best[kLeftRows];
    float least[kLeftRows];
    {
      const std::lock_guard<std::mutex> lock(locks_[static_cast<std::size_t>(block)]);
      std::copy_n(best_.begin() + row, rows, best);
    }
    for (std::int64_t i = 0; i < rows; ++i) {
      least[i] = least_of(best[i], *left, i);
    }
    const std::int64_t tile_size = tiles_.left * tiles_.right, most = kCandidates + tile_size;
    auto* dots =
        static_cast<float*>(scratch->tile.reserve(tile_size * 4 + most * static_cast<std::int64_t>(sizeof(Candidate))));
    auto* candidates = reinterpret_cast<Candidate*>(dots + tile_size);
    const auto* left_panels = static_cast<const char*>(left->panels.get());
    const auto* right_panels = static_cast<const char*>(right_.panels.get());
    std::int64_t waiting = 0;
    tiles_.begin();
    for (std::int64_t j = first; j < stop; j += tiles_.right) {
      const float* slack = scratch->slack.data() + (j - first);
      for (std::int64_t i = 0; i < rows; i += tiles_.left) {
        tiles_.multiply(left_panels + i * row_bytes_, right_panels + j * row_bytes_, d_, dots, {left_panels, 0});
        const ScreenTile tile{dots,
                              static_cast<int>(std::min<std::int64_t>(tiles_.left, rows - i)),
                              tiles_.right,
                              lengths + i,
                              least + i,
                              slack,
                              right_terms_.data() + j};
        Candidate* found = candidates + waiting;
        const int count = kernels_.screen_tile(tile, found);
        for (int c = 0; c < count; ++c) {
          // What the pair has at the least: as far below the products of its packed rows as the bound is above them.
          // Others need to exceed that; the pair itself does, and waits.
          const double off = static_cast<double>(lengths[i + found[c].row]) * slack[found[c].column] + 1.5 * kSlack +
                             0.5 * sums_share_ * right_.squared[static_cast<std::size_t>(j + found[c].column)];
          found[c].row += static_cast<int>(i);  // from here on in the block, and among the others of the slab
          found[c].column += static_cast<int>(j);
          least[found[c].row] = std::max(least[found[c].row], found[c].bound - above(2.0 * off));
        }
        waiting += count;
        if (waiting < kCandidates) continue;
        decide(candidates, waiting, *left, begin, best, least);
        waiting = 0;
      }
    }
    decide(candidates, waiting, *left, begin, best, least);
    tiles_.end();
    const std::lock_guard<std::mutex> lock(locks_[static_cast<std::size_t>(block)]);
    for (std::int64_t i = 0; i < rows; ++i) {
      Best& known = best_[static_cast<std::size_t>(row + i)];
      if (best[i].index >= 0 && known.beaten_by(best[i].cosine, best[i].index)) known = best[i];
    }
  }

  const Kernels& kernels_;
  const Points& points_;
  const Points& others_;
  const std::vector<float>& centre_;
  const std::vector<float> origin_;
  const std::int64_t d_;
  const RoughTiles& rough_;
  const Tiles& tiles_;
  const std::int64_t row_bytes_;
  const double sums_share_;  // of |p| |q|, |p|^2 and |q|^2, by which sums of their products in fp32 may be off
  std::vector<Best> best_;
  std::unique_ptr<std::mutex[]> locks_;  // of each block of rows
  Packed right_;
  std::vector<float> right_terms_;
};

}  // namespace

std::pair<BadRows, BadRows> nearest(const Kernels& kernels, Element element, const Rows& rows, std::int64_t n,
                                    const Rows& others, std::int64_t m, int threads, float* cosine,
                                    std::int64_t* index) {
  const Points left(kernels, element, rows, n, Scale::direction, threads);
  const Points right(kernels, element, others, m, Scale::direction, threads);
  if (left.bad().first >= 0 || right.bad().first >= 0) return {left.bad(), right.bad()};
  std::vector<double> mean(static_cast<std::size_t>(others.d));
  mean_direction(kernels, element, others, m, threads, mean.data());
  const std::vector<float> centre(mean.begin(), mean.end());
  Nearest search(kernels, left, right, centre);
  const std::vector<Best>& best = search.run(threads);
  for (std::size_t i = 0; i < best.size(); ++i) {
    cosine[i] = static_cast<float>(best[i].cosine);
    index[i] = best[i].index;
  }
  return {};
}

}  // namespace dataprophet::cpu
