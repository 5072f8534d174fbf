#include "bind/arguments.hpp"
#include "bind/array.hpp"
#include "bind/operations.hpp"
#include "cpu/cosine_to.hpp"
#include "cpu/isa.hpp"
#include "cpu/mean_direction.hpp"

namespace py = pybind11;

namespace dataprophet::bind {
py::tuple mean_direction(py::handle x_object, py::handle out_object, int threads, const std::string& isa) {
  const cpu::Kernels& kernels = cpu::kernels(isa);
  const Array x(x_object), out(out_object);
  const cpu::Rows rows = rows_of(x);
  require(out.ndim() == 1 && out.shape(0) == rows.d && out.element() == Element::f64 && contiguous(out),
          "out must be a contiguous float64 array of x.shape[1] elements");
  require(!out.readonly(), "out is read-only");
  cpu::BadRows bad;
  {
    const py::gil_scoped_release nogil;
    bad = cpu::mean_direction(kernels, x.element(), rows, x.shape(0), threads, out.writable<double>());
  }
  return report(bad);
}

py::tuple cosine_to(py::handle x_object, py::handle directions_object, py::handle out_object, int threads,
                    const std::string& isa) {
  const cpu::Kernels& kernels = cpu::kernels(isa);
  const Array x(x_object), directions(directions_object), out(out_object);
  const cpu::Rows rows = rows_of(x);
  require(directions.ndim() == 2 && directions.shape(1) == rows.d && directions.element() == Element::f32 &&
              contiguous(directions),
          "directions must be a contiguous float32 array of x.shape[1] columns");
  require(out.ndim() == 2 && out.shape(0) == x.shape(0) && out.shape(1) == directions.shape(0) &&
              out.element() == Element::f32 && contiguous(out),
          "out must be a contiguous float32 array of a row for each row of x and a column for each direction");
  require(!out.readonly(), "out is read-only");
  cpu::BadRows bad;
  {
    const py::gil_scoped_release nogil;
    bad = cpu::cosine_to(kernels, x.element(), rows, x.shape(0), static_cast<const float*>(directions.data()),
                         directions.shape(0), threads, out.writable<float>());
  }
  return report(bad);
}

}  // namespace dataprophet::bind
