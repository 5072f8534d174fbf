"""The CUDA operations of csrc/cuda, built by a C++ compiler for the emulator, on NumPy arrays."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
EMULATOR = ROOT / "tests" / "cuda_emulator"
METRICS = ("euclidean", "sqeuclidean", "cosine")
_ELEMENTS = {"float32": 0, "float16": 1, "bfloat16": 2, "uint16": 2}
_WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
_NO_FORTIFY = ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=0"]  # it refuses jumps between the stacks of fibers


def compiler() -> str | None:
    """A C++ compiler that has what the emulator asks for."""
    return shutil.which(os.environ.get("CXX", "g++"))


def build(folder: Path, flags: tuple[str, ...] = ("-O2",)) -> Path:
    """Every kernel and the emulator in a shared library, compiled unless another process has done so."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        library = folder / "cuda_emulated.so"
        return library if library.exists() else _compile(folder, flags, library)


def _compile(folder: Path, flags: tuple[str, ...], library: Path) -> Path:
    sources = [path for path in (ROOT / "csrc" / "cuda").glob("*.cu") if path.name != "device.cu"]
    sources += EMULATOR.glob("*.cpp")

    def compile_one(source: Path) -> Path:
        built = folder / f"{source.stem}.o"
        language = ["-x", "c++", source]
        # The emulator's folder comes first: its cuda/ptx.cuh and cuda/launch.cuh stand in for those of csrc.
        paths = [f"-I{EMULATOR}", f"-I{ROOT / 'csrc'}"]
        command = [
            compiler(),
            "-std=c++17",
            "-fPIC",
            *flags,
            *_WARNINGS,
            *_NO_FORTIFY,
            *paths,
            "-c",
            *language,
            "-o",
            built,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return built

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, sources))
    linked = folder / "linked.so"
    subprocess.run([compiler(), *flags, "-shared", *objects, "-o", linked], check=True)
    linked.rename(library)
    return library


class _Rows(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("n", ctypes.c_int64),
        ("d", ctypes.c_int64),
        ("stride", ctypes.c_int64),
        ("element", ctypes.c_uint8),
    )


def _rows_of(x):
    stride = x.strides[0] // x.itemsize if len(x) > 1 else x.shape[1]
    return _Rows(x.ctypes.data, *x.shape, stride, _ELEMENTS[x.dtype.name])


def _rows(x):
    return ctypes.byref(_rows_of(x))


def _argument(value):
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data)
    return ctypes.c_double(value) if isinstance(value, float) else value


