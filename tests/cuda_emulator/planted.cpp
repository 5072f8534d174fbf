// Kernels with a fault each, which the emulator must find, and one that multiplies two matrices.
#include <cstdint>
#include <cstring>

#include "cuda/launch.cuh"
#include "cuda/ptx.cuh"
#include "cuda_bf16.h"
#include "cuda_fp16.h"

namespace cuda = dataprophet::cuda;
namespace ptx = dataprophet::cuda::ptx;

namespace {

__global__ void beyond_global(const float* in, float* out) { out[threadIdx.x] = in[threadIdx.x + 1]; }

__global__ void beyond_shared(const float* in, float* out) {
  float* shared = cuda::dynamic_shared<float>();
  shared[threadIdx.x + 1] = in[threadIdx.x];
  out[threadIdx.x] = shared[threadIdx.x + 1];
}

__global__ void misaligned(const float* in, float* out) {
  const float4 four = *reinterpret_cast<const float4*>(in + 1);
  if (threadIdx.x == 0) out[0] = four.x;
}

__global__ void no_barrier(const float* in, float* out) {
  float* shared = cuda::dynamic_shared<float>();
  shared[threadIdx.x] = in[threadIdx.x];
  out[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

__global__ void no_wait(const float* in, float* out) {
  float* shared = cuda::dynamic_shared<float>();
  shared[threadIdx.x] = 0.0f;
  if (threadIdx.x % 4 == 0) ptx::cp_async_16(shared + threadIdx.x, in + threadIdx.x);
  ptx::cp_async_commit();
  ptx::cp_async_wait<1>();  // leaves the one group that there is
  __syncthreads();
  out[threadIdx.x] = shared[threadIdx.x];
}

__global__ void barrier_for_some(const float* in, float* out) {
  if (threadIdx.x < 32) __syncthreads();
  out[threadIdx.x] = in[threadIdx.x];
}

__global__ void shuffle_for_some(const float* in, float* out) {
  out[threadIdx.x] = in[threadIdx.x];
  if (threadIdx.x % 2) out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, in[threadIdx.x], 1);
}

// out[16][8] = a[16][16] b[8][16]^T by one warp. Elements go to the lanes by ldmatrix.
__global__ void multiply(const __half* a, const __half* b, float* out) {
  __half* shared = cuda::dynamic_shared<__half>();
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 256; i += 32) shared[i] = a[i];
  for (int i = lane; i < 128; i += 32) shared[256 + i] = b[i];
  __syncthreads();
  std::uint32_t left[4], right[4];
  ptx::ldmatrix_x4(left, shared + lane % 16 * 16 + lane / 16 * 8);
  ptx::ldmatrix_x4(right, shared + 256 + lane % 8 * 16 + lane / 8 % 2 * 8);
  float sums[4] = {};
  ptx::mma_m16n8k16<__half>(sums, left, right[0], right[1]);
  for (int i = 0; i < 4; ++i) out[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

}  // namespace

extern "C" {

// Runs a kernel on 64 threads, with as many floats in, out and in shared memory. Returns the error, or null.
const char* planted(const char* name, const float* in, float* out) {
  struct Fault {
    const char* name;
    void (*kernel)(const float*, float*);
  };
  constexpr Fault kFaults[] = {{"beyond_global", beyond_global},
                               {"beyond_shared", beyond_shared},
                               {"misaligned", misaligned},
                               {"no_barrier", no_barrier},
                               {"no_wait", no_wait},
                               {"barrier_for_some", barrier_for_some},
                               {"shuffle_for_some", shuffle_for_some}};
  static std::string message;
  try {
    for (const Fault& fault : kFaults) {
      if (!std::strcmp(fault.name, name)) cuda::launch(fault.kernel, dim3(1), 64, 64 * sizeof(float), nullptr, in, out);
    }
    return nullptr;
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
}

void convert(const float* in, std::int64_t n, std::uint16_t* half, std::uint16_t* bfloat, float* back) {
  for (std::int64_t i = 0; i < n; ++i) {
    half[i] = __float2half_rn(in[i]).bits;
    bfloat[i] = __float2bfloat16_rn(in[i]).bits;
    back[i] = __half2float({half[i]});
  }
}

void multiply_matrices(const std::uint16_t* a, const std::uint16_t* b, float* out) {
  cuda::launch(multiply, dim3(1), 32, 384 * sizeof(__half), nullptr, reinterpret_cast<const __half*>(a),
               reinterpret_cast<const __half*>(b), out);
}
}
