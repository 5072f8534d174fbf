// cuda/ holds the kernels and their launchers; what every operation takes is here. Plain C++, so that the bindings need
// no CUDA headers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/element.hpp"

namespace dataprophet::cuda {

// A cudaStream_t; the operations enqueue their work there and return.
using Stream = void*;

// Rows in device memory, each without gaps: f32, f16 or bf16. `stride` is in elements.
struct Rows {
  const void* data;
  std::int64_t n, d, stride;
  Element element;
};

// Three counters in device memory, which an operation sets: rows that are all zero, rows with NaN or infinity, and n
// minus the first of either, so that 0 means none. Integer atomics add to them in any order.
using BadRows = unsigned long long;
constexpr int kBadRows = 3;

// Cuts the caller's workspace into arrays. With a null base it only adds up their sizes.
class Workspace {
 public:
  explicit Workspace(void* base) : base_(static_cast<char*>(base)) {}
  template <class T>
  T* take(std::int64_t count) {
    constexpr std::size_t kAlignment = 256;
    T* array = base_ ? reinterpret_cast<T*>(base_ + used_) : nullptr;
    used_ += (static_cast<std::size_t>(count) * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return array;
  }
  std::size_t bytes() const { return used_; }

 private:
  char* base_;
  std::size_t used_ = 0;
};

template <class T>
constexpr T divide_up(T a, T b) {
  return (a + b - 1) / b;
}

template <class T>
constexpr T round_up(T a, T b) {
  return divide_up(a, b) * b;
}

}  // namespace dataprophet::cuda
