// Log-probabilities of tokens from logits that are given.
#pragma once

#include "cpu/simd/kernels.hpp"
#include "cpu/token_sums.hpp"

namespace dataprophet::cpu {

// Rows of logits, n x V, are read once. Each target is one of the V < 2^31 tokens. A row's results depend on its own
// logits alone: they are the same bits beside any other rows, in any order, for any number of threads.
void token_logprobs(const Kernels& kernels, Element element, const Rows& logits, std::int64_t n,
                    const std::int64_t* targets, const Head& head, int threads, const TokenResults& results);

}  // namespace dataprophet::cpu
