// How many blocks a kernel is launched with.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "cuda/error.hpp"

namespace dataprophet::cuda {

constexpr std::int64_t kMostBlocks = 0x7fffffff, kMostBlocksAcross = 65535;

inline dim3 grid(std::int64_t blocks, std::int64_t across = 1) {
  if (blocks > kMostBlocks || across > kMostBlocksAcross) {
    throw CudaError("the arrays are too large for a grid of " + std::to_string(blocks) + " x " +
                    std::to_string(across) + " blocks");
  }
  return dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(across));
}

// Calls launch(first block, number of blocks) for parts of a grid that may be larger than CUDA allows.
template <class Launch>
void for_parts_of_grid(std::int64_t blocks, const Launch& launch) {
  constexpr std::int64_t kPart = std::int64_t{1} << 30;
  for (std::int64_t first = 0; first < blocks; first += kPart) launch(first, std::min(kPart, blocks - first));
}

}  // namespace dataprophet::cuda
