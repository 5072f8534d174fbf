#include "cpu/silhouette.hpp"

#include "bind/arguments.hpp"
#include "bind/array.hpp"
#include "bind/operations.hpp"
#include "cpu/isa.hpp"

namespace py = pybind11;

namespace dataprophet::bind {
namespace {

cpu::Metric metric_of(const std::string& name) {
  if (name == "euclidean") return cpu::Metric::euclidean;
  if (name == "sqeuclidean") return cpu::Metric::sqeuclidean;
  if (name == "cosine") return cpu::Metric::cosine;
  throw py::value_error("metric must be euclidean, sqeuclidean or cosine");
}

}  // namespace

Report silhouettes(Any x_object, const Int32s& labels_object, std::int64_t k, const std::string& metric,
                   const std::optional<Int64s>& rows_object, const Doubles& scores_object,
                   const std::optional<Doubles>& means_object, int threads, const std::string& isa) {
  const cpu::Kernels& kernels = cpu::kernels(isa);
  const Array x(x_object), labels(labels_object), scores(scores_object);
  const auto rows = optional_array(rows_object);
  const auto means = optional_array(means_object);
  cpu::SilhouetteTask task{};
  task.element = x.element();
  task.rows = rows_of(x);
  task.n = x.shape(0);
  require(labels.ndim() == 1 && labels.shape(0) == task.n && labels.element() == Element::i32 && contiguous(labels),
          "labels must be a contiguous int32 array of an element for each row of x");
  task.labels = static_cast<const std::int32_t*>(labels.data());
  require(k >= 1 && k <= task.n, "k must lie in [1, n]");
  task.k = k;
  task.metric = metric_of(metric);
  task.count = task.n;
  if (rows) {
    require(rows->ndim() == 1 && rows->element() == Element::i64 && contiguous(*rows),
            "rows must be a contiguous int64 array");
    task.picked = static_cast<const std::int64_t*>(rows->data());
    task.count = rows->shape(0);
  }
  require(scores.ndim() == 1 && scores.shape(0) == task.count && scores.element() == Element::f64 &&
              contiguous(scores) && !scores.readonly(),
          "scores must be a contiguous float64 array of an element for each row that is scored");
  task.scores = scores.writable<double>();
  if (means) {
    require(means->ndim() == 2 && means->shape(0) == task.count && means->shape(1) == 2 &&
                means->element() == Element::f64 && contiguous(*means) && !means->readonly(),
            "means must be a contiguous float64 array of two columns and a row for each row that is scored");
    task.means = means->writable<double>();
  }
  cpu::BadRows bad;
  {
    const py::gil_scoped_release nogil;
    bad = cpu::silhouettes(kernels, task, threads);
  }
  return report(bad);
}

}  // namespace dataprophet::bind
