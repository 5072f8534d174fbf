// Hashes of many short texts.
#pragma once

#include <cstdint>

namespace dataprophet::cpu {

// out[i] = BLAKE2b (RFC 7693) with a digest of 8 bytes, read in little-endian order, of the bytes
// [offsets[i], offsets[i + 1]) of `data`.
void hash_texts(const std::uint8_t* data, const std::int64_t* offsets, std::int64_t n, int threads, std::uint64_t* out);

}  // namespace dataprophet::cpu
