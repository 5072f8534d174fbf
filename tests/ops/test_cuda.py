"""The CUDA module: what it refuses, on any machine, and its results on a GPU, where there is one."""

import ctypes
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_waiting import nothing_waits

from dataprophet import ops
from dataprophet.errors import DataProphetError
from dataprophet.ops import reference

DTYPES = ["float32", "float16", "bfloat16"]
METRICS = {"euclidean": 2e-4, "sqeuclidean": 2e-6, "cosine": 2e-6}


@pytest.fixture
def module():
    return pytest.importorskip("dataprophet._cuda", reason="the CUDA module is not built")


class _Tensor(ctypes.Structure):
    """DLManagedTensor of DLPack."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class Pretended:
    """An array that says that it is on a CUDA device. Its memory is not to be read."""

    def __init__(self, array, device=0, address=1 << 20):
        types = {"f": 2, "i": 0, "u": 1}
        self._shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        self._strides = (ctypes.c_int64 * array.ndim)(*[stride // array.itemsize for stride in array.strides])
        self._tensor = _Tensor(address, (2, device), array.ndim, types[array.dtype.kind], array.itemsize * 8, 1)
        self._tensor.shape, self._tensor.strides = self._shape, self._strides
        self._array, self.streams = array, []

    def __len__(self):
        return len(self._array)

    def __dlpack_device__(self):
        return tuple(self._tensor.device)

    def __dlpack__(self, *, stream=None):
        self.streams.append(stream)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(ctypes.addressof(self._tensor), b"dltensor", None)


def arguments(module, values, **changed):
    given = {
        "x": Pretended(values),
        "out": Pretended(np.empty(values.shape[1])),
        "bad": Pretended(np.empty(3, np.int64)),
        "workspace": Pretended(np.empty(module.mean_direction_workspace_bytes(*values.shape), np.uint8)),
        "stream": 0,
    }
    return {**given, **changed}


def test_arguments_are_checked(module):
    x = np.zeros((40, 8), np.float32)
    small = Pretended(np.empty(7, np.uint8))
    for changed, error in (
        ({"x": x}, "expected an array in CUDA memory"),
        ({"x": Pretended(x.astype(np.float64))}, "x must be float32, float16 or bfloat16 of two dimensions"),
        ({"x": Pretended(x[:, ::2])}, "x must have unit stride along its rows"),
        ({"x": Pretended(x[::-1])}, "x must not run backwards"),
        ({"x": Pretended(x[:0])}, "x must not be empty"),
        ({"out": Pretended(np.empty(8), device=1)}, "out is on device 1, not on device 0"),
        ({"out": Pretended(np.empty(8, np.float32))}, "out must be contiguous, of the right dtype and hold 8 elements"),
        ({"bad": Pretended(np.empty(6, np.int64)[::2])}, "bad must be contiguous"),
        ({"workspace": small}, "workspace must be contiguous, of the right dtype and hold [0-9]+ elements; it holds 7"),
    ):
        with pytest.raises(ValueError, match=error):
            module.mean_direction(**arguments(module, x, **changed))
    with pytest.raises(TypeError, match="expected a CUDA array with __dlpack__"):
        module.mean_direction(**arguments(module, x, out=[1.0]))
    off = Pretended(np.zeros((3, 8), np.float32), address=(1 << 20) + 4)
    given = arguments(module, x)
    with pytest.raises(ValueError, match="directions must start at a multiple of 16 bytes"):
        module.cosine_to(given["x"], off, given["out"], given["bad"], given["workspace"], 0)
    with pytest.raises(ValueError, match="metric must be euclidean, sqeuclidean or cosine, got hamming"):
        module.silhouettes_workspace_bytes(9, 3, 2, "hamming", 9)


def test_errors_of_cuda_are_one_line(module):
    if module.device_count()[0]:
        pytest.skip("there is a CUDA device, which would read memory that is not there")
    given = arguments(module, np.zeros((40, 8), np.float32))
    with pytest.raises(module.CudaError, match=r"\ACUDA: [^\n]+\Z"):
        module.mean_direction(**given)
    assert given["x"].streams == [-1]  # does not ask the producer to wait


def test_workspace_is_that_of_the_design(module):
    """fp16 rows, and for each row and cluster eight bytes of sums and four of distances; never n x n."""
    n, d, k = 100_000, 1536, 10
    size = module.silhouettes_workspace_bytes(n, d, k, "euclidean", n)
    assert size <= n * d * 2 * 1.15 + n * k * 12 + (1 << 26)
    assert module.mean_direction_workspace_bytes(n, d) <= n * d * 4 / 8
    assert module.kmeans_workspace_bytes(n, d, k) <= n * d * 4 / 8
    assert module.silhouettes_workspace_bytes(n, d, 5000, "cosine", n) <= n * 5000 * 4 + n * d * 12


def test_the_mode_in_which_nothing_waits_is_left_again():
    """As torch on a GPU: the first call warns, after it has set the mode."""
    modes = []

    def set_mode(mode):
        modes.append(mode)
        if len(modes) == 1:
            warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=1)

    with nothing_waits(SimpleNamespace(cuda=SimpleNamespace(set_sync_debug_mode=set_mode))):
        assert modes == ["error"]
    assert modes == ["error", "default"]


@pytest.fixture
def torch():
    found = pytest.importorskip("torch")
    if not found.cuda.is_available():
        pytest.skip("no CUDA device")
    assert ops.cuda_info()["built"], ops.cuda_info()["reason"]
    return found


def rows_of(torch, n, d, dtype="float32", seed=0, clusters=6):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % clusters
    x = torch.randn(clusters, d, generator=generator)[labels] * 2 + torch.randn(n, d, generator=generator)
    return x.to(getattr(torch, dtype)).cuda(), labels.cuda()


def wide(x):
    return x.double().cpu().numpy()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), [(64, 5), (3001, 72), (2000, 1536), (70, 4101), (300, 8200)])
def test_directions_on_a_gpu(torch, dtype, n, d):
    x, _ = rows_of(torch, n, d, dtype)
    y, _ = rows_of(torch, 257, d, dtype, seed=1)
    mean = ops.mean_direction(x)
    assert mean.is_cuda
    expected = reference.mean_direction(wide(x))
    assert np.linalg.norm(mean.cpu().numpy() - expected) <= 2e-7 * np.linalg.norm(expected)
    directions = torch.nn.functional.normalize(y[:17].float(), dim=1)
    found = ops.cosine_to(x, directions).cpu().numpy()
    np.testing.assert_allclose(found, reference.cosine_to(wide(x), wide(directions)), rtol=0, atol=1e-6)
    cosine, index = ops.nearest(x, y)
    best, _ = reference.nearest(wide(x), wide(y))
    np.testing.assert_allclose(cosine.cpu().numpy(), best, rtol=0, atol=1e-6)
    chosen = torch.nn.functional.cosine_similarity(x.double(), y[index].double(), dim=1)
    np.testing.assert_allclose(chosen.cpu().numpy(), best, rtol=0, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "k"), [(60, 5, 4), (3001, 72, 10), (2000, 768, 6), (500, 33, 200)])
def test_clusters_on_a_gpu(torch, dtype, n, d, k):
    x, labels = rows_of(torch, n, d, dtype, clusters=k)
    start = wide(x[:k])
    found = ops.kmeans(x, k, init=start)
    expected = reference.kmeans(wide(x), k, init=start)
    assert found.labels.is_cuda
    assert found.inertia == pytest.approx(expected.inertia, rel=1e-5)
    assert (found.labels.cpu().numpy() == expected.labels).mean() > 0.999
    for metric, tolerance in METRICS.items():
        scores = ops.silhouette_samples(x, labels, metric=metric)
        assert scores.is_cuda
        truth = reference.silhouette_samples(wide(x), labels.cpu().numpy(), metric=metric)
        np.testing.assert_allclose(scores.cpu().numpy(), truth, rtol=0, atol=tolerance)
    assert ops.cluster_entropy(labels, k) == pytest.approx(reference.cluster_entropy(labels.cpu().numpy(), k))


@pytest.mark.gpu
def test_bits_repeat_on_a_gpu(torch):
    x, labels = rows_of(torch, 5000, 200)
    y, _ = rows_of(torch, 700, 200, seed=1)
    runs = set()
    for _ in range(3):
        found = [ops.mean_direction(x), ops.cosine_to(x, y[:14]), *ops.nearest(x, y), *ops.kmeans(x, 6, seed=1)[:2]]
        found += [ops.silhouette_samples(x, labels, metric=metric) for metric in METRICS]
        runs.add(b"".join(array.cpu().numpy().tobytes() for array in found))
    assert len(runs) == 1


@pytest.mark.gpu
def test_bad_rows_on_a_gpu(torch):
    x, labels = rows_of(torch, 300, 24)
    x[7], x[11, 3] = 0.0, float("nan")
    for call in (ops.mean_direction, lambda a: ops.cosine_to(a, a[:3]), lambda a: ops.nearest(a, a[20:])):
        with pytest.raises(
            DataProphetError,
            match=r"2 rows without a direction \(1 all-zero, 1 with NaN or infinity\), the first is row 7",
        ):
            call(x)
    with pytest.raises(DataProphetError, match="the first is row 11"):
        ops.kmeans(x, 3)
    with pytest.raises(DataProphetError, match="the first is row 11"):
        ops.silhouette_samples(x, labels)


@pytest.mark.gpu
def test_work_goes_to_the_current_stream(torch):
    """On a stream that is still busy filling x, an operation on another stream would read zeros."""
    x, labels = rows_of(torch, 2000, 64)
    expected = ops.mean_direction(x), ops.silhouette_samples(x, labels)
    late, stream = torch.zeros_like(x), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        late.copy_(x)
        found = ops.mean_direction(late), ops.silhouette_samples(late, labels)
    stream.synchronize()
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.gpu
def test_kernels_do_not_wait_for_the_device(torch, module):
    """While the stream sleeps, all work is enqueued: the calls return before it starts."""
    x, _ = rows_of(torch, 2000, 64)
    k, stream = 5, torch.cuda.current_stream()
    make = lambda dtype, *shape: torch.empty(shape, dtype=getattr(torch, dtype), device="cuda")  # noqa: E731
    space = lambda size: make("uint8", size)  # noqa: E731
    draws = torch.from_numpy(reference.kmeans_draws(k, 0)).cuda()
    out, bad, other, figures = make("float64", 64), make("int64", 3), make("int64", 3), make("float64", 2)
    centroids, labels, cosine, index = (
        make("float32", k, 64),
        make("int64", 2000),
        make("float32", 2000),
        make("int64", 2000),
    )
    spaces = [
        space(size)
        for size in (
            module.mean_direction_workspace_bytes(2000, 64),
            module.kmeans_workspace_bytes(2000, 64, k),
            module.nearest_workspace_bytes(2000, 2000, 64),
        )
    ]

    def enqueue():
        handle = stream.cuda_stream
        module.mean_direction(x, out, bad, spaces[0], handle)
        module.kmeans(x, None, draws, centroids, labels, figures, bad, 20, 1e-4, spaces[1], handle)
        module.nearest(x, x, cosine, index, bad, other, spaces[2], handle)

    enqueue()  # loads the kernels, which does wait
    torch.cuda.synchronize()
    with nothing_waits(torch):
        torch.cuda._sleep(2_000_000_000)
        asleep = torch.cuda.Event()
        asleep.record()
        enqueue()
        assert not asleep.query()
    torch.cuda.synchronize()
    assert torch.equal(index, torch.arange(2000, device="cuda"))
