#include "bind/arguments.hpp"
#include "bind/array.hpp"
#include "bind/operations.hpp"
#include "cpu/average_directions.hpp"
#include "cpu/cosine_to.hpp"
#include "cpu/isa.hpp"
#include "cpu/mean_direction.hpp"
#include "cpu/measure_rows.hpp"

namespace py = pybind11;

namespace dataprophet::bind {

Report mean_direction(Any x_object, const Doubles& out_object, int threads, const std::string& isa) {
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

Report cosine_to(Any x_object, const Floats& directions_object, const Floats& out_object, int threads,
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

void measure_rows(Any x_object, const Floats& directions_object, const Int64s& groups_object,
                  const Floats& cosines_object, const Doubles& lengths_object, const Doubles& sums_object, int threads,
                  const std::string& isa) {
  const cpu::Kernels& kernels = cpu::kernels(isa);
  const Array x(x_object), directions(directions_object), groups(groups_object), cosines(cosines_object),
      lengths(lengths_object), sums(sums_object);
  const cpu::Rows rows = rows_of(x);
  const std::int64_t n = x.shape(0);
  require(directions.ndim() == 2 && directions.shape(1) == rows.d && directions.element() == Element::f32 &&
              contiguous(directions),
          "directions must be a contiguous float32 array of x.shape[1] columns");
  require(groups.ndim() == 1 && groups.shape(0) == n && groups.element() == Element::i64 && contiguous(groups),
          "groups must be a contiguous int64 array of an element for each row of x");
  require(cosines.ndim() == 2 && cosines.shape(0) == n && cosines.shape(1) == directions.shape(0) &&
              cosines.element() == Element::f32 && contiguous(cosines),
          "cosines must be a contiguous float32 array of a row for each row of x and a column for each direction");
  require(lengths.ndim() == 1 && lengths.shape(0) == n && lengths.element() == Element::f64 && contiguous(lengths),
          "lengths must be a contiguous float64 array of an element for each row of x");
  require(sums.ndim() == 2 && sums.shape(1) == rows.d && sums.element() == Element::f64 && contiguous(sums),
          "sums must be a contiguous float64 array of x.shape[1] columns");
  require(!cosines.readonly() && !lengths.readonly() && !sums.readonly(), "an output is read-only");
  const auto* group = static_cast<const std::int64_t*>(groups.data());
  for (std::int64_t i = 0; i < n; ++i) {
    require(group[i] >= -1 && group[i] < sums.shape(0), "a group is neither -1 nor a row of sums");
  }
  const cpu::RowMeasures out{cosines.writable<float>(), lengths.writable<double>(), sums.writable<double>()};
  const py::gil_scoped_release nogil;
  cpu::measure_rows(kernels, x.element(), rows, n, static_cast<const float*>(directions.data()), directions.shape(0),
                    group, sums.shape(0), threads, out);
}

void average_directions(const std::vector<py::object>& field_objects, const Int64s& chosen_object,
                        const Floats& scales_object, const Halves& out_object, const Floats& norms_object, int threads,
                        const std::string& isa) {
  const cpu::Kernels& kernels = cpu::kernels(isa);
  const Array chosen(chosen_object), scales(scales_object), out(out_object), norms(norms_object);
  require(chosen.ndim() == 1 && chosen.element() == Element::i64 && contiguous(chosen),
          "chosen must be a contiguous int64 array");
  const std::int64_t m = chosen.shape(0);
  require(out.ndim() == 2 && out.shape(0) == m && out.element() == Element::f16 && contiguous(out) && !out.readonly(),
          "out must be a writable, contiguous float16 array of a row for each row chosen");
  require(norms.ndim() == 1 && norms.shape(0) == m && norms.element() == Element::f32 && contiguous(norms) &&
              !norms.readonly(),
          "norms must be a writable, contiguous float32 array of an element for each row chosen");
  require(scales.ndim() == 2 && scales.shape(0) == static_cast<std::int64_t>(field_objects.size()) &&
              scales.shape(1) == m && scales.element() == Element::f32 && contiguous(scales),
          "scales must be a contiguous float32 array of a row for each field and a column for each row chosen");
  const auto* index = static_cast<const std::int64_t*>(chosen.data());
  std::vector<Array> arrays;
  std::vector<cpu::ScaledRows> fields;
  for (const py::object& object : field_objects) {
    const Array& x = arrays.emplace_back(object);
    const cpu::Rows rows = rows_of(x);
    require(rows.d == out.shape(1), "fields and out must have the same number of columns");
    for (std::int64_t i = 0; i < m; ++i) require(index[i] >= 0 && index[i] < x.shape(0), "no such row");
    const auto place = static_cast<std::int64_t>(fields.size());
    fields.push_back({x.element(), rows, static_cast<const float*>(scales.data()) + place * m});
  }
  const py::gil_scoped_release nogil;
  cpu::average_directions(kernels, fields, index, m, out.shape(1), threads, out.writable<std::uint16_t>(),
                          norms.writable<float>());
}

}  // namespace dataprophet::bind
