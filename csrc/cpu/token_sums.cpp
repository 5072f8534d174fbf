#include "cpu/token_sums.hpp"

#include <cmath>

namespace dataprophet::cpu {

TokenSums merged(const LogitSums& parts, std::int64_t count, std::int64_t stride) {
  TokenSums sums;
  for (std::int64_t i = 0; i < count * stride; i += stride) {
    const double maximum = static_cast<double>(parts.maximum[i]);
    if (parts.weighted) {
      sums.exceeded += parts.exceeded[i];
      const bool lower = maximum == sums.maximum && parts.argmax[i] < sums.argmax;
      if (maximum > sums.maximum || lower) sums.argmax = parts.argmax[i];
    }
    if (maximum > sums.maximum) sums.maximum = maximum;
  }
  const double shift = std::isinf(sums.maximum) && sums.maximum < 0.0 ? 0.0 : sums.maximum;
  for (std::int64_t i = 0; i < count * stride; i += stride) {
    const double total = static_cast<double>(parts.total[i]);
    const double apart = static_cast<double>(parts.maximum[i]) - shift;
    constexpr double kNothing = -104.0;  // its exponential is no float
    if (apart < kNothing && !std::isnan(total)) continue;
    const double share = std::exp(apart);
    sums.total += share * total;
    if (parts.weighted) sums.weighted += share * (static_cast<double>(parts.weighted[i]) + apart * total);
  }
  return sums;
}

void write_results(const TokenSums& sums, float target, std::int64_t row, const TokenResults& results) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  const double log_total = std::log(sums.total);
  // Taken off one by one: beside a large logit the log of the sum would round away.
  if (results.logprobs)
    results.logprobs[row] = static_cast<float>(static_cast<double>(target) - sums.maximum - log_total);
  if (results.details()) {
    const bool defined = std::isfinite(sums.maximum) && std::isfinite(sums.total);
    results.entropy[row] = defined ? static_cast<float>(log_total - sums.weighted / sums.total) : kNaN;
    results.argmax[row] = defined ? sums.argmax : -1;
    results.rank[row] = defined ? sums.exceeded : -1;
  }
  if (results.maximum) {
    results.maximum[row] = static_cast<float>(sums.maximum);
    results.total[row] = static_cast<float>(sums.total);
    results.target[row] = target;
  }
}

}  // namespace dataprophet::cpu
