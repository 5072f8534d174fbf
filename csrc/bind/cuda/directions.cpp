#include "bind/cuda/arguments.hpp"
#include "bind/cuda/operations.hpp"
#include "cuda/average_directions.hpp"
#include "cuda/cosine_to.hpp"
#include "cuda/mean_direction.hpp"
#include "cuda/measure_rows.hpp"
#include "cuda/nearest.hpp"

namespace py = pybind11;

namespace dataprophet::cuda::bindings {

void mean_direction(py::handle x, py::handle out, py::handle bad, py::handle workspace, std::uintptr_t stream) {
  Arguments arguments;
  const Rows rows = arguments.rows(x, "x");
  require(rows.n > 0 && rows.d > 0, "x must not be empty");
  auto* mean = arguments.array<double>(out, "out", Element::f64, rows.d);
  BadRows* counts = arguments.bad_rows(bad);
  void* scratch = arguments.workspace(workspace, mean_direction_workspace_bytes(rows.n, rows.d));
  enqueue(arguments, stream, [&](Stream on) { cuda::mean_direction(rows, mean, counts, scratch, on); });
}

void cosine_to(py::handle x, py::handle directions, py::handle out, py::handle bad, py::handle workspace,
               std::uintptr_t stream) {
  Arguments arguments;
  const Rows rows = arguments.rows(x, "x"), given = arguments.rows(directions, "directions");
  require(rows.n > 0 && rows.d > 0, "x must not be empty");
  require(given.n > 0 && given.d == rows.d, "directions must have a row, and as many columns as x");
  const auto* vectors = arguments.array<float>(directions, "directions", Element::f32, given.n * given.d);
  require(reinterpret_cast<std::uintptr_t>(vectors) % 16 == 0, "directions must start at a multiple of 16 bytes");
  auto* cosines = arguments.array<float>(out, "out", Element::f32, rows.n * given.n);
  BadRows* counts = arguments.bad_rows(bad);
  void* scratch = arguments.workspace(workspace, cosine_to_workspace_bytes(given.n, rows.d));
  enqueue(arguments, stream, [&](Stream on) { cuda::cosine_to(rows, vectors, given.n, cosines, counts, scratch, on); });
}

void measure_rows(py::handle x, py::handle directions, py::handle groups, py::handle order, py::handle cosines,
                  py::handle lengths, py::handle sums, py::handle workspace, std::uintptr_t stream) {
  Arguments arguments;
  const Rows rows = arguments.rows(x, "x"), given = arguments.rows(directions, "directions");
  require(rows.n > 0 && rows.d > 0, "x must not be empty");
  require(given.d == rows.d, "directions must have as many columns as x");
  const auto* vectors = arguments.array<float>(directions, "directions", Element::f32, given.n * given.d);
  require(reinterpret_cast<std::uintptr_t>(vectors) % 16 == 0, "directions must start at a multiple of 16 bytes");
  const std::int64_t count = py::len(sums);
  const auto* own = arguments.array<std::int64_t>(groups, "groups", Element::i64, rows.n);
  const auto* places = arguments.array<std::int64_t>(order, "order", Element::i64, rows.n);
  const RowMeasures out{arguments.array<float>(cosines, "cosines", Element::f32, rows.n * given.n),
                        arguments.array<double>(lengths, "lengths", Element::f64, rows.n),
                        arguments.array<unsigned long long>(sums, "sums", Element::i64, count * rows.d)};
  void* scratch = arguments.workspace(workspace, measure_rows_workspace_bytes(rows.n, given.n, rows.d));
  enqueue(arguments, stream,
          [&](Stream on) { cuda::measure_rows(rows, vectors, given.n, own, places, count, out, scratch, on); });
}

void average_directions(const std::vector<py::object>& fields, py::handle chosen, py::handle weights, py::handle out,
                        py::handle norms, std::uintptr_t stream) {
  Arguments arguments;
  std::vector<Rows> given;
  for (const py::object& field : fields) given.push_back(arguments.rows(field, "field"));
  require(!given.empty() && given.size() <= kMostFields, "expected 1 to 4 fields");
  const std::int64_t m = py::len(chosen), d = given[0].d, count = static_cast<std::int64_t>(given.size());
  for (const Rows& rows : given) require(rows.d == d && rows.n > 0, "fields must have rows of as many columns");
  const auto* places = arguments.array<std::int64_t>(chosen, "chosen", Element::i64, m);
  const auto* scales = arguments.array<RowWeight>(weights, "weights", Element::f32, count * m * 2);
  auto* halves = arguments.array<std::uint16_t>(out, "out", Element::f16, m * d);
  auto* lengths = arguments.array<float>(norms, "norms", Element::f32, m);
  enqueue(arguments, stream, [&](Stream on) {
    cuda::average_directions(given.data(), static_cast<int>(count), places, m, scales, halves, lengths, on);
  });
}

void nearest(py::handle x, py::handle y, py::handle cosine, py::handle index, py::handle bad_x, py::handle bad_y,
             py::handle workspace, std::uintptr_t stream) {
  Arguments arguments;
  const Rows rows = arguments.rows(x, "x"), others = arguments.rows(y, "y");
  require(rows.n > 0 && rows.d > 0 && others.n > 0, "x and y must not be empty");
  require(others.d == rows.d, "y must have as many columns as x");
  require(others.n <= std::int64_t{0xffffffff}, "y must have fewer than 2^32 rows");
  auto* cosines = arguments.array<float>(cosine, "cosine", Element::f32, rows.n);
  auto* places = arguments.array<std::int64_t>(index, "index", Element::i64, rows.n);
  BadRows *x_counts = arguments.bad_rows(bad_x), *y_counts = arguments.bad_rows(bad_y);
  void* scratch = arguments.workspace(workspace, nearest_workspace_bytes(rows.n, others.n, rows.d));
  enqueue(arguments, stream,
          [&](Stream on) { cuda::nearest(rows, others, cosines, places, x_counts, y_counts, scratch, on); });
}

}  // namespace dataprophet::cuda::bindings
