#include "cpu/points.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/mean_direction.hpp"
#include "cpu/parallel.hpp"

namespace dataprophet::cpu {
namespace {

constexpr std::int64_t kRowsAtOnce = 256;

}  // namespace

Points::Points(const Kernels& kernels, Element element, const Rows& rows, std::int64_t n, Scale scale, int threads)
    : element_(element), rows_(rows), n_(n) {
  const Chunks chunks(n, rows.d);
  std::vector<BadRows> bad(static_cast<std::size_t>(chunks.count));
  std::vector<double> largest(static_cast<std::size_t>(chunks.count));
  std::vector<std::vector<std::pair<std::int64_t, double>>> odd(static_cast<std::size_t>(chunks.count));
  if (scale == Scale::direction) factors_.resize(static_cast<std::size_t>(n));
  const auto squared_norms = kernels.squared_norms[static_cast<int>(element)];
  parallel_for(chunks.count, useful_threads(threads, n * rows.d * element_bytes(element)), [&](std::int64_t chunk) {
    const auto at = static_cast<std::size_t>(chunk);
    const void* pointers[kRowsAtOnce];
    double squared[kRowsAtOnce];
    for (std::int64_t first = chunks.begin(chunk); first < chunks.end(chunk); first += kRowsAtOnce) {
      const std::int64_t count = std::min(kRowsAtOnce, chunks.end(chunk) - first);
      for (std::int64_t i = 0; i < count; ++i) pointers[i] = row_at(rows, element, first + i);
      squared_norms(pointers, count, rows.d, squared);
      for (std::int64_t i = 0; i < count; ++i) {
        const bool finite = std::isfinite(squared[i]);
        if (!finite || (scale == Scale::direction && squared[i] == 0.0)) {
          ++(finite ? bad[at].zero : bad[at].nonfinite);
          if (bad[at].first < 0) bad[at].first = first + i;
        } else if (scale == Scale::common) {
          largest[at] = std::max(largest[at], squared[i]);
        } else {
          const double factor = 1.0 / std::sqrt(squared[i]);
          factors_[static_cast<std::size_t>(first + i)] = static_cast<float>(factor);
          if (factor < 0x1p-120 || factor > 0x1p120) odd[at].emplace_back(first + i, squared[i]);
        }
      }
    }
  });
  for (const BadRows& part : bad) merge(&bad_, part);
  for (const auto& part : odd) {
    for (const auto& [row, squared] : part) bring_near(row, squared);
  }
  const double most = largest.empty() ? 0.0 : *std::max_element(largest.begin(), largest.end());
  if (most > 0.0)
    common_ = static_cast<float>(std::ldexp(1.0, std::clamp(-std::ilogb(std::sqrt(most)) - 1, -126, 126)));
}

// Multiplies a copy of the row by a power of two, which is exact, so that the factor that is left is near 1. Only
// float32 and bfloat16 reach such lengths, and the latter is the former's upper half.
void Points::bring_near(std::int64_t row, double squared_norm) {
  const double norm = std::sqrt(squared_norm);
  const int shift = -std::ilogb(norm);
  const auto* source = static_cast<const char*>(row_at(rows_, element_, row));
  std::vector<std::uint32_t> copy(static_cast<std::size_t>((rows_.d * element_bytes(element_) + 3) / 4));
  auto* target = reinterpret_cast<char*>(copy.data());
  const std::size_t size = static_cast<std::size_t>(element_bytes(element_));
  const std::size_t skip = element_ == Element::bf16 ? 2 : 0;
  for (std::size_t j = 0; j < static_cast<std::size_t>(rows_.d); ++j) {
    std::uint32_t bits = 0;
    std::memcpy(reinterpret_cast<char*>(&bits) + skip, source + j * size, size);  // little-endian
    float value;
    std::memcpy(&value, &bits, sizeof value);
    value = static_cast<float>(std::ldexp(static_cast<double>(value), shift));
    std::memcpy(target + j * size, reinterpret_cast<char*>(&value) + skip, size);
  }
  near_.emplace(row, std::move(copy));
  factors_[static_cast<std::size_t>(row)] = static_cast<float>(1.0 / std::ldexp(norm, shift));
}

void Points::gather(const std::int64_t* indices, std::int64_t count, const void** rows, float* scale) const {
  for (std::int64_t i = 0; i < count; ++i) {
    rows[i] = row_at(rows_, element_, indices[i]);
    scale[i] = factors_.empty() ? common_ : factors_[static_cast<std::size_t>(indices[i])];
  }
  if (near_.empty()) return;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto found = near_.find(indices[i]);
    if (found != near_.end()) rows[i] = found->second.data();
  }
}

}  // namespace dataprophet::cpu
