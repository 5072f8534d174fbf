// Elements of rows as floats, 16 bytes at a time where the rows allow it.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cuda/error.hpp"
#include "cuda/rows.hpp"

namespace dataprophet::cuda {

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

// V neighbouring elements as they are in memory: one, or as many as 16 bytes hold.
template <class T, int V>
struct Pack {
  uint4 bits;
  __device__ void load(const T* from) { bits = *reinterpret_cast<const uint4*>(from); }
  __device__ void clear() { bits = make_uint4(0, 0, 0, 0); }
  __device__ void unpack(float (&to)[V]) const {
    static_assert(V * sizeof(T) == sizeof(bits));
    if constexpr (std::is_same_v<T, __nv_bfloat16>) {  // the upper half of a float: one instruction each
      const unsigned pairs[V / 2] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
      for (int i = 0; i < V; ++i) to[i] = __uint_as_float(i % 2 ? pairs[i / 2] & 0xffff0000u : pairs[i / 2] << 16);
    } else {
      T elements[V];
      memcpy(elements, &bits, sizeof(bits));
#pragma unroll
      for (int i = 0; i < V; ++i) to[i] = to_float(elements[i]);
    }
  }
};

template <class T>
struct Pack<T, 1> {
  T element;
  __device__ void load(const T* from) { element = *from; }
  __device__ void clear() { memset(&element, 0, sizeof(T)); }
  __device__ void unpack(float (&to)[1]) const { to[0] = to_float(element); }
};

template <class T, int V>
__device__ inline void load(const T* from, float (&to)[V]) {
  Pack<T, V> pack;
  pack.load(from);
  pack.unpack(to);
}

// V floats of a vector that the operation itself keeps: aligned to 16 bytes wherever V is 4 or 8.
template <int V>
__device__ inline void load_floats(const float* from, float (&to)[V]) {
  if constexpr (V == 1) {
    to[0] = *from;
  } else {
#pragma unroll
    for (int i = 0; i < V; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      to[i] = four.x, to[i + 1] = four.y, to[i + 2] = four.z, to[i + 3] = four.w;
    }
  }
}

inline std::int64_t element_bytes(Element element) { return element == Element::f32 ? 4 : 2; }

// Whether each row starts at a multiple of 16 bytes and fills whole ones.
inline bool whole_packs(const Rows& rows) {
  const std::int64_t bytes = element_bytes(rows.element);
  return reinterpret_cast<std::uintptr_t>(rows.data) % 16 == 0 && rows.stride * bytes % 16 == 0 &&
         rows.d * bytes % 16 == 0;
}

// Calls body(pointer to the rows, number of elements of a pack) with their types.
template <class Body>
void for_type_of(const Rows& rows, const Body& body) {
  const auto with = [&](auto* data) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
    if (whole_packs(rows)) {
      body(data, std::integral_constant<int, 16 / sizeof(T)>());
    } else {
      body(data, std::integral_constant<int, 1>());
    }
  };
  switch (rows.element) {
    case Element::f32:
      return with(static_cast<const float*>(rows.data));
    case Element::f16:
      return with(static_cast<const __half*>(rows.data));
    case Element::bf16:
      return with(static_cast<const __nv_bfloat16*>(rows.data));
    default:
      throw CudaError("rows must be float32, float16 or bfloat16");
  }
}

}  // namespace dataprophet::cuda
