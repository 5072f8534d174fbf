#include "cpu/euclidean_sums.hpp"

#include <algorithm>
#include <cmath>

#include "cpu/buffer.hpp"
#include "cpu/cluster_means.hpp"
#include "cpu/parallel.hpp"

namespace dataprophet::cpu {
namespace {

constexpr std::int64_t kRightBytes = 4 << 20,
                       kLeftBytes = 1 << 20;  // packed rows of a job; the left ones stay in cache
// Tiles whose distances are summed in fp32. Of equal distances, which each addition rounds alike, more would show.
constexpr std::int64_t kChainTiles = 8;
constexpr std::int64_t kLeftBlocks = 8;  // of a job, which so takes tens of milliseconds
constexpr std::int64_t kSmall = 24;  // clusters of fewer rows share tiles, which they would leave empty on their own
constexpr std::int64_t kMixed = -1;

// Positions of one cluster, or of all small ones.
struct Range {
  std::int64_t begin, end, cluster;
};

// Rows [begin, end) of the left or the right side, all in one range.
struct Block {
  std::int64_t begin, end, range;
  std::int64_t rows() const { return end - begin; }
};

// Blocks of the right side, packed once, against blocks of the left side: of the same range, around its own mean, so
// that tight clusters lose no digits; or of different ranges, around the mean of all.
struct Job {
  bool own;
  std::int64_t right_begin, right_end, left_begin, left_end;
};

// One side of a job, packed.
struct Side {
  Buffer panels;
  std::vector<const void*> rows;
  std::vector<float> scale, norms, weights;
  std::vector<std::int64_t> clusters;  // of each row, in a mixed range

  char* reserve(std::int64_t count, std::int64_t row_bytes) {
    const auto size = static_cast<std::size_t>(count);
    rows.resize(size);
    scale.resize(size);
    norms.assign(size, 0.0f);
    weights.assign(size, 0.0f);
    clusters.resize(size);
    return static_cast<char*>(panels.reserve(count * row_bytes + kPackOverrun));
  }
};

struct Scratch {
  Side left, right;
  Buffer dots;
  std::vector<float> row_sums, column_sums;
  std::vector<double> row_totals, column_totals;
  std::vector<std::int64_t> indices;
};

class EuclideanSums {
 public:
  EuclideanSums(const Kernels& kernels, const Points& points, const Clusters& clusters,
                const std::vector<std::int64_t>* left, int threads)
      : kernels_(kernels),
        tiles_(tiles_of(kernels, points.element(), points.d())),
        points_(points),
        clusters_(clusters),
        left_(left),
        d_(points.d()),
        row_bytes_(tiles_.row_bytes(d_)) {
    cut_ranges();
    centre(threads);
    right_blocks_ = blocks(nullptr, kRightBytes, tiles_.right);
    left_blocks_ = blocks(left, kLeftBytes, tiles_.left);
    plan();
  }

  FixedSums run(int threads) {
    const std::int64_t count = left_ ? static_cast<std::int64_t>(left_->size()) : clusters_.n();
    FixedSums sums{{}, 1.0};
    sums.values.resize(static_cast<std::size_t>(count * clusters_.count()));
    if (longest_ > 0.0) {  // a sum of n distances, none longer than twice the farthest point, stays below 2^62
      fixed_ = std::ldexp(1.0, 61 - std::ilogb(2.0 * longest_ * static_cast<double>(clusters_.n())));
      sums.unit = 1.0 / fixed_;
    }
    values_ = sums.values.data();
    parallel_for(static_cast<std::int64_t>(jobs_.size()), threads,
                 [this, scratch = Scratch()](std::int64_t job) mutable {
                   work(jobs_[static_cast<std::size_t>(job)], &scratch);
                 });
    return sums;
  }

