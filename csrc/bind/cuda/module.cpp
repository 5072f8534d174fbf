#include <pybind11/pybind11.h>

#include "bind/cuda/operations.hpp"
#include "cuda/cosine_to.hpp"
#include "cuda/device.hpp"
#include "cuda/error.hpp"
#include "cuda/kmeans.hpp"
#include "cuda/mean_direction.hpp"
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
        py::arg("stream"));
  m.def("cosine_to", &bindings::cosine_to, py::arg("x"), py::arg("directions"), py::arg("out"), py::arg("bad"),
        py::arg("workspace"), py::arg("stream"));
  m.def("nearest", &bindings::nearest, py::arg("x"), py::arg("y"), py::arg("cosine"), py::arg("index"),
        py::arg("bad_x"), py::arg("bad_y"), py::arg("workspace"), py::arg("stream"));
  m.def("kmeans", &bindings::kmeans, py::arg("x"), py::arg("init"), py::arg("draws"), py::arg("centroids"),
        py::arg("labels"), py::arg("figures"), py::arg("bad"), py::arg("max_iter"), py::arg("tolerance"),
        py::arg("workspace"), py::arg("stream"));
  m.def("silhouettes", &bindings::silhouettes, py::arg("x"), py::arg("clusters"), py::arg("order"), py::arg("starts"),
        py::arg("metric"), py::arg("picked"), py::arg("scores"), py::arg("means"), py::arg("bad"), py::arg("workspace"),
        py::arg("stream"));
  m.def("cluster_counts", &bindings::cluster_counts, py::arg("labels"), py::arg("counts"), py::arg("stream"));
  m.def("mean_direction_workspace_bytes", &cuda::mean_direction_workspace_bytes);
  m.def("cosine_to_workspace_bytes", &cuda::cosine_to_workspace_bytes);
  m.def("nearest_workspace_bytes", &cuda::nearest_workspace_bytes);
  m.def("kmeans_workspace_bytes", &cuda::kmeans_workspace_bytes);
  m.def("silhouettes_workspace_bytes", &bindings::silhouettes_workspace_bytes);
}
