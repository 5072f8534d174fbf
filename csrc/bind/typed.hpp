// Types of arguments and results as the stubs of the compiled modules tell them to Python's type checkers.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <tuple>

namespace dataprophet::bind {

// An array of NumPy with elements of T. The type is for the reader and for mypy: what an array holds is checked by the
// operation that takes it, so that its error can say what was wrong.
template <class T>
class NDArray : public pybind11::object {
  static bool accepts(PyObject* /*object*/) { return true; }

 public:
  PYBIND11_OBJECT(NDArray, pybind11::object, accepts)
};
struct Half;  // float16

using Floats = NDArray<float>;
using Doubles = NDArray<double>;
using Halves = NDArray<Half>;
using Int32s = NDArray<std::int32_t>;
using Int64s = NDArray<std::int64_t>;

// Zero rows, non-finite rows, and the first of either or -1.
using Report = std::tuple<std::int64_t, std::int64_t, std::int64_t>;

}  // namespace dataprophet::bind

namespace pybind11::detail {

template <>
struct handle_type_name<dataprophet::bind::Floats> {
  static constexpr auto name = const_name("numpy.typing.NDArray[numpy.float32]");
};
template <>
struct handle_type_name<dataprophet::bind::Doubles> {
  static constexpr auto name = const_name("numpy.typing.NDArray[numpy.float64]");
};
template <>
struct handle_type_name<dataprophet::bind::Halves> {
  static constexpr auto name = const_name("numpy.typing.NDArray[numpy.float16]");
};
template <>
struct handle_type_name<dataprophet::bind::Int32s> {
  static constexpr auto name = const_name("numpy.typing.NDArray[numpy.int32]");
};
template <>
struct handle_type_name<dataprophet::bind::Int64s> {
  static constexpr auto name = const_name("numpy.typing.NDArray[numpy.int64]");
};

}  // namespace pybind11::detail
