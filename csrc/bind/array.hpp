// Intake of arrays from Python: DLPack (versioned and unversioned), and the buffer protocol where there is no DLPack.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>

#include "bind/dlpack.hpp"
#include "cpu/element.hpp"

namespace dataprophet {

enum class Memory : std::uint8_t { host, cuda };

// A borrowed view of an array of one or two dimensions in the memory asked for. It keeps the producer's memory alive;
// it is built and destroyed with the GIL held, and read without it. The data may be misaligned. Memory of a CUDA device
// is ready for work on the producer's current stream only.
class Array {
 public:
  explicit Array(pybind11::handle source, Memory memory = Memory::host);

  int device() const { return device_; }  // number of the CUDA device
  Element element() const { return element_; }
  int ndim() const { return ndim_; }
  std::int64_t shape(int axis) const { return shape_[axis]; }
  std::int64_t stride(int axis) const { return stride_[axis]; }  // in elements
  bool readonly() const { return readonly_; }
  const void* data() const { return data_; }
  template <class T>
  T* writable() const {
    return static_cast<T*>(data_);
  }

 private:
  void from_dlpack(pybind11::handle source);
  void from_buffer(pybind11::handle source);
  void adopt(const dlpack::Tensor& tensor);

  std::shared_ptr<void> owner_;
  void* data_ = nullptr;
  Memory memory_;
  int device_ = 0;
  Element element_ = Element::f32;
  int ndim_ = 0;
  std::int64_t shape_[2] = {0, 0};
  std::int64_t stride_[2] = {0, 0};
  bool readonly_ = false;
};

}  // namespace dataprophet
