#include "cpu/measure_rows.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "cpu/packed_directions.hpp"
#include "cpu/parallel.hpp"

namespace dataprophet::cpu {
namespace {

constexpr double kUnits = 1 << 30;         // in 1
constexpr double kMostWhole = 2147483647;  // that a sum of 32 bits holds
constexpr double kRounded = 1.0001;        // more than rounding adds to an element or its bound

// Rows that are read from memory for their cosines and lengths, and again, from a cache, for the sums. The more of
// them, the more rows of a group share a pass over its sums; the fewer, the more threads have work.
constexpr std::int64_t kBlockBytes = 1 << 21, kLeastBytes = 1 << 19, kBlocksOfThread = 4;

// What a thread keeps from block to block.
struct Scratch {
  int slot = -1;                     // number of the thread, once it has a block
  std::vector<std::int64_t> last;    // per group: its last row in the block, or -1
  std::vector<std::int64_t> before;  // per row of the block: the one before it of its group, or -1
  std::vector<std::int64_t> seen;    // groups of the block
  std::vector<float> largest;        // per row of the block: no element exceeds it
  std::vector<const void*> rows;
  std::vector<float> scale;
};

// Whether a length was computed from a sum of squares in fp32.
bool is_plain(double length) { return length > 1e-12 && length < 1e15; }

class Measurement {
 public:
  Measurement(const Kernels& kernels, Element element, const Rows& rows, const std::int64_t* groups, std::int64_t count)
      : measure_(kernels.measure_rows[static_cast<int>(element)]),
        add_(kernels.add_whole[static_cast<int>(element)]),
        add_exact_(kernels.add_whole_exact[static_cast<int>(element)]),
        element_(element),
        rows_(rows),
        groups_(groups),
        count_(count) {}

  std::size_t size() const { return static_cast<std::size_t>(count_ * rows_.d); }

  void block(std::int64_t begin, std::int64_t end, const Directions& directions, const RowMeasures& out,
             Scratch* scratch, std::int64_t* sums) const {
    scratch->largest.resize(static_cast<std::size_t>(end - begin));
    measure_(rows_, begin, end, directions, out.cosines + begin * directions.count, out.lengths + begin,
             scratch->largest.data());
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    scratch->before.resize(static_cast<std::size_t>(end - begin));
    scratch->seen.clear();
    for (std::int64_t r = begin; r < end; ++r) {
      if (groups_[r] < 0) out.lengths[r] = kNan;
      if (out.lengths[r] > 0.0 && std::isfinite(out.lengths[r])) {
        std::int64_t& last = scratch->last[static_cast<std::size_t>(groups_[r])];
        if (last < 0) scratch->seen.push_back(groups_[r]);
        scratch->before[static_cast<std::size_t>(r - begin)] = last;
        last = r;
      } else {
        std::fill_n(out.cosines + r * directions.count, directions.count, static_cast<float>(kNan));
      }
    }
    for (const std::int64_t group : scratch->seen) add_group(group, begin, out.lengths, scratch, sums);
  }

 private:
  // Adds the rows of a group of the block from row `begin` on, and forgets them.
  void add_group(std::int64_t group, std::int64_t begin, const double* lengths, Scratch* scratch,
                 std::int64_t* sums) const {
    std::int64_t* sum = sums + group * rows_.d;
    double most = 0.0;  // that the rows which are waiting add up to
    std::int64_t r = scratch->last[static_cast<std::size_t>(group)];
    scratch->last[static_cast<std::size_t>(group)] = -1;
    for (; r >= 0; r = scratch->before[static_cast<std::size_t>(r - begin)]) {
      const void* row = row_at(rows_, element_, r);
      const double scale = kUnits / lengths[r];
      if (!is_plain(lengths[r])) {
        add_exact_(row, scale, rows_.d, sum);
        continue;
      }
      const double own = static_cast<double>(scratch->largest[static_cast<std::size_t>(r - begin)]) * scale * kRounded;
      if (most + own + 1.0 > kMostWhole) {
        add_waiting(scratch, sum);
        most = 0.0;
      }
      most += own + 1.0;
      scratch->rows.push_back(row);
      scratch->scale.push_back(static_cast<float>(scale));
    }
    add_waiting(scratch, sum);
  }

  void add_waiting(Scratch* scratch, std::int64_t* sum) const {
    add_(scratch->rows.data(), static_cast<std::int64_t>(scratch->rows.size()), scratch->scale.data(), rows_.d, sum);
    scratch->rows.clear();
    scratch->scale.clear();
  }

  MeasureRows measure_;
  AddWhole add_;
  AddWholeExact add_exact_;
  Element element_;
  Rows rows_;
  const std::int64_t* groups_;
  std::int64_t count_;
};

}  // namespace

void measure_rows(const Kernels& kernels, Element element, const Rows& rows, std::int64_t n, const float* directions,
                  std::int64_t targets, const std::int64_t* groups, std::int64_t count, int threads,
                  const RowMeasures& out) {
  const PackedDirections packed(directions, targets, rows.d, false);
  const Measurement measurement(kernels, element, rows, groups, count);
  const std::int64_t row_bytes = std::max<std::int64_t>(rows.d, 1) * element_bytes(element);
  const int wanted = useful_threads(threads, n * row_bytes);
  const std::int64_t share = n * row_bytes / (std::max(wanted, 1) * kBlocksOfThread);
  const std::int64_t block_bytes = std::clamp(share, kLeastBytes, kBlockBytes);
  const std::int64_t step = std::max<std::int64_t>(4, block_bytes / row_bytes / 4 * 4);
  const std::int64_t blocks = (n + step - 1) / step;
  const int used = static_cast<int>(std::min<std::int64_t>(wanted, blocks));
  // Whole numbers: neither the order of blocks nor which thread adds them matters.
  std::vector<std::vector<std::int64_t>> sums(static_cast<std::size_t>(std::max(used, 1)));
  std::atomic<int> slots{0};
  parallel_for(blocks, used, [&, scratch = Scratch()](std::int64_t block) mutable {
    if (scratch.slot < 0) {
      scratch.slot = slots.fetch_add(1);
      scratch.last.assign(static_cast<std::size_t>(count), -1);
      sums[static_cast<std::size_t>(scratch.slot)].assign(measurement.size(), 0);
    }
    measurement.block(block * step, std::min(n, (block + 1) * step), packed.view(), out, &scratch,
                      sums[static_cast<std::size_t>(scratch.slot)].data());
  });
  for (std::size_t i = 0; i < measurement.size(); ++i) {
    std::int64_t total = 0;
    for (int slot = 0; slot < slots; ++slot) total += sums[static_cast<std::size_t>(slot)][i];
    out.sums[i] = static_cast<double>(total) / kUnits;
  }
}

}  // namespace dataprophet::cpu
