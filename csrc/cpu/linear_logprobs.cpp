#include "cpu/linear_logprobs.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "cpu/buffer.hpp"
#include "cpu/parallel.hpp"

namespace dataprophet::cpu {
namespace {

constexpr std::int64_t kRowsOfPass = 512;          // most rows that are packed at once, against which tokens are read
constexpr std::int64_t kRowBytesOfPass = 4 << 20;  // and about their size
constexpr std::int64_t kTokensOfSplit = 512, kMostSplits = 1024;
constexpr std::int64_t kTokenBytes = 1 << 20;      // packed tokens of a job, which stay in cache for all panels of rows
constexpr std::int64_t kTokenBytesOnce = 1 << 17;  // where there is one panel: they are read once, soon

struct Scratch {
  Buffer tokens, products;
  std::vector<const void*> pointers;
};

class LinearLogprobs {
 public:
  LinearLogprobs(const Kernels& kernels, const LinearTask& task, int threads, const TokenResults& results)
      : kernels_(kernels),
        task_(task),
        results_(results),
        tiles_(kernels.head_tiles[static_cast<int>(task.row_element)][static_cast<int>(task.token_element)]),
        d_(task.rows.d),
        row_bytes_(tiles_.rows.row_bytes(d_)),
        token_bytes_(tiles_.tokens.row_bytes(d_)),
        left_(tiles_.tokens.left),
        right_(tiles_.rows.right),
        split_(padded(std::max(kTokensOfSplit, (task.vocabulary + kMostSplits - 1) / kMostSplits), left_)),
        splits_((task.vocabulary + split_ - 1) / split_),
        block_(std::clamp<std::int64_t>((task.n > right_ ? kTokenBytes : kTokenBytesOnce) / (left_ * token_bytes_), 1,
                                        split_ / left_) *
               left_),
        width_(padded(std::min({task.n, kRowsOfPass, std::max(kRowBytesOfPass / row_bytes_, right_)}), right_)),
        stride_(2 * width_),
        threads_(useful_threads(threads, task.vocabulary * d_ * (4 + padded(task.n, right_) / 8))),
        origin_(static_cast<std::size_t>(d_)),
        ones_(static_cast<std::size_t>(std::max(block_, width_)), 1.0f),
        targets_(static_cast<std::size_t>(width_)) {
    rows_.reserve(width_ * row_bytes_ + kPackOverrun);
    sums_.reserve(splits_ * stride_ * 4);
  }

  void run() {
    for (std::int64_t begin = 0; begin < task_.n; begin += width_) {
      const std::int64_t count = std::min(width_, task_.n - begin), panels = (count + right_ - 1) / right_;
      parallel_for(panels, threads_, [&, scratch = Scratch()](std::int64_t panel) mutable {
        pack_panel(begin, count, panel, &scratch);
        find_targets(begin, count, panel, &scratch);
      });
      // Where splits are few, some threads share one, and each packs its tokens.
      const std::int64_t shares =
          std::clamp<std::int64_t>(4 * threads_ / std::max<std::int64_t>(splits_, 1), 1, panels);
      parallel_for(splits_ * shares, threads_, [&, scratch = Scratch()](std::int64_t job) mutable {
        const std::int64_t share = job % shares;
        add_split(job / shares, panels * share / shares, panels * (share + 1) / shares, count, &scratch);
      });
      constexpr std::int64_t kRowsOfJob = 16;
      parallel_for((count + kRowsOfJob - 1) / kRowsOfJob, threads_, [&](std::int64_t job) {
        for (std::int64_t row = job * kRowsOfJob; row < std::min(count, (job + 1) * kRowsOfJob); ++row) {
          const TokenSums sums = merged(sums_of(0, row), splits_, stride_);
          write_results(sums, targets_[static_cast<std::size_t>(row)], begin + row, results_);
        }
      });
    }
  }

 private:
  // Rows of a panel that are there.
  int rows_of(std::int64_t panel, std::int64_t count) const {
    return static_cast<int>(std::min(right_, count - panel * right_));
  }

  char* panel_at(std::int64_t panel) const { return static_cast<char*>(rows_.get()) + panel * right_ * row_bytes_; }

  void multiply(const void* tokens, std::int64_t panel, int rows, float* products, const void* ahead) const {
    const auto run = 2 * rows <= right_ ? tiles_.multiply_half : tiles_.multiply;
    run(tokens, panel_at(panel), d_, products, static_cast<const char*>(ahead));
  }

  // Sums of a split, of the rows from `row` of the pass on.
  LogitSums sums_of(std::int64_t split, std::int64_t row) const {
    auto* floats = static_cast<float*>(sums_.get()) + split * stride_ + row;
    return {floats, floats + width_};
  }

  void pack_panel(std::int64_t begin, std::int64_t count, std::int64_t panel, Scratch* scratch) const {
    const int rows = rows_of(panel, count);
    scratch->pointers.resize(static_cast<std::size_t>(right_));
    for (int i = 0; i < rows; ++i) {
      scratch->pointers[static_cast<std::size_t>(i)] =
          row_at(task_.rows, task_.row_element, begin + panel * right_ + i);
    }
    tiles_.rows.pack_right(scratch->pointers.data(), rows, ones_.data(), origin_.data(), d_, panel_at(panel));
  }

