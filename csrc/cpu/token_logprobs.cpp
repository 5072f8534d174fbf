#include "cpu/token_logprobs.hpp"

#include <algorithm>

#include "cpu/parallel.hpp"

namespace dataprophet::cpu {

void token_logprobs(const Kernels& kernels, Element element, const Rows& logits, std::int64_t n,
                    const std::int64_t* targets, const Head& head, int threads, const TokenResults& results) {
  constexpr std::int64_t kElementsOfJob = 1 << 16;
  const std::int64_t rows_of_job = std::max<std::int64_t>(kElementsOfJob / std::max<std::int64_t>(logits.d, 1), 1);
  const SumLogits sum_logits = kernels.sum_logits[static_cast<int>(element)];
  const int useful = useful_threads(threads, n * logits.d * element_bytes(element));
  parallel_for((n + rows_of_job - 1) / rows_of_job, useful, [&](std::int64_t job) {
    const std::int64_t stop = std::min(n, (job + 1) * rows_of_job);
    for (std::int64_t row = job * rows_of_job; row < stop; ++row) {
      LaneSums lanes;
      sum_logits(row_at(logits, element, row), logits.d, head, targets[row], &lanes);
      write_results(merged({lanes.maximum, lanes.total}, kernels.lanes, 1), lanes.target, row, results);
    }
  });
}

}  // namespace dataprophet::cpu
