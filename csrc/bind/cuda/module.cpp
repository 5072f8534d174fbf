// The module _cuda: arrays of a device are checked here and work is enqueued on a stream, given as its handle. Nothing
// waits for the device. Rows are float32, float16 or bfloat16; all arrays are those of one device, in any library.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bind/cuda/operations.hpp"
#include "cuda/cosine_to.hpp"
#include "cuda/device.hpp"
#include "cuda/error.hpp"
#include "cuda/kmeans.hpp"
#include "cuda/mean_direction.hpp"
#include "cuda/measure_rows.hpp"
#include "cuda/nearest.hpp"

namespace py = pybind11;
namespace cuda = dataprophet::cuda;
namespace bindings = dataprophet::cuda::bindings;

PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
  m.attr("__version__") = DATAPROPHET_VERSION;
  m.attr("architectures") = cuda::architectures();
  py::register_exception<cuda::CudaError>(m, "CudaError", PyExc_RuntimeError);
  m.def(
      "device_count",
      [] {
        const cuda::Devices devices = cuda::device_count();
        return py::make_tuple(devices.count, devices.reason);
      },
      "Number of CUDA devices, and why there is none");
  m.def("runtime_version", &cuda::runtime_version);
  m.def("driver_version", &cuda::driver_version);

  m.def("mean_direction", &bindings::mean_direction, py::arg("x"), py::arg("out"), py::arg("bad"), py::arg("workspace"),
        py::arg("stream"),
        "Mean of the normalised rows of x (n, d) into out (d,) float64. bad, (3,) int64 here and below, takes the zero "
        "rows, the non-finite rows and n minus the first of either.");
  m.def("cosine_to", &bindings::cosine_to, py::arg("x"), py::arg("directions"), py::arg("out"), py::arg("bad"),
        py::arg("workspace"), py::arg("stream"),
        "Cosines of the rows of x (n, d) to directions (T, d) float32, used as given, into out (n, T) float32.");
  m.def("measure_rows", &bindings::measure_rows, py::arg("x"), py::arg("directions"), py::arg("groups"),
        py::arg("order"), py::arg("cosines"), py::arg("lengths"), py::arg("sums"), py::arg("workspace"),
        py::arg("stream"),
        "Cosines (n, T) float32 of the rows of x (n, d) to directions (T, d) float32, lengths (n,) float64, and sums "
        "(count, d) int64 of the directions of each group, in multiples of 2^-30. groups (n,) int64 are in [-1, "
        "count), -1 for rows left out; order (n,) int64 are the rows, those of a group side by side.");
  m.def("average_directions", &bindings::average_directions, py::arg("fields"), py::arg("chosen"), py::arg("weights"),
        py::arg("out"), py::arg("norms"), py::arg("stream"),
        "The directions of rows chosen (m,) int64 of up to four fields (n, d), added up and normalised, into out (m, "
        "d) float16, and the lengths of the sums into norms (m,) float32. weights (fields, 2 m) float32 are 1 / "
        "length of each row in two factors, 0 for a row without the field.");
  m.def(
      "nearest", &bindings::nearest, py::arg("x"), py::arg("y"), py::arg("cosine"), py::arg("index"), py::arg("bad_x"),
      py::arg("bad_y"), py::arg("workspace"), py::arg("stream"),
      "Largest cosine (n,) float32 of each row of x (n, d) to a row of y (m, d), and the lowest such row (n,) int64.");
  m.def("kmeans", &bindings::kmeans, py::arg("x"), py::arg("init"), py::arg("draws"), py::arg("centroids"),
        py::arg("labels"), py::arg("figures"), py::arg("bad"), py::arg("max_iter"), py::arg("tolerance"),
        py::arg("workspace"), py::arg("stream"),
        "k-means of x (n, d) from init (k, d) float64, or from greedy k-means++ with draws (1 + 4 (k - 1),) float64, "
        "into centroids (k, d) float32, labels (n,) int64 and figures (2,) float64: inertia and iterations.");
  m.def("silhouettes", &bindings::silhouettes, py::arg("x"), py::arg("clusters"), py::arg("order"), py::arg("starts"),
        py::arg("metric"), py::arg("picked"), py::arg("scores"), py::arg("means"), py::arg("bad"), py::arg("workspace"),
        py::arg("stream"),
        "Silhouettes of x (n, d) with clusters (n,) int32, rows in the order of their clusters (n,) int64, and where "
        "each starts (k + 1,) int64; of the places picked (m,) int64 in that order, or all. scores (m,) and means (m, "
        "2) are float64.");
  m.def("cluster_counts", &bindings::cluster_counts, py::arg("labels"), py::arg("counts"), py::arg("stream"),
        "How many of labels (n,) int64 each of k clusters has, and how many are outside, into counts (k + 1,) int64.");
  m.def("mean_direction_workspace_bytes", &cuda::mean_direction_workspace_bytes, py::arg("n"), py::arg("d"));
  m.def("cosine_to_workspace_bytes", &cuda::cosine_to_workspace_bytes, py::arg("T"), py::arg("d"));
  m.def("measure_rows_workspace_bytes", &cuda::measure_rows_workspace_bytes, py::arg("n"), py::arg("T"), py::arg("d"));
  m.def("nearest_workspace_bytes", &cuda::nearest_workspace_bytes, py::arg("n"), py::arg("m"), py::arg("d"));
  m.def("kmeans_workspace_bytes", &cuda::kmeans_workspace_bytes, py::arg("n"), py::arg("d"), py::arg("k"));
  m.def("silhouettes_workspace_bytes", &bindings::silhouettes_workspace_bytes, py::arg("n"), py::arg("d"), py::arg("k"),
        py::arg("metric"), py::arg("m"));
}