  // Logits of the targets of a panel, by the same tiles as all logits: the same bits, so that no target seems to lie
  // above the largest logit.
  void find_targets(std::int64_t begin, std::int64_t count, std::int64_t panel, Scratch* scratch) {
    const int rows = rows_of(panel, count);
    const std::int64_t* targets = task_.targets + begin + panel * right_;
    float* found = targets_.data() + panel * right_;
    std::fill_n(found, right_, -std::numeric_limits<float>::infinity());
    if (task_.vocabulary == 0) return;
    auto* tokens = scratch->tokens.reserve(left_ * token_bytes_ + kPackOverrun);
    auto* products = static_cast<float*>(scratch->products.reserve(left_ * right_ * 4));
    scratch->pointers.resize(static_cast<std::size_t>(left_));
    std::vector<float> bias(static_cast<std::size_t>(left_));
    const auto is_token = [&](std::int64_t target) { return target >= 0 && target < task_.vocabulary; };
    for (int first = 0; first < rows; first += static_cast<int>(left_)) {
      const int some = std::min(static_cast<int>(left_), rows - first);
      for (int i = 0; i < some; ++i) {
        const std::int64_t token = is_token(targets[first + i]) ? targets[first + i] : 0;
        scratch->pointers[static_cast<std::size_t>(i)] = row_at(task_.tokens, task_.token_element, token);
        if (task_.head.bias) bias[static_cast<std::size_t>(i)] = task_.head.bias[token];
      }
      tiles_.tokens.pack_left(scratch->pointers.data(), some, ones_.data(), origin_.data(), d_, tokens);
      tiles_.tokens.begin();
      multiply(tokens, panel, rows, products, tokens);
      tiles_.tokens.end();
      Head head = task_.head;
      if (head.bias) head.bias = bias.data();
      kernels_.finish_logits({products, some, rows, static_cast<int>(right_), head});
      for (int i = 0; i < some; ++i) {
        if (is_token(targets[first + i])) found[first + i] = products[i * right_ + first + i];
      }
    }
  }

  // Sums of a split over panels [first, last).
  void add_split(std::int64_t split, std::int64_t first, std::int64_t last, std::int64_t count, Scratch* scratch) {
    auto* packed = static_cast<char*>(scratch->tokens.reserve(block_ * token_bytes_ + kPackOverrun));
    auto* products = static_cast<float*>(scratch->products.reserve(left_ * right_ * 4));
    scratch->pointers.resize(static_cast<std::size_t>(block_));
    for (std::int64_t panel = first; panel < last; ++panel) {
      const LogitSums sums = sums_of(split, panel * right_);
      std::fill_n(sums.maximum, right_, -std::numeric_limits<float>::infinity());
      std::fill_n(sums.total, right_, 0.0f);
    }
    const std::int64_t stop = std::min(task_.vocabulary, (split + 1) * split_);
    const bool packed_rows = task_.tokens.stride == d_;  // tokens that come next are fetched as one run of bytes
    for (std::int64_t token = split * split_; token < stop; token += block_) {
      const std::int64_t tokens = std::min(block_, stop - token);
      for (std::int64_t i = 0; i < tokens; ++i) {
        scratch->pointers[static_cast<std::size_t>(i)] = row_at(task_.tokens, task_.token_element, token + i);
      }
      tiles_.tokens.pack_left(scratch->pointers.data(), tokens, ones_.data(), origin_.data(), d_, packed);
      tiles_.tokens.begin();
      for (std::int64_t panel = first; panel < last; ++panel) {
        const LogitSums sums = sums_of(split, panel * right_);
        const int rows = rows_of(panel, count);
        for (std::int64_t at = 0; at < tokens; at += left_) {
          const char* tile = packed + at * token_bytes_;
          const bool fetching = packed_rows && panel + 1 == last && token + at + block_ < stop;
          multiply(tile, panel, rows, products,
                   fetching ? row_at(task_.tokens, task_.token_element, token + at + block_) : tile);
          Head head = task_.head;
          if (head.bias) head.bias += token + at;
          const LogitTile logits{products, static_cast<int>(std::min(left_, tokens - at)), rows,
                                 static_cast<int>(right_), head};
          kernels_.add_logits(logits, sums);
        }
      }
      tiles_.tokens.end();
    }
  }

  const Kernels& kernels_;
  const LinearTask& task_;
  const TokenResults& results_;
  const HeadTiles& tiles_;
  const std::int64_t d_, row_bytes_, token_bytes_;
  const std::int64_t left_, right_;            // tokens and rows of a tile
  const std::int64_t split_, splits_, block_;  // tokens of a split, splits, tokens of it that are packed at once
  const std::int64_t width_;                   // rows of a pass
  const std::int64_t stride_;                  // between the sums of splits
  const int threads_;
  const std::vector<float> origin_, ones_;
  std::vector<float> targets_;  // their logits, of the rows of the pass
  Buffer rows_;                 // of the pass, packed
  Buffer sums_;                 // [split][kind][row]
};

}  // namespace

void linear_logprobs(const Kernels& kernels, const LinearTask& task, int threads, const TokenResults& results) {
  if (task.n > 0) LinearLogprobs(kernels, task, threads, results).run();
}

}  // namespace dataprophet::cpu