 private:
  void cut_ranges() {
    for (std::int64_t c = 0; c < clusters_.count(); ++c) {
      const auto at = static_cast<std::size_t>(c);
      if (clusters_.size(c) < kSmall) {  // so are all that follow
        ranges_.push_back({clusters_.begin[at], clusters_.n(), kMixed});
        break;
      }
      ranges_.push_back({clusters_.begin[at], clusters_.begin[at + 1], c});
    }
  }

  // Centres of the ranges and of all, and the squared norms of all points around them.
  void centre(int threads) {
    const auto d = static_cast<std::size_t>(d_);
    const std::vector<double> centres = cluster_centres(kernels_, points_, clusters_, threads);
    const std::vector<double> middle = middle_of(centres, clusters_);
    global_.assign(middle.begin(), middle.end());
    own_.reserve(ranges_.size() * d);
    for (const Range& range : ranges_) {
      if (range.cluster == kMixed) {
        own_.insert(own_.end(), global_.begin(), global_.end());
      } else {
        const auto own = centres.begin() + range.cluster * d_;
        own_.insert(own_.end(), own, own + d_);
      }
    }
    own_norms_.resize(static_cast<std::size_t>(clusters_.n()));
    global_norms_.resize(own_norms_.size());
    for (std::size_t r = 0; r < ranges_.size(); ++r) {
      measure(ranges_[r], own_.data() + r * d, threads, own_norms_.data());
      measure(ranges_[r], global_.data(), threads, global_norms_.data());
    }
    for (const auto* norms : {&own_norms_, &global_norms_}) {
      longest_ = std::max(longest_, std::sqrt(static_cast<double>(*std::max_element(norms->begin(), norms->end()))));
    }
  }

  // A squared norm is the product of a packed row with itself, so that the distance between equal rows is exactly 0.
  void measure(const Range& range, const float* centre, int threads, float* norms) {
    const std::int64_t rows_of_job = 64 * tiles_.left;
    const std::int64_t jobs = (range.end - range.begin + rows_of_job - 1) / rows_of_job;
    parallel_for(jobs, threads, [&, scratch = Scratch()](std::int64_t job) mutable {
      const std::int64_t begin = range.begin + job * rows_of_job, end = std::min(range.end, begin + rows_of_job);
      char* left = scratch.left.reserve(tiles_.left, row_bytes_);
      char* right = scratch.right.reserve(tiles_.right, row_bytes_);
      auto* dots = static_cast<float*>(scratch.dots.reserve(tiles_.left * tiles_.right * 4));
      tiles_.begin();
      for (std::int64_t p = begin; p < end; p += tiles_.left) {
        const std::int64_t count = std::min<std::int64_t>(tiles_.left, end - p);
        points_.gather(clusters_.order.data() + p, count, scratch.left.rows.data(), scratch.left.scale.data());
        tiles_.pack_left(scratch.left.rows.data(), count, scratch.left.scale.data(), centre, d_, left);
        tiles_.pack_right(scratch.left.rows.data(), count, scratch.left.scale.data(), centre, d_, right);
        tiles_.multiply(left, right, d_, dots, {left, 0});
        for (std::int64_t i = 0; i < count; ++i) norms[p + i] = dots[i * tiles_.right + i];
      }
      tiles_.end();
    });
  }

  std::int64_t left_position(std::int64_t index) const {
    return left_ ? (*left_)[static_cast<std::size_t>(index)] : index;
  }

  // Blocks of at most that many bytes, each in one range, of all positions or of those in `some`.
  std::vector<Block> blocks(const std::vector<std::int64_t>* some, std::int64_t bytes, std::int64_t panel) const {
    const std::int64_t rows = std::max(panel, bytes / row_bytes_ / panel * panel);
    std::vector<Block> found;
    for (std::size_t r = 0; r < ranges_.size(); ++r) {
      std::int64_t begin = ranges_[r].begin, end = ranges_[r].end;
      if (some) {
        begin = std::lower_bound(some->begin(), some->end(), begin) - some->begin();
        end = std::lower_bound(some->begin(), some->end(), end) - some->begin();
      }
      for (std::int64_t p = begin; p < end; p += rows) {
        found.push_back({p, std::min(p + rows, end), static_cast<std::int64_t>(r)});
      }
    }
    return found;
  }

