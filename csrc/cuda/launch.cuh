// Launching kernels, and what else a host function asks of CUDA. tests/cuda_emulator has a file of this name that runs
// kernels on the CPU.
#pragma once

#include <cuda_runtime.h>

#include "cuda/error.hpp"
#include "cuda/rows.hpp"

namespace dataprophet::cuda {

inline void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // clears the error, which would show up in a later call
  throw CudaError(cudaGetErrorString(status));
}

// Dynamic shared memory of the block, aligned to 16 bytes.
template <class T>
__device__ inline T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char buffer[];
  return reinterpret_cast<T*>(buffer);
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, std::size_t shared, Stream stream,
            Arguments... arguments) {
  constexpr std::size_t kSharedByDefault = 48 << 10;
  if (grid.x == 0 || grid.y == 0) return;
  if (shared > kSharedByDefault) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
  }
  kernel<<<grid, threads, shared, static_cast<cudaStream_t>(stream)>>>(static_cast<Parameters>(arguments)...);
  check(cudaGetLastError());
}

inline void set_zero(void* data, std::size_t bytes, Stream stream) {
  check(cudaMemsetAsync(data, 0, bytes, static_cast<cudaStream_t>(stream)));
}

}  // namespace dataprophet::cuda
