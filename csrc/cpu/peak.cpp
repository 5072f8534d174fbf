#include "cpu/peak.hpp"

#include <algorithm>
#include <vector>

#include "cpu/parallel.hpp"

namespace dataprophet::cpu {

double spin(const Kernels& kernels, bool bfloat, std::int64_t rounds, int threads) {
  std::vector<double> done(static_cast<std::size_t>(std::max(threads, 1)));
  const auto count = static_cast<std::int64_t>(done.size());
  parallel_for(count, threads, [&](std::int64_t i) {
    done[static_cast<std::size_t>(i)] = (bfloat ? kernels.spin_bfloat : kernels.spin_float)(rounds);
  });
  double sum = 0.0;
  for (const double value : done) sum += value;
  return sum;
}

std::uint32_t read(const Kernels& kernels, const void* data, std::int64_t bytes, int threads) {
  constexpr std::int64_t kPart = std::int64_t{4} << 20;
  const std::int64_t count = (bytes + kPart - 1) / kPart;
  std::vector<std::uint32_t> results(static_cast<std::size_t>(count));
  parallel_for(count, threads, [&](std::int64_t i) {
    results[static_cast<std::size_t>(i)] =
        kernels.read_through(static_cast<const char*>(data) + i * kPart, std::min(kPart, bytes - i * kPart));
  });
  std::uint32_t result = 0;
  for (const std::uint32_t part : results) result ^= part;
  return result;
}

}  // namespace dataprophet::cpu
