// A few directions in the layout that kernels read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu/buffer.hpp"
#include "cpu/simd/direction_kernels.hpp"

namespace dataprophet::cpu {

// Directions [count][d] as the kernels read them.
class PackedDirections {
 public:
  PackedDirections(const float* directions, std::int64_t count, std::int64_t d, bool tiles) {
    // An odd number of cache lines: directions 4096 bytes apart would compete for a few places of L1.
    pitch_ = ((d + 15) / 16 | 1) * 16;
    count_ = count;
    values_ = zeros<float>(count * pitch_);
    for (std::int64_t t = 0; t < count; ++t) std::copy_n(directions + t * d, d, values_.get() + t * pitch_);
    if (tiles) pack_tiles(directions, d);
  }

  Directions view() const { return {values_.get(), tiles_.get(), count_, pitch_}; }

 private:
  // A tile holds 16 pairs of columns of 16 directions. The parts of a value are its first 8 bits of significand, the
  // next 8 and the last 8, each a bfloat16.
  void pack_tiles(const float* directions, std::int64_t d) {
    constexpr std::int64_t kColumns = 32, kTile = 16 * kColumns;
    const std::int64_t steps = (d + kColumns - 1) / kColumns;
    tiles_ = zeros<std::uint16_t>((count_ + 15) / 16 * steps * 3 * kTile);
    for (std::int64_t t = 0; t < count_; ++t) {
      for (std::int64_t j = 0; j < d; ++j) {
        const std::int64_t step = t / 16 * steps + j / kColumns, pair = j % kColumns / 2;
        std::uint16_t* at = tiles_.get() + step * 3 * kTile + pair * kColumns + t % 16 * 2 + j % 2;
        float rest = directions[t * d + j];
        for (int part = 0; part < 3; ++part) {
          std::uint32_t bits;
          std::memcpy(&bits, &rest, sizeof bits);
          at[part * kTile] = static_cast<std::uint16_t>(bits >> 16);
          bits &= 0xffff0000u;
          float high;
          std::memcpy(&high, &bits, sizeof high);
          rest -= high;
        }
      }
    }
  }

  std::int64_t count_, pitch_;
  Aligned<float> values_;
  Aligned<std::uint16_t> tiles_;
};

}  // namespace dataprophet::cpu
