#include "cpu/hash_texts.hpp"

#include <algorithm>
#include <cstring>

#include "cpu/parallel.hpp"

namespace dataprophet::cpu {
namespace {

constexpr std::int64_t kBlock = 128;
constexpr std::uint64_t kStart[8] = {0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
                                     0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};
constexpr std::uint8_t kOrder[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

std::uint64_t rotated(std::uint64_t value, int by) { return value >> by | value << (64 - by); }

void mix(std::uint64_t* v, int a, int b, int c, int d, std::uint64_t x, std::uint64_t y) {
  v[a] += v[b] + x;
  v[d] = rotated(v[d] ^ v[a], 32);
  v[c] += v[d];
  v[b] = rotated(v[b] ^ v[c], 24);
  v[a] += v[b] + y;
  v[d] = rotated(v[d] ^ v[a], 16);
  v[c] += v[d];
  v[b] = rotated(v[b] ^ v[c], 63);
}

std::uint64_t word(const std::uint8_t* bytes) {
  std::uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | bytes[i];
  return value;
}

// `total` bytes up to and with this block.
void compress(std::uint64_t* state, const std::uint8_t* block, std::uint64_t total, bool last) {
  std::uint64_t v[16], m[16];
  for (int i = 0; i < 8; ++i) v[i] = state[i];
  for (int i = 0; i < 8; ++i) v[8 + i] = kStart[i];
  v[12] ^= total;
  if (last) v[14] = ~v[14];
  for (int i = 0; i < 16; ++i) m[i] = word(block + 8 * i);
  for (int round = 0; round < 12; ++round) {
    const std::uint8_t* order = kOrder[round % 10];
    for (int i = 0; i < 4; ++i) mix(v, i, 4 + i, 8 + i, 12 + i, m[order[2 * i]], m[order[2 * i + 1]]);
    for (int i = 0; i < 4; ++i) {
      mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[order[8 + 2 * i]], m[order[9 + 2 * i]]);
    }
  }
  for (int i = 0; i < 8; ++i) state[i] ^= v[i] ^ v[8 + i];
}

std::uint64_t hash(const std::uint8_t* text, std::int64_t size) {
  constexpr std::uint64_t kDigestBytes = 8, kNoKeyOneNode = 0x01010000;
  std::uint64_t state[8];
  std::copy_n(kStart, 8, state);
  state[0] ^= kNoKeyOneNode ^ kDigestBytes;
  std::int64_t at = 0;
  for (; size - at > kBlock; at += kBlock) compress(state, text + at, static_cast<std::uint64_t>(at + kBlock), false);
  std::uint8_t rest[kBlock] = {};
  if (size > at) std::memcpy(rest, text + at, static_cast<std::size_t>(size - at));
  compress(state, rest, static_cast<std::uint64_t>(size), true);
  return state[0];
}

}  // namespace

void hash_texts(const std::uint8_t* data, const std::int64_t* offsets, std::int64_t n, int threads,
                std::uint64_t* out) {
  constexpr std::int64_t kAtOnce = 1024;
  parallel_for((n + kAtOnce - 1) / kAtOnce, threads, [&](std::int64_t part) {
    const std::int64_t end = std::min(n, (part + 1) * kAtOnce);
    for (std::int64_t i = part * kAtOnce; i < end; ++i) out[i] = hash(data + offsets[i], offsets[i + 1] - offsets[i]);
  });
}

}  // namespace dataprophet::cpu
