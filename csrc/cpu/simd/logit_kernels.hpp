// What each instruction set provides for logits: the sums of a softmax, online, each logit seen once.
#pragma once

#include <cstdint>

#include "cpu/simd/tile_kernels.hpp"

namespace dataprophet::cpu {

// What a head does to its products x with tokens: z = scale * (x + bias), then softcap * tanh(z / softcap).
struct Head {
  const float* bias = nullptr;  // of each token, or null
  float scale = 1.0f;
  float softcap = 0.0f;  // 0 for none

  bool plain() const { return !bias && scale == 1.0f && softcap == 0.0f; }
};

// Sums over logits z around their maximum m, for several rows or for several lanes of one.
struct LogitSums {
  float* maximum;  // minus infinity before the first logit
  float* total;    // of exp(z - m); NaN where a logit is NaN or plus infinity
};

// Products of some tokens and a panel of rows.
struct LogitTile {
  float* values;     // [tokens][width], overwritten by the logits
  int tokens, rows;  // that are there
  int width;         // a multiple of the lanes; what lies beyond the rows is worked on or not
  Head head;         // of these tokens
};
using FinishLogits = void (*)(const LogitTile& tile);
// Finishes the logits and adds them to `sums`, [width] each.
using AddLogits = void (*)(const LogitTile& tile, const LogitSums& sums);

// Sums of a row of logits, one for each lane: every kLanes-th token.
constexpr int kMostLanes = 16;
struct LaneSums {
  alignas(64) float maximum[kMostLanes], total[kMostLanes];
  float target;
};
// The logits of `size` tokens of a row, and the target's, a token among them.
using SumLogits = void (*)(const void* row, std::int64_t size, const Head& head, std::int64_t target, LaneSums* sums);

// Products of tokens (left) and rows (right), which may be of different elements. The tokens that come next, which
// begin at `ahead`, may be fetched meanwhile.
using MultiplyTokens = void (*)(const void* token_panel, const void* row_panel, std::int64_t d, float* products,
                                const char* ahead);
struct HeadTiles {
  Tiles tokens, rows;  // the former's left side, the latter's right side
  MultiplyTokens multiply;
  MultiplyTokens multiply_half;  // the same where there are no rows in the second half
};

}  // namespace dataprophet::cpu
