// Everything that Python calls is in this folder (cuda/ is the module _cuda): arguments are checked here and results
// handed back, and nothing is computed. dataprophet/_core.pyi is generated from these definitions: make stubs.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bind/operations.hpp"
#include "cpu/isa.hpp"
#include "cpu/parallel.hpp"

namespace py = pybind11;
namespace bind = dataprophet::bind;
namespace cpu = dataprophet::cpu;

namespace {

// Whether a signal, such as Ctrl-C, raised a Python exception. Operations run without the GIL.
bool signalled() {
  const py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  cpu::interrupted = &signalled;
  py::register_local_exception_translator([](std::exception_ptr error) {
    try {
      std::rethrow_exception(error);
    } catch (const cpu::Interrupted&) {
      // the signal's handler has set the Python exception
    }
  });
  m.attr("__version__") = DATAPROPHET_VERSION;
  m.def("isa", [] { return cpu::kernels("").name; }, "The instruction set in use");
  m.def("available_isas", &cpu::available_isas, "Instruction sets that this machine can run, the fastest first");
  m.def("mean_direction", &bind::mean_direction, py::arg("x"), py::arg("out"), py::arg("threads") = 1,
        py::arg("isa") = "",
        "Mean of the normalised rows of x (n, d) into out (d,). Returns the zero rows, the non-finite rows and the "
        "first of either or -1.");
  m.def("cosine_to", &bind::cosine_to, py::arg("x"), py::arg("directions"), py::arg("out"), py::arg("threads") = 1,
        py::arg("isa") = "",
        "Cosines of the rows of x (n, d) to directions (T, d), used as given, into out (n, T). Returns the bad rows, "
        "as mean_direction.");
  m.def("measure_rows", &bind::measure_rows, py::arg("x"), py::arg("directions"), py::arg("groups"), py::arg("cosines"),
        py::arg("lengths"), py::arg("sums"), py::arg("threads") = 1, py::arg("isa") = "",
        "Cosines (n, T) and lengths (n,) of the rows of x (n, d), and their sums by group (count, d). groups (n,) are "
        "-1 for rows left out; rows without a direction are known by their lengths.");
  m.def("average_directions", &bind::average_directions, py::arg("fields"), py::arg("chosen"), py::arg("scales"),
        py::arg("out"), py::arg("norms"), py::arg("threads") = 1, py::arg("isa") = "",
        "Average of the directions of several fields (n, d), of chosen rows (m,), into out (m, d) and norms (m,). "
        "scales (fields, m) are one over the lengths, 0 for none.");
  m.def(
      "hash_texts", &bind::hash_texts, py::arg("data"), py::arg("offsets"), py::arg("out"), py::arg("threads") = 1,
      "BLAKE2b of texts, data[offsets[i]:offsets[i + 1]], into out (n,), whose bits are those of the unsigned hashes.");
  m.def("spin", &bind::spin, py::arg("bfloat"), py::arg("rounds"), py::arg("threads") = 1, py::arg("isa") = "",
        "For benchmarks: multiply-adds on registers; returns the number of operations done");
  m.def("read", &bind::read, py::arg("x"), py::arg("threads") = 1, py::arg("isa") = "",
        "For benchmarks: reads the array and does nothing else");
  m.def("nearest", &bind::nearest, py::arg("x"), py::arg("y"), py::arg("cosine"), py::arg("index"),
        py::arg("threads") = 1, py::arg("isa") = "",
        "Largest cosine of each row of x (n, d) to a row of y (m, d), and the lowest such row. Returns the bad rows of "
        "x and of y.");
  m.def("silhouettes", &bind::silhouettes, py::arg("x"), py::arg("labels"), py::arg("k"), py::arg("metric"),
        py::arg("rows"), py::arg("scores"), py::arg("means"), py::arg("threads") = 1, py::arg("isa") = "",
        "Silhouettes of the rows of x (n, d) with labels (n,) in [0, k), or of those listed in rows, into scores (m,), "
        "and the two mean distances that they come from into means (m, 2). Returns the bad rows.");
  m.def("kmeans", &bind::kmeans, py::arg("x"), py::arg("init"), py::arg("draws"), py::arg("centroids"),
        py::arg("labels"), py::arg("max_iter"), py::arg("tol"), py::arg("threads") = 1, py::arg("isa") = "",
        "k-means of x (n, d) from init (k, d), or from greedy k-means++ with draws (1 + 4 (k - 1),), into centroids "
        "(k, d) and labels (n,). Returns the inertia, the iterations and the bad rows.");
  m.def("token_logprobs", &bind::token_logprobs, py::arg("logits"), py::arg("targets"), py::arg("bias"),
        py::arg("softcap"), py::arg("scale"), py::arg("logprobs"), py::arg("threads") = 1, py::arg("isa") = "",
        "Log-probabilities of targets (n,) under logits (n, V), bias (V,), softcap (0 for none) and scale.");
  m.def("linear_logprobs", &bind::linear_logprobs, py::arg("hidden"), py::arg("weight"), py::arg("targets"),
        py::arg("bias"), py::arg("softcap"), py::arg("scale"), py::arg("logprobs"), py::arg("threads") = 1,
        py::arg("isa") = "", "The same for the logits hidden (n, D) @ weight (V, D).T, which are not stored.");
  m.def("logprob_parts", &bind::logprob_parts, py::arg("hidden"), py::arg("weight"), py::arg("targets"),
        py::arg("bias"), py::arg("softcap"), py::arg("scale"), py::arg("maximum"), py::arg("total"), py::arg("target"),
        py::arg("threads") = 1, py::arg("isa") = "",
        "Maximum, total and target (n,) of the logits of a shard of the head; a target may be no row of it.");
}
