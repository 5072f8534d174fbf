// What kernels use of CUDA C++, for g++.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "emulator.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

using cudaStream_t = void*;

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }

using std::max;
using std::min;

inline void __syncthreads() { emulator::block_barrier("__syncthreads"); }
inline int __syncthreads_or(int condition) {
  static int any;
  emulator::block_barrier("__syncthreads_or: all are here");
  any = 0;
  emulator::block_barrier("__syncthreads_or: all is reset");
  any |= condition != 0;
  emulator::block_barrier("__syncthreads_or: all is known");
  return any;
}

namespace emulator {

template <class T>
struct Shuffle {
  T value;
  int source;
  T result;
};

template <class T>
T shuffle(const char* what, unsigned mask, T value, int source) {
  if (mask != 0xffffffffu) fail("a shuffle of a part of a warp");
  Shuffle<T> mine{value, source, T()};
  warp_operation(what, &mine, [](Lanes lanes) {
    for (void* lane : lanes) {
      auto* to = static_cast<Shuffle<T>*>(lane);
      to->result = static_cast<Shuffle<T>*>(lanes[to->source])->value;
    }
  });
  return mine.result;
}

inline int lane() { return static_cast<int>(threadIdx.x) % kWarpSize; }

}  // namespace emulator

template <class T>
T __shfl_sync(unsigned mask, T value, int source) {
  return emulator::shuffle("__shfl_sync", mask, value, source % emulator::kWarpSize);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int step) {
  return emulator::shuffle("__shfl_xor_sync", mask, value, emulator::lane() ^ step);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int step) {
  const int lane = emulator::lane();
  return emulator::shuffle("__shfl_up_sync", mask, value, lane < step ? lane : lane - step);
}
inline unsigned __ballot_sync(unsigned mask, int condition) {
  if (mask != 0xffffffffu) emulator::fail("a vote of a part of a warp");
  struct Vote {
    int condition;
    unsigned result;
  } mine{condition, 0};
  emulator::warp_operation("__ballot_sync", &mine, [](emulator::Lanes lanes) {
    unsigned all = 0;
    for (int i = 0; i < emulator::kWarpSize; ++i) all |= unsigned{static_cast<Vote*>(lanes[i])->condition != 0} << i;
    for (void* lane : lanes) static_cast<Vote*>(lane)->result = all;
  });
  return mine.result;
}
inline int __any_sync(unsigned mask, int condition) { return __ballot_sync(mask, condition) != 0; }
inline void __syncwarp() { __ballot_sync(0xffffffffu, 0); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }

template <class T>
T atomicAdd(T* at, T value) {
  const T before = *at;
  *at = before + value;
  return before;
}
template <class T>
T atomicMax(T* at, T value) {
  const T before = *at;
  *at = std::max(before, value);
  return before;
}
template <class T>
T atomicOr(T* at, T value) {
  const T before = *at;
  *at = before | value;
  return before;
}

template <class To, class From>
To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}
inline float __uint_as_float(unsigned bits) { return bits_as<float>(bits); }
inline unsigned __float_as_uint(float value) { return bits_as<unsigned>(value); }
inline int __float2int_rn(float value) { return static_cast<int>(std::lrint(value)); }
inline long long __float2ll_rn(float value) { return std::llrint(value); }
inline long long __double2ll_rn(double value) { return std::llrint(value); }
