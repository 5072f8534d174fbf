// Checks of arguments that several operations share.
#pragma once

#include <pybind11/pybind11.h>

#include "bind/array.hpp"
#include "bind/typed.hpp"
#include "cpu/simd/kernels.hpp"

namespace dataprophet::bind {

inline void require(bool condition, const char* message) {
  if (!condition) throw pybind11::value_error(message);
}

inline bool contiguous(const Array& a) {
  const int last = a.ndim() - 1;
  if (a.shape(0) == 0 || a.shape(last) == 0) return true;  // strides of an empty array mean nothing
  return (a.shape(last) <= 1 || a.stride(last) == 1) && (a.ndim() == 1 || a.shape(0) <= 1 || a.stride(0) == a.shape(1));
}

inline cpu::Rows rows_of(const Array& x) {
  require(x.ndim() == 2, "x must have two dimensions");
  require(is_row(x.element()), "x must be float32, float16 or bfloat16");
  require(x.shape(0) == 0 || x.shape(1) <= 1 || x.stride(1) == 1, "x must have unit stride along its rows");
  return {x.data(), x.stride(0), x.shape(1)};
}

template <class T>
std::optional<Array> optional_array(const std::optional<NDArray<T>>& given) {
  if (!given) return std::nullopt;
  return Array(*given);
}

inline Report report(const cpu::BadRows& bad) { return {bad.zero, bad.nonfinite, bad.first}; }

}  // namespace dataprophet::bind
