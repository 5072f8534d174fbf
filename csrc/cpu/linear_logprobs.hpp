// Log-probabilities of tokens under a linear head, whose logits are never stored.
#pragma once

#include "cpu/simd/kernels.hpp"
#include "cpu/token_sums.hpp"

namespace dataprophet::cpu {

// Rows and the tokens' weights may be of different elements.
struct LinearTask {
  Element row_element;
  Rows rows;
  std::int64_t n;
  Element token_element;
  Rows tokens;                  // rows of the head
  std::int64_t vocabulary;      // their number, below 2^31
  const std::int64_t* targets;  // of each row; one that is no token here has a logit of minus infinity
  Head head;
};

// Products of tiles of tokens and rows become sums while they are in cache. Tokens are cut into splits by their number
// alone, and the sums of the splits merged in order: a row's results are the same bits beside any other rows, in any
// order, for any number of threads. Uses some megabytes beyond the results, whatever n and the vocabulary.
void linear_logprobs(const Kernels& kernels, const LinearTask& task, int threads, const TokenResults& results);

}  // namespace dataprophet::cpu