  // Whether a job pairs these blocks. Of all rows with all, each pair of ranges is met once.
  bool paired(const Job& job, const Block& left, const Block& right) const {
    if (job.own) return left.range == right.range && (left_ || left.begin < right.end);
    return left_ ? left.range != right.range : left.range < right.range;
  }

  void plan() {
    const auto rights = static_cast<std::int64_t>(right_blocks_.size());
    const std::int64_t most = std::max<std::int64_t>(tiles_.right, kRightBytes / row_bytes_);
    for (std::int64_t r = 0; r < rights; ++r) add_jobs({true, r, r + 1, 0, 0});
    for (std::int64_t r = 0; r < rights;) {
      std::int64_t stop = r, rows = 0;
      while (stop < rights && (stop == r || rows + padded(right(stop).rows(), tiles_.right) <= most)) {
        rows += padded(right(stop++).rows(), tiles_.right);
      }
      add_jobs({false, r, stop, 0, 0});
      r = stop;
    }
  }

  void add_jobs(Job job) {
    const auto lefts = static_cast<std::int64_t>(left_blocks_.size());
    const auto wanted = [&](std::int64_t l) {
      for (std::int64_t r = job.right_begin; r < job.right_end; ++r) {
        if (paired(job, left(l), right(r))) return true;
      }
      return false;
    };
    for (job.left_begin = 0; job.left_begin < lefts; job.left_begin = job.left_end) {
      job.left_end = job.left_begin + 1;
      if (!wanted(job.left_begin)) continue;
      while (job.left_end < lefts && job.left_end < job.left_begin + kLeftBlocks && wanted(job.left_end))
        ++job.left_end;
      jobs_.push_back(job);
    }
  }

  const Block& left(std::int64_t index) const { return left_blocks_[static_cast<std::size_t>(index)]; }
  const Block& right(std::int64_t index) const { return right_blocks_[static_cast<std::size_t>(index)]; }

  void work(const Job& job, Scratch* scratch) {
    const float* centre = job.own ? own_.data() + right(job.right_begin).range * d_ : global_.data();
    std::int64_t columns = 0;
    for (std::int64_t r = job.right_begin; r < job.right_end; ++r) columns += padded(right(r).rows(), tiles_.right);
    char* panels = scratch->right.reserve(columns, row_bytes_);
    std::int64_t column = 0;
    for (std::int64_t r = job.right_begin; r < job.right_end; ++r) {
      const Block& block = right(r);
      scratch->indices.resize(static_cast<std::size_t>(block.rows()));
      for (std::int64_t i = 0; i < block.rows(); ++i) scratch->indices[static_cast<std::size_t>(i)] = block.begin + i;
      fill(&scratch->right, column, scratch->indices, job.own, block.range);
      tiles_.pack_right(scratch->right.rows.data() + column, block.rows(), scratch->right.scale.data() + column, centre,
                        d_, panels + column * row_bytes_);
      column += padded(block.rows(), tiles_.right);
    }
    for (std::int64_t l = job.left_begin; l < job.left_end; ++l) {
      const Block& block = left(l);
      panels = scratch->left.reserve(padded(block.rows(), tiles_.left), row_bytes_);
      scratch->indices.resize(static_cast<std::size_t>(block.rows()));
      for (std::int64_t i = 0; i < block.rows(); ++i) {
        scratch->indices[static_cast<std::size_t>(i)] = left_position(block.begin + i);
      }
      fill(&scratch->left, 0, scratch->indices, job.own, block.range);
      tiles_.pack_left(scratch->left.rows.data(), block.rows(), scratch->left.scale.data(), centre, d_, panels);
      column = 0;
      for (std::int64_t r = job.right_begin; r < job.right_end; ++r) {
        if (paired(job, block, right(r))) pair(job, block, right(r), column, scratch);
        column += padded(right(r).rows(), tiles_.right);
      }
    }
  }

