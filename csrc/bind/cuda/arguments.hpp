// Checks of device arrays that several operations share.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "bind/array.hpp"
#include "cuda/device.hpp"
#include "cuda/rows.hpp"

namespace dataprophet::cuda::bindings {

inline void require(bool condition, const std::string& message) {
  if (!condition) throw pybind11::value_error(message);
}

// Arrays of one call: all on the device of the first.
class Arguments {
 public:
  // Rows of float32, float16 or bfloat16 without gaps in themselves.
  Rows rows(pybind11::handle source, const char* name) {
    const Array x = take(source, name);
    require(x.ndim() == 2 && is_row(x.element()),
            std::string(name) + " must be float32, float16 or bfloat16 of two dimensions");
    require(x.shape(0) <= 1 || x.stride(0) >= 0, std::string(name) + " must not run backwards");
    require(x.shape(0) == 0 || x.shape(1) <= 1 || x.stride(1) == 1,
            std::string(name) + " must have unit stride along its rows");
    return {x.data(), x.shape(0), x.shape(1), x.shape(0) <= 1 ? x.shape(1) : x.stride(0), x.element()};
  }

  // A contiguous array of at least that many elements.
  template <class T>
  T* array(pybind11::handle source, const char* name, Element element, std::int64_t count) {
    const Array a = take(source, name);
    const std::int64_t size = a.ndim() == 1 ? a.shape(0) : a.shape(0) * a.shape(1);
    const int last = a.ndim() - 1;
    const bool packed = size == 0 || ((a.shape(last) <= 1 || a.stride(last) == 1) &&
                                      (last == 0 || a.shape(0) <= 1 || a.stride(0) == a.shape(1)));
    require(a.element() == element && packed && size >= count,
            std::string(name) + " must be contiguous, of the right dtype and hold " + std::to_string(count) +
                " elements; it holds " + std::to_string(size));
    return static_cast<T*>(a.writable<void>());
  }
  template <class T>
  T* array_or_null(pybind11::handle source, const char* name, Element element, std::int64_t count) {
    return source.is_none() ? nullptr : array<T>(source, name, element, count);
  }
  BadRows* bad_rows(pybind11::handle source) { return array<BadRows>(source, "bad", Element::i64, kBadRows); }
  void* workspace(pybind11::handle source, std::size_t bytes) {
    return array<void>(source, "workspace", Element::bytes, static_cast<std::int64_t>(bytes));
  }

  int device() const { return device_; }

 private:
  Array take(pybind11::handle source, const char* name) {
    const Array array(source, Memory::cuda);
    require(device_ < 0 || device_ == array.device(), std::string(name) + " is on device " +
                                                          std::to_string(array.device()) + ", not on device " +
                                                          std::to_string(device_));
    device_ = array.device();
    return array;
  }
  int device_ = -1;
};

// Enqueues an operation on a stream of the device of the arguments, without the GIL.
template <class Operation>
void enqueue(const Arguments& arguments, std::uintptr_t stream, const Operation& operation) {
  const pybind11::gil_scoped_release nogil;
  const DeviceGuard guard(arguments.device());
  operation(reinterpret_cast<Stream>(stream));
}

}  // namespace dataprophet::cuda::bindings
