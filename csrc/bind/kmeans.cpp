#include "cpu/kmeans.hpp"

#include <limits>
#include <optional>

#include "bind/arguments.hpp"
#include "bind/array.hpp"
#include "bind/operations.hpp"
#include "cpu/isa.hpp"

namespace py = pybind11;

namespace dataprophet::bind {

std::tuple<double, std::int64_t, Report> kmeans(Any x_object, const std::optional<Doubles>& init_object,
                                                const Doubles& draws_object, const Floats& centroids_object,
                                                const Int64s& labels_object, std::int64_t max_iter, double tol,
                                                int threads, const std::string& isa) {
  const cpu::Kernels& kernels = cpu::kernels(isa);
  const Array x(x_object), draws(draws_object), centroids(centroids_object), labels(labels_object);
  const cpu::Rows rows = rows_of(x);
  require(centroids.ndim() == 2 && centroids.shape(1) == rows.d && centroids.element() == Element::f32 &&
              contiguous(centroids),
          "centroids must be a contiguous float32 array of x.shape[1] columns");
  const std::int64_t k = centroids.shape(0);
  require(k >= 1 && k <= x.shape(0) && k <= std::numeric_limits<std::int32_t>::max(), "k must be in [1, rows of x]");
  require(labels.ndim() == 1 && labels.shape(0) == x.shape(0) && labels.element() == Element::i64 && contiguous(labels),
          "labels must be a contiguous int64 array of an element for each row of x");
  require(!centroids.readonly() && !labels.readonly(), "centroids or labels are read-only");
  require(draws.ndim() == 1 && draws.shape(0) == 1 + cpu::kCandidates * (k - 1) && draws.element() == Element::f64 &&
              contiguous(draws),
          "draws must be a contiguous float64 array of 1 + 4 * (k - 1) elements");
  const auto* uniforms = static_cast<const double*>(draws.data());
  for (std::int64_t i = 0; i < draws.shape(0); ++i) {
    require(uniforms[i] >= 0.0 && uniforms[i] < 1.0, "draws must be in [0, 1)");
  }
  require(max_iter >= 0 && tol >= 0.0, "max_iter and tol must not be negative");
  cpu::KMeansOptions options{k, nullptr, uniforms, max_iter, tol, threads};
  const auto init = optional_array(init_object);
  if (init) {
    require(init->ndim() == 2 && init->shape(0) == k && init->shape(1) == rows.d && init->element() == Element::f64 &&
                contiguous(*init),
            "init must be a contiguous float64 array of the shape of centroids");
    options.init = static_cast<const double*>(init->data());
  }
  cpu::KMeansResult result;
  {
    const py::gil_scoped_release nogil;
    result = cpu::kmeans(kernels, x.element(), rows, x.shape(0), options, centroids.writable<float>(),
                         labels.writable<std::int64_t>());
  }
  return {result.inertia, result.n_iter, report(result.bad)};
}

}  // namespace dataprophet::bind