  // Where the rows at these positions lie, and what else the tiles need to know of them.
  void fill(Side* side, std::int64_t at, const std::vector<std::int64_t>& positions, bool own, std::int64_t range) {
    const std::vector<float>& norms = own ? own_norms_ : global_norms_;
    const bool mixed = ranges_[static_cast<std::size_t>(range)].cluster == kMixed;
    for (std::size_t i = 0; i < positions.size(); ++i) {
      const auto position = static_cast<std::size_t>(positions[i]);
      const std::size_t place = static_cast<std::size_t>(at) + i;
      points_.gather(&clusters_.order[position], 1, &side->rows[place], &side->scale[place]);
      side->norms[place] = norms[position];
      side->weights[place] = 1.0f;
      side->clusters[place] =
          mixed ? clusters_.cluster_at(positions[i]) : ranges_[static_cast<std::size_t>(range)].cluster;
    }
  }

  void pair(const Job& job, const Block& left, const Block& right, std::int64_t column, Scratch* scratch) {
    const bool mixed = ranges_[static_cast<std::size_t>(left.range)].cluster == kMixed ||
                       ranges_[static_cast<std::size_t>(right.range)].cluster == kMixed;
    const bool triangle = job.own && !left_;
    const std::int64_t width = padded(right.rows(), tiles_.right);
    scratch->row_sums.assign(static_cast<std::size_t>(left.rows() * kernels_.lanes), 0.0f);
    scratch->column_sums.assign(static_cast<std::size_t>(width), 0.0f);
    scratch->row_totals.assign(static_cast<std::size_t>(left.rows()), 0.0);
    scratch->column_totals.assign(static_cast<std::size_t>(width), 0.0);
    auto* dots = static_cast<float*>(scratch->dots.reserve(tiles_.left * tiles_.right * 4));
    const auto* left_panels = static_cast<const char*>(scratch->left.panels.get());
    const auto* right_panels = static_cast<const char*>(scratch->right.panels.get()) + column * row_bytes_;
    // With each tile its share of the panel that comes next.
    const std::int64_t share = tiles_.right * row_bytes_ / (padded(left.rows(), tiles_.left) / tiles_.left);
    const std::int64_t step = share / std::max<std::int64_t>(d_, 1);
    tiles_.begin();
    for (std::int64_t j = 0; j < width; j += tiles_.right) {
      for (std::int64_t i = 0; i < left.rows(); i += tiles_.left) {
        const std::int64_t ahead = right.begin + j - left.begin - i;
        if (triangle && ahead + tiles_.right <= 1) continue;  // the whole tile lies below the diagonal
        const std::int64_t after = j + tiles_.right < width ? j + tiles_.right : j;
        const Ahead next{right_panels + after * row_bytes_ + i / tiles_.left * share, step};
        tiles_.multiply(left_panels + i * row_bytes_, right_panels + j * row_bytes_, d_, dots, next);
        const int rows = static_cast<int>(std::min<std::int64_t>(tiles_.left, left.rows() - i));
        const DistanceTile tile{dots,
                                rows,
                                tiles_.right,
                                scratch->left.norms.data() + i,
                                scratch->right.norms.data() + column + j,
                                scratch->right.weights.data() + column + j,
                                triangle && ahead < rows ? ahead : kAll,
                                scratch->row_sums.data() + i * kernels_.lanes,
                                scratch->column_sums.data() + j};
        if (mixed) {
          scatter(tile, left.begin + i, right.begin + j, i, column + j, *scratch);
        } else {
          kernels_.distance_tile(tile);
        }
        if ((i / tiles_.left + 1) % kChainTiles == 0) flush_columns(j, scratch);
      }
      flush_columns(j, scratch);
      if ((j / tiles_.right + 1) % kChainTiles == 0) flush_rows(scratch);
    }
    flush_rows(scratch);
    tiles_.end();
    if (mixed) return;
    const std::int64_t left_cluster = ranges_[static_cast<std::size_t>(left.range)].cluster;
    const std::int64_t right_cluster = ranges_[static_cast<std::size_t>(right.range)].cluster;
    for (std::int64_t i = 0; i < left.rows(); ++i) {
      add(left.begin + i, right_cluster, scratch->row_totals[static_cast<std::size_t>(i)]);
    }
    if (left_) return;
    for (std::int64_t j = 0; j < right.rows(); ++j) {
      add(right.begin + j, left_cluster, scratch->column_totals[static_cast<std::size_t>(j)]);
    }
  }

