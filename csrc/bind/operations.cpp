#include "bind/operations.hpp"

#include "bind/array.hpp"
#include "cpu/cosine_to.hpp"
#include "cpu/isa.hpp"
#include "cpu/mean_direction.hpp"

namespace py = pybind11;

namespace dataprophet::bind {
namespace {

void require(bool condition, const char* message) {
  if (!condition) throw py::value_error(message);
}

bool contiguous(const Array& a) {
  const int last = a.ndim() - 1;
  if (a.shape(0) == 0 || a.shape(last) == 0) return true;  // strides of an empty array mean nothing
  return (a.shape(last) <= 1 || a.stride(last) == 1) && (a.ndim() == 1 || a.shape(0) <= 1 || a.stride(0) == a.shape(1));
}

cpu::Rows rows_of(const Array& x) {
  require(x.ndim() == 2, "x must have two dimensions");
  require(x.element() != Element::f64, "x must be float32, float16 or bfloat16");
  require(x.shape(0) == 0 || x.shape(1) <= 1 || x.stride(1) == 1, "x must have unit stride along its rows");
  return {x.data(), x.stride(0), x.shape(1)};
}

py::tuple report(const cpu::BadRows& bad) { return py::make_tuple(bad.zero, bad.nonfinite, bad.first); }

}  // namespace

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
