#include "cpu/nearest.hpp"

#include "bind/arguments.hpp"
#include "bind/array.hpp"
#include "bind/operations.hpp"
#include "cpu/isa.hpp"

namespace py = pybind11;

namespace dataprophet::bind {

std::pair<Report, Report> nearest(Any x_object, Any y_object, const Floats& cosine_object, const Int64s& index_object,
                                  int threads, const std::string& isa) {
  const cpu::Kernels& kernels = cpu::kernels(isa);
  const Array x(x_object), y(y_object), cosine(cosine_object), index(index_object);
  const cpu::Rows rows = rows_of(x), others = rows_of(y);
  require(x.element() == y.element() && rows.d == others.d, "x and y must have the same dtype and columns");
  require(y.shape(0) > 0, "y must have a row");
  require(cosine.ndim() == 1 && cosine.shape(0) == x.shape(0) && cosine.element() == Element::f32 &&
              contiguous(cosine) && !cosine.readonly(),
          "cosine must be a contiguous float32 array of an element for each row of x");
  require(index.ndim() == 1 && index.shape(0) == x.shape(0) && index.element() == Element::i64 && contiguous(index) &&
              !index.readonly(),
          "index must be a contiguous int64 array of an element for each row of x");
  std::pair<cpu::BadRows, cpu::BadRows> bad;
  {
    const py::gil_scoped_release nogil;
    bad = cpu::nearest(kernels, x.element(), rows, x.shape(0), others, y.shape(0), threads, cosine.writable<float>(),
                       index.writable<std::int64_t>());
  }
  return {report(bad.first), report(bad.second)};
}

}  // namespace dataprophet::bind