  // The sums of a panel's columns in fp32 join the totals, and start anew.
  void flush_columns(std::int64_t first, Scratch* scratch) const {
    for (std::int64_t j = first; j < first + tiles_.right; ++j) {
      auto& sum = scratch->column_sums[static_cast<std::size_t>(j)];
      scratch->column_totals[static_cast<std::size_t>(j)] += static_cast<double>(sum);
      sum = 0.0f;
    }
  }

  // The same of all rows' sums, lane by lane.
  void flush_rows(Scratch* scratch) const {
    float* sums = scratch->row_sums.data();
    for (double& total : scratch->row_totals) {
      for (int lane = 0; lane < kernels_.lanes; ++lane, ++sums) {
        total += static_cast<double>(*sums);
        *sums = 0.0f;
      }
    }
  }

  // Distances of a tile that several clusters share, one by one. Rows much closer to each other than to the centre are
  // compared again, by their differences.
  void scatter(const DistanceTile& tile, std::int64_t left, std::int64_t right, std::int64_t left_at,
               std::int64_t right_at, const Scratch& scratch) {
    const auto distance_of = kernels_.squared_distance[static_cast<int>(points_.element())];
    for (std::int64_t i = 0; i < tile.rows; ++i) {
      for (std::int64_t j = 0; j < tile.columns; ++j) {
        if (tile.weights[j] == 0.0f || (tile.ahead != kAll && i >= j + tile.ahead)) continue;
        const float norms = tile.left_norms[i] + tile.right_norms[j];
        double squared = static_cast<double>(norms - 2.0f * tile.dots[i * tile.columns + j]);
        const auto a = static_cast<std::size_t>(left_at + i), b = static_cast<std::size_t>(right_at + j);
        if (squared < static_cast<double>(norms) / 64.0) {
          squared = distance_of(scratch.left.rows[a], scratch.right.rows[b], scratch.left.scale[a], d_);
        }
        const double distance = std::sqrt(squared);
        add(left + i, scratch.right.clusters[b], distance);
        if (!left_) add(right + j, scratch.left.clusters[a], distance);
      }
    }
  }

  void add(std::int64_t row, std::int64_t cluster, double sum) {
    __atomic_fetch_add(values_ + row * clusters_.count() + cluster, std::llrint(sum * fixed_), __ATOMIC_RELAXED);
  }

  const Kernels& kernels_;
  const Tiles& tiles_;
  const Points& points_;
  const Clusters& clusters_;
  const std::vector<std::int64_t>* left_;
  const std::int64_t d_, row_bytes_;
  std::vector<Range> ranges_;
  std::vector<float> global_, own_;              // centres: [d], [range][d]
  std::vector<float> global_norms_, own_norms_;  // by position
  double longest_ = 0.0, fixed_ = 1.0;
  std::vector<Block> left_blocks_, right_blocks_;
  std::vector<Job> jobs_;
  std::int64_t* values_ = nullptr;
};

}  // namespace

FixedSums euclidean_sums(const Kernels& kernels, const Points& points, const Clusters& clusters,
                         const std::vector<std::int64_t>* left, int threads) {
  return EuclideanSums(kernels, points, clusters, left, threads).run(threads);
}

}  // namespace dataprophet::cpu