class Emulated:
    """The operations. Scratch is filled with garbage; results are filled with what no result is."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))

    def _call(self, name, *arguments):
        function = getattr(self.library, name)
        function.restype = ctypes.c_char_p
        error = function(*[ctypes.c_int64(a) if type(a) is int else _argument(a) for a in arguments])
        if error:
            raise RuntimeError(error.decode())

    def workspace(self, name, *sizes):
        """Scratch of an operation, aligned as that of torch, full of garbage."""
        function = getattr(self.library, f"{name}_workspace_bytes")
        function.restype = ctypes.c_size_t
        size = function(*[ctypes.c_int64(s) for s in sizes])
        raw = np.full(size + 256, 0xFF, np.uint8)
        start = -raw.ctypes.data % 256
        return raw[start : start + size]

    def order(self, order: int) -> None:
        """Order in which threads and blocks run: 0 ascending, 1 descending, others at random."""
        self.library.set_order(order)

    def mean_direction(self, x):
        out, bad = np.full(x.shape[1], np.nan), _bad()
        self._call("mean_direction", _rows(x), out, bad, self.workspace("mean_direction", *x.shape))
        return out, _report(bad, x)

    def cosine_to(self, x, directions):
        out, bad = np.full((len(x), len(directions)), np.nan, np.float32), _bad()
        workspace = self.workspace("cosine_to", *directions.shape)
        self._call("cosine_to", _rows(x), directions, len(directions), out, bad, workspace)
        return out, _report(bad, x)

    def measure_rows(self, x, directions, groups, count):
        """Cosines, lengths, and sums in multiples of 2^-30."""
        (n, d), targets = x.shape, len(directions)
        cosines, lengths = np.full((n, targets), 9, np.float32), np.full(n, -9.0)
        sums, order = np.full((count, d), -9), np.argsort(groups, kind="stable")
        workspace = self.workspace("measure_rows", n, targets, d)
        self.run("measure_rows", x, directions, np.asarray(groups), order, cosines, lengths, sums, workspace)
        return cosines, lengths, sums

    def average_directions(self, fields, chosen, weights):
        out, norms = np.full((len(chosen), fields[0].shape[1]), 9, np.float16), np.full(len(chosen), -9, np.float32)
        self.run("average_directions", fields, chosen, weights, out, norms)
        return out, norms

    def nearest(self, x, y):
        cosine, index, bad = np.full(len(x), np.nan, np.float32), np.full(len(x), -9), (_bad(), _bad())
        workspace = self.workspace("nearest", len(x), *y.shape)
        self._call("nearest", _rows(x), _rows(y), cosine, index, *bad, workspace)
        return cosine, index, _report(bad[0], x), _report(bad[1], y)

    def kmeans(self, x, k, *, draws=None, init=None, max_iter=100, tol=1e-4):
        centroids, labels = np.full((k, x.shape[1]), np.nan, np.float32), np.full(len(x), -9)
        figures, bad = np.full(2, np.nan), _bad()
        start = None if init is None else np.ascontiguousarray(init, np.float64)
        workspace = self.workspace("kmeans", *x.shape, k)
        self._call(
            "kmeans", _rows(x), k, start, draws, ctypes.c_int(max_iter), tol, centroids, labels, figures, bad, workspace
        )
        return centroids, labels, figures[0], int(figures[1]), _report(bad, x)

    def silhouettes(self, x, labels, metric, picked=None):
        """Silhouettes and their two means, by row; of the rows picked."""
        clusters = np.unique(labels, return_inverse=True)[1].astype(np.int32)
        k, kind, n = int(clusters.max()) + 1, METRICS.index(metric), len(x)
        order = np.argsort(clusters, kind="stable")
        starts = np.searchsorted(clusters[order], np.arange(k + 1))
        places = None if picked is None else np.sort(np.argsort(order)[picked])
        m = n if picked is None else len(picked)
        scores, means, bad = np.full(m, np.nan), np.full((m, 2), np.nan), _bad()
        workspace = self.workspace("silhouettes", *x.shape, k, kind, m)
        self._call("silhouettes", _rows(x), clusters, order, starts, k, kind, places, m, scores, means, bad, workspace)
        rows = order if places is None else order[places]
        back = np.argsort(rows)
        return scores[back], means[back], _report(bad, x)

    def run(self, name, *arguments):
        """An operation as dataprophet._cuda takes it: on arrays, without their sizes."""
        if name == "mean_direction":
            x, *rest = arguments
            self._call(name, _rows(x), *rest)
        elif name == "cosine_to":
            x, directions, *rest = arguments
            self._call(name, _rows(x), directions, len(directions), *rest)
        elif name == "measure_rows":
            x, directions, groups, order, cosines, lengths, sums, workspace = arguments
            sizes, results = (len(directions), len(sums)), (cosines, lengths, sums)
            self._call(name, _rows(x), directions, sizes[0], groups, order, sizes[1], *results, workspace)
        elif name == "average_directions":
            fields, chosen, *rest = arguments
            rows = (_Rows * len(fields))(*map(_rows_of, fields))
            self._call(name, ctypes.byref(rows), len(fields), chosen, len(chosen), *rest)
        elif name == "nearest":
            x, y, *rest = arguments
            self._call(name, _rows(x), _rows(y), *rest)
        elif name == "kmeans":
            x, init, draws, centroids, labels, figures, bad, max_iter, tol, workspace = arguments
            steps = ctypes.c_int(max_iter)
            k = len(centroids)
            self._call(name, _rows(x), k, init, draws, steps, tol, centroids, labels, figures, bad, workspace)
        elif name == "silhouettes":
            x, clusters, order, starts, metric, picked, scores, *rest = arguments
            kind, k = METRICS.index(metric), len(starts) - 1
            self._call(name, _rows(x), clusters, order, starts, k, kind, picked, len(scores), scores, *rest)
        else:
            labels, counts = arguments
            self._call(name, labels, len(labels), len(counts) - 1, counts)

    def cluster_counts(self, labels, k):
        counts = np.full(k + 1, -9)
        self._call("cluster_counts", labels, len(labels), k, counts)
        return counts

    def planted(self, name):
        values, out = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
        self._call("planted", name.encode(), values, out)
        return out

    def convert(self, values):
        """float32 as the bits of float16 and of bfloat16, and the former as float32 again."""
        half, bfloat = (np.zeros(len(values), np.uint16) for _ in range(2))
        back = np.full(len(values), np.nan, np.float32)
        self.library.convert(*map(_argument, (values, ctypes.c_int64(len(values)), half, bfloat, back)))
        return half, bfloat, back

    def multiply_matrices(self, a, b):
        out = np.full((16, 8), np.nan, np.float32)
        self.library.multiply_matrices(_argument(a), _argument(b), _argument(out))
        return out


def _bad():
    return np.full(3, -9)


def _report(bad, x):
    zero, nonfinite, before_end = bad.tolist()
    return zero, nonfinite, len(x) - before_end if before_end else -1
