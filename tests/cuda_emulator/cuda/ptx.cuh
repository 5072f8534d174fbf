// Stands in for csrc/cuda/ptx.cuh, after the PTX ISA: "Matrix Fragments for mma.m16n8k16 with floating point type",
// "Warp-level matrix load instruction: ldmatrix" and "cp.async". It is written from there, not from how kernels use it.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "emulator.hpp"

namespace dataprophet::cuda::ptx {

inline void check_aligned(const void* pointer) {
  if (reinterpret_cast<std::uintptr_t>(pointer) % 16) emulator::fail("an address that is no multiple of 16");
}

inline void cp_async_16(void* shared, const void* global) {
  check_aligned(shared);
  check_aligned(global);
  emulator::copy_later(shared, global, 16);
}
inline void cp_async_commit() { emulator::close_copies(); }
template <int Groups>
void cp_async_wait() {
  emulator::wait_copies(Groups);
}

struct LoadMatrix {
  const void* row;
  std::uint32_t* out;
};

inline void ldmatrix_x4(std::uint32_t (&out)[4], const void* shared) {
  check_aligned(shared);
  LoadMatrix mine{shared, out};
  emulator::warp_operation("ldmatrix", &mine, [](emulator::Lanes lanes) {
    for (int lane = 0; lane < 32; ++lane) {
      for (int matrix = 0; matrix < 4; ++matrix) {
        const void* row = static_cast<LoadMatrix*>(lanes[8 * matrix + lane / 4])->row;
        std::memcpy(&static_cast<LoadMatrix*>(lanes[lane])->out[matrix], static_cast<const char*>(row) + 4 * (lane % 4),
                    4);
      }
    }
  });
}

// Sums of tensor cores are cut off, not rounded: each product is exact, and a sum of eight and what was there before
// loses what is below the last place (Fasi, Higham, Mikaitis and Pranesh, PeerJ Computer Science 7:e330, 2021).
inline float toward_zero(double exact) {
  const auto rounded = static_cast<float>(exact);
  return std::fabs(static_cast<double>(rounded)) > std::fabs(exact) ? std::nextafter(rounded, 0.0f) : rounded;
}

struct Multiply {
  float* c;
  const std::uint32_t* a;
  std::uint32_t b[2];
};

template <class T>
float element_of(std::uint32_t pair, int which) {
  const T element{static_cast<unsigned short>(pair >> (16 * which))};
  if constexpr (std::is_same_v<T, __half>) return __half2float(element);
  if constexpr (std::is_same_v<T, __nv_bfloat16>) return __bfloat162float(element);
}

template <class T>
void mma_m16n8k16(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  Multiply mine{c, a, {b0, b1}};
  emulator::warp_operation("mma.m16n8k16", &mine, [](emulator::Lanes lanes) {
    double left[16][16], right[16][8];
    for (int lane = 0; lane < 32; ++lane) {
      const auto* from = static_cast<Multiply*>(lanes[lane]);
      const int group = lane / 4, within = lane % 4;
      for (int i = 0; i < 8; ++i) {
        const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
        const int column = within * 2 + (i & 1) + (i >= 4 ? 8 : 0);
        left[row][column] = element_of<T>(from->a[i / 2], i % 2);
      }
      for (int i = 0; i < 4; ++i)
        right[within * 2 + (i & 1) + (i >= 2 ? 8 : 0)][group] = element_of<T>(from->b[i / 2], i % 2);
    }
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < 4; ++i) {
        const int row = i < 2 ? lane / 4 : lane / 4 + 8, column = lane % 4 * 2 + (i & 1);
        float& sum = static_cast<Multiply*>(lanes[lane])->c[i];
        for (int start = 0; start < 16; start += 8) {
          double exact = sum;
          for (int k = start; k < start + 8; ++k) exact += left[row][k] * right[k][column];
          sum = toward_zero(exact);
        }
      }
    }
  });
}

// Two places short of right, as the hardware may be; denormal numbers count as 0.
inline float two_places_off(double x) { return std::nextafter(std::nextafter(static_cast<float>(x), 0.0f), 0.0f); }
inline float sqrt_approx(float x) { return x < 0x1p-126f ? 0.0f : two_places_off(std::sqrt(static_cast<double>(x))); }
inline float rsqrt_approx(float x) {
  return x < 0x1p-126f ? INFINITY : two_places_off(1.0 / std::sqrt(static_cast<double>(x)));
}

}  // namespace dataprophet::cuda::ptx
