#include "bind/array.hpp"

#include <cstring>
#include <string>

namespace py = pybind11;

namespace dataprophet {
namespace {

Element element_of(const dlpack::DataType& type) {
  if (type.lanes == 1) {
    if (type.code == dlpack::kFloat && type.bits == 32) return Element::f32;
    if (type.code == dlpack::kFloat && type.bits == 16) return Element::f16;
    if (type.code == dlpack::kFloat && type.bits == 64) return Element::f64;
    if (type.code == dlpack::kBfloat && type.bits == 16) return Element::bf16;
    if (type.code == dlpack::kUInt && type.bits == 16) return Element::bf16;  // the bits of an ml_dtypes array
    if (type.code == dlpack::kInt && type.bits == 32) return Element::i32;
    if (type.code == dlpack::kInt && type.bits == 64) return Element::i64;
    if (type.code == dlpack::kUInt && type.bits == 8) return Element::bytes;
  }
  throw py::type_error("expected an array of float32, float16, bfloat16, float64, int32 or int64");
}

Element element_of(const char* format) {
  std::string text = format ? format : "B";
  if (text.size() == 2 && text[0] == '=' && text[1] != 'l') text.erase(0, 1);  // so NumPy calls what is not aligned
  if (text == "f") return Element::f32;
  if (text == "e") return Element::f16;
  if (text == "d") return Element::f64;
  if (text == "H") return Element::bf16;
  if (text == "i") return Element::i32;
  if (text == "l" || text == "q") return Element::i64;
  throw py::type_error(
      "expected an array of float32, float16, bfloat16, float64, int32 or int64, got the buffer format '" + text + "'");
}

// The capsule of a producer. Those that predate DLPack 1.0 do not know max_version. On CUDA, stream -1 asks it not to
// wait: the operation runs on the stream that the producer uses.
py::object capsule_of(py::handle source, Memory memory) {
  py::dict options;
  if (memory == Memory::cuda) options["stream"] = -1;
  try {
    return source.attr("__dlpack__")(py::arg("max_version") = py::make_tuple(1, 0), **options);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
  }
  return source.attr("__dlpack__")(**options);
}

bool on_cuda(std::int32_t type) { return type == dlpack::kCuda || type == dlpack::kCudaManaged; }

template <class Managed>
Managed* take(py::handle capsule, const char* name, const char* used_name) {
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), name));
  if (!managed || PyCapsule_SetName(capsule.ptr(), used_name) != 0) throw py::error_already_set();
  return managed;
}

template <class Managed>
std::shared_ptr<void> own(Managed* managed) {
  return std::shared_ptr<void>(managed, [managed](void*) {
    if (managed->deleter) managed->deleter(managed);
  });
}

}  // namespace

Array::Array(py::handle source, Memory memory) : memory_(memory) {
  if (!py::hasattr(source, "__dlpack__")) {
    if (memory == Memory::cuda) throw py::type_error("expected a CUDA array with __dlpack__");
    from_buffer(source);
    return;
  }
  try {
    from_dlpack(source);
  } catch (py::error_already_set& error) {
    // NumPy before 2.1 exports no read-only array through DLPack, but does through the buffer protocol.
    if (memory == Memory::cuda || !error.matches(PyExc_BufferError) || !PyObject_CheckBuffer(source.ptr())) throw;
    from_buffer(source);
  }
}

void Array::from_dlpack(py::handle source) {
  // A producer of CPU memory would refuse the stream with an error of its own.
  if (memory_ == Memory::cuda && !on_cuda(source.attr("__dlpack_device__")().cast<py::tuple>()[0].cast<int>())) {
    throw py::value_error("expected an array in CUDA memory");
  }
  const py::object capsule = capsule_of(source, memory_);
  const char* name = PyCapsule_GetName(capsule.ptr());
  if (name && !std::strcmp(name, "dltensor_versioned")) {
    auto* managed = take<dlpack::ManagedVersioned>(capsule, name, "used_dltensor_versioned");
    owner_ = own(managed);
    if (managed->version.major != 1) throw py::buffer_error("this DLPack version is not known; expected 1.x");
    readonly_ = (managed->flags & dlpack::kReadOnly) != 0;
    adopt(managed->tensor);
  } else if (name && !std::strcmp(name, "dltensor")) {
    auto* managed = take<dlpack::Managed>(capsule, name, "used_dltensor");
    owner_ = own(managed);
    adopt(managed->tensor);
  } else {
    throw py::buffer_error("__dlpack__ returned no DLPack capsule");
  }
}

void Array::adopt(const dlpack::Tensor& tensor) {
  const std::int32_t type = tensor.device.type;
  if (memory_ == Memory::host && type != dlpack::kCpu && type != dlpack::kCudaHost) {
    throw py::value_error("expected an array in CPU memory");
  }
  if (memory_ == Memory::cuda && !on_cuda(type)) throw py::value_error("expected an array in CUDA memory");
  device_ = tensor.device.id;
  if (tensor.ndim < 1 || tensor.ndim > 2) throw py::value_error("expected an array of one or two dimensions");
  element_ = element_of(tensor.dtype);
  ndim_ = tensor.ndim;
  data_ = static_cast<char*>(tensor.data) + tensor.byte_offset;
  for (int axis = 0; axis < ndim_; ++axis) shape_[axis] = tensor.shape[axis];
  for (int axis = ndim_ - 1, step = 0; axis >= 0; --axis, ++step) {
    stride_[axis] = tensor.strides ? tensor.strides[axis] : step == 0 ? 1 : shape_[axis + 1];
  }
}

void Array::from_buffer(py::handle source) {
  auto view = std::make_unique<Py_buffer>();
  if (PyObject_GetBuffer(source.ptr(), view.get(), PyBUF_STRIDES | PyBUF_FORMAT) != 0) throw py::error_already_set();
  Py_buffer* buffer = view.release();
  owner_ = std::shared_ptr<void>(buffer, [buffer](void*) {
    PyBuffer_Release(buffer);
    delete buffer;
  });
  if (buffer->ndim < 1 || buffer->ndim > 2) throw py::value_error("expected an array of one or two dimensions");
  element_ = element_of(buffer->format);
  ndim_ = buffer->ndim;
  data_ = buffer->buf;
  readonly_ = buffer->readonly != 0;
  for (int axis = 0; axis < ndim_; ++axis) {
    if (buffer->strides[axis] % buffer->itemsize != 0)
      throw py::buffer_error("strides are no multiple of the item size");
    shape_[axis] = buffer->shape[axis];
    stride_[axis] = buffer->strides[axis] / buffer->itemsize;
  }
}

}  // namespace dataprophet
