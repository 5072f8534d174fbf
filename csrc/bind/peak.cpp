#include "cpu/peak.hpp"

#include "bind/arguments.hpp"
#include "bind/operations.hpp"
#include "cpu/isa.hpp"

namespace py = pybind11;

namespace dataprophet::bind {

double spin(bool bfloat, std::int64_t rounds, int threads, const std::string& isa) {
  const cpu::Kernels& kernels = cpu::kernels(isa);
  const py::gil_scoped_release nogil;
  return cpu::spin(kernels, bfloat, rounds, threads);
}

std::uint32_t read(Any x_object, int threads, const std::string& isa) {
  const cpu::Kernels& kernels = cpu::kernels(isa);
  const Array x(x_object);
  require(x.ndim() == 2 && contiguous(x) && is_row(x.element()), "x must be contiguous rows");
  const py::gil_scoped_release nogil;
  return cpu::read(kernels, x.data(), x.shape(0) * x.shape(1) * (x.element() == Element::f32 ? 4 : 2), threads);
}

}  // namespace dataprophet::bind
