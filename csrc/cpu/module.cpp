#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bind/operations.hpp"
#include "cpu/isa.hpp"

namespace py = pybind11;
namespace bind = dataprophet::bind;
namespace cpu = dataprophet::cpu;

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.attr("__version__") = DATAPROPHET_VERSION;
  m.def("isa", [] { return cpu::kernels("").name; }, "The instruction set in use");
  m.def("available_isas", &cpu::available_isas, "Instruction sets that this machine can run, the fastest first");
  m.def("mean_direction", &bind::mean_direction, py::arg("x"), py::arg("out"), py::arg("threads") = 1,
        py::arg("isa") = "");
  m.def("cosine_to", &bind::cosine_to, py::arg("x"), py::arg("directions"), py::arg("out"), py::arg("threads") = 1,
        py::arg("isa") = "");
}
