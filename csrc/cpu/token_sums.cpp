#include "cpu/token_sums.hpp"

#include <cmath>

namespace dataprophet::cpu {

TokenSums merged(const LogitSums& parts, std::int64_t count, std::int64_t stride) {
  TokenSums sums;
  for (std::int64_t i = 0; i < count * stride; i += stride) {
    const double maximum = static_cast<double>(parts.maximum[i]);
    if (maximum > sums.maximum) sums.maximum = maximum;
  }
  const double shift = std::isinf(sums.maximum) && sums.maximum < 0.0 ? 0.0 : sums.maximum;
  for (std::int64_t i = 0; i < count * stride; i += stride) {
    const double total = static_cast<double>(parts.total[i]);
    const double apart = static_cast<double>(parts.maximum[i]) - shift;
    constexpr double kNothing = -104.0;  // its exponential is no float
    if (apart < kNothing && !std::isnan(total)) continue;
    sums.total += std::exp(apart) * total;
  }
  return sums;
}

void write_results(const TokenSums& sums, float target, std::int64_t row, const TokenResults& results) {
  // Taken off one by one: beside a large logit the log of the sum would round away.
  if (results.logprobs)
    results.logprobs[row] = static_cast<float>(static_cast<double>(target) - sums.maximum - std::log(sums.total));
  if (results.maximum) {
    results.maximum[row] = static_cast<float>(sums.maximum);
    results.total[row] = static_cast<float>(sums.total);
    results.target[row] = target;
  }
}

}  // namespace dataprophet::cpu
