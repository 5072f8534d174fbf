"""Arrays as users have them, and faults in them: every operation gives the right answer or a one-line error."""

import contextlib
import mmap
import re

import numpy as np
import pytest

from dataprophet import ops
from dataprophet.errors import DataProphetError
from dataprophet.ops import reference

N, D, K = 90, 24, 3
LABELS = np.arange(N) % K
OTHERS = (np.random.default_rng(1).standard_normal((11, D)) + 0.1).astype(np.float32)
METRICS = ("euclidean", "sqeuclidean", "cosine")


def rows(n=N, d=D, seed=0):
    return (np.random.default_rng(seed).standard_normal((n, d)) + 0.1).astype(np.float32)


# Each takes the compiled operations or the reference, and an array of N rows. What it gives is a list of arrays.
FIRST = {
    "mean_direction": lambda at, x: [at.mean_direction(x)],
    "expected_cosine": lambda at, x: [at.expected_cosine(x, OTHERS)],
    "cosine_to": lambda at, x: [at.cosine_to(x, OTHERS)],
    "nearest": lambda at, x: at.nearest(x, OTHERS),
    "kmeans": lambda at, x: at.kmeans(x, K, seed=5)[:3],
    "kmeans from init": lambda at, x: at.kmeans(x, K, init=np.asarray(plain(x)[:K]), max_iter=5)[:3],
    **{f"silhouette_samples {m}": lambda at, x, m=m: [at.silhouette_samples(x, LABELS, metric=m)] for m in METRICS},
    **{f"silhouette_score {m}": lambda at, x, m=m: [*at.silhouette_score(x, LABELS, metric=m)] for m in METRICS},
    "diversity": lambda at, x: [*at.diversity(x, K, seed=5)[:6]],
}
# The odd array as the second argument, of 11 rows.
SECOND = {
    "expected_cosine": lambda at, y: [at.expected_cosine(rows(), y)],
    "cosine_to": lambda at, y: [at.cosine_to(rows(), y)],
    "nearest": lambda at, y: at.nearest(rows(), y),
    "kmeans init": lambda at, y: at.kmeans(rows(), 11, init=y)[:3],
}
DIRECTIONS = [name for name in FIRST if "cosine" in name or name in ("mean_direction", "nearest")]
CLUSTERS = [name for name in FIRST if name not in DIRECTIONS]


def plain(x):
    """What an array of any library holds, in float64."""
    if hasattr(x, "detach"):
        x = x.detach().resolve_neg().double().numpy()
    return np.ascontiguousarray(x, np.float64)


def agree(found, expected, atol=2e-6):
    for mine, theirs in zip(found, expected, strict=True):
        scale = max(1.0, np.abs(theirs).max(initial=0.0))  # inertia and centroids are not near 1
        np.testing.assert_allclose(np.asarray(mine, np.float64), theirs, rtol=0, atol=atol * scale)


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    assert re.match(r"\w+: .+", message), message


def place(view, x):
    view[...] = x
    return view


def unaligned(x):
    return place(np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape), x)


def packed(x):
    return place(np.zeros(len(x), [("pad", "u1"), ("row", x.dtype, x.shape[1])])["row"], x)


def readonly(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def far_apart(x):
    """Rows so far apart that the last is 2^31 elements from the first, in memory of which only they are touched."""
    step = (1 << 31) // (len(x) - 1) + 1
    size = (step * (len(x) - 1) + x.shape[1]) * x.itemsize
    memory = np.frombuffer(mmap.mmap(-1, size), x.dtype)
    return place(np.lib.stride_tricks.as_strided(memory, x.shape, (step * x.itemsize, x.itemsize)), x)


VIEWS = {
    "every other row": lambda x: place(np.zeros((2 * len(x), x.shape[1]), x.dtype)[::2], x),
    "every third column": lambda x: place(np.zeros((len(x), 3 * x.shape[1]), x.dtype)[:, ::3], x),
    "part of the columns": lambda x: place(np.zeros((len(x), x.shape[1] + 5), x.dtype)[:, 3:-2], x),
    "rows backwards": lambda x: place(np.zeros_like(x)[::-1], x),
    "columns backwards": lambda x: place(np.zeros_like(x)[:, ::-1], x),
    "both backwards": lambda x: place(np.zeros_like(x)[::-1, ::-1], x),
    "Fortran order": np.asfortranarray,
    "unaligned": unaligned,
    "strides of no whole elements": packed,
    "read-only": readonly,
    "the other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "rows far apart": far_apart,
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", FIRST)
def test_views(name, dtype, view):
    x = VIEWS[view](rows().astype(dtype))
    agree(FIRST[name](ops, x), FIRST[name](reference, plain(x)))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", SECOND)
def test_views_as_second_argument(name, view):
    y = VIEWS[view](OTHERS)
    agree(SECOND[name](ops, y), SECOND[name](reference, plain(y)))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.uint64, ">i8"])
@pytest.mark.parametrize("step", [1, -2])
def test_labels_of_any_integer_type(dtype, step):
    x = rows()
    labels = place(np.zeros(abs(step) * N, dtype)[::step], LABELS * 50)
    agree([ops.silhouette_samples(x, labels)], [reference.silhouette_samples(x, LABELS)])
    assert ops.cluster_entropy(labels, 101) == pytest.approx(reference.cluster_entropy(LABELS * 50, 101))


def test_labels_of_any_size():
    x = rows()
    for ends in ([-(1 << 63), 0, (1 << 63) - 1], [-1, -2, -3]):
        agree([ops.silhouette_samples(x, np.array(ends)[LABELS])], [reference.silhouette_samples(x, LABELS)])
    beyond = np.array([0, 5, (1 << 64) - 1], np.uint64)[LABELS]
    agree([ops.silhouette_samples(x, beyond)], [reference.silhouette_samples(x, LABELS)])
    with pytest.raises(DataProphetError, match=r"labels: element 2 is 18446744073709551615, outside") as caught:
        ops.cluster_entropy(beyond, 10)
    one_line(caught)


@pytest.mark.parametrize("name", FIRST)
def test_tensors(name):
    torch = pytest.importorskip("torch")
    x = torch.tensor(rows())
    wide = torch.tensor(rows(2 * N, 2 * D))
    negative = torch.view_as_complex(torch.stack([x, -x], dim=-1)).conj().imag
    assert negative.is_neg()
    for tensor in (
        x.clone().requires_grad_(),
        torch.nn.Parameter(x.clone()) * 1.0,  # not a leaf
        negative,
        wide[::2, ::2],
        torch.tensor(rows(D, N)).T,
        x[:1].expand(N, D) + x * 0.5,
        x.half(),
        x.bfloat16(),
        torch.tensor(rows(N, D + 1)).bfloat16()[:, 1:],
        x.double(),
    ):
        found = FIRST[name](ops, tensor)
        agree(found, FIRST[name](reference, plain(tensor)), 2e-4 if tensor.dtype == torch.bfloat16 else 2e-6)
        assert not any(getattr(part, "requires_grad", False) for part in found)


SCALES = [1e-45, 1e-40, 1e-30, 1e-19, 1e15, 1e19, 1e30, 1e37]  # denormal, of squares that vanish, that overflow, huge


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", FIRST)
def test_scales(name, scale):
    x = (rows().astype(np.float64) * scale).astype(np.float32)
    if scale < 1e-44:
        x[x == 0.0] = np.float32(scale)
    found = answer_or_error(name, x)
    if found is not None:
        agree_at(scale, name, x, found, FIRST[name](reference, plain(x)))


def answer_or_error(name, x):
    """The answer, or None for an error of one line; no error will do for directions, which any row but zero has."""
    if name in DIRECTIONS:
        return FIRST[name](ops, x)
    with contextlib.suppress(DataProphetError):
        return FIRST[name](ops, x)
    with pytest.raises(DataProphetError, match=r"^x: ") as caught:
        FIRST[name](ops, x)
    one_line(caught)
    return None


def agree_at(scale, name, x, found, expected):
    """As far as float32 can: centroids have the unit of x, inertia its square, and its rounding that of all squares."""
    if name.startswith("kmeans"):
        centroids, labels, inertia = expected
        np.testing.assert_array_equal(found[1], labels)
        np.testing.assert_allclose(found[0], centroids, rtol=1e-5, atol=2e-6 * scale + 2e-45)
        assert found[2] == pytest.approx(inertia, rel=1e-5, abs=1e-12 * float((x.astype(float) ** 2).sum()))
    elif name.endswith("sampled"):  # where rows fall together, as denormal numbers do, another sample is as good
        agree(found, expected, 2e-6 + expected[1])
    else:
        agree(found, expected)


@pytest.mark.parametrize("name", FIRST)
def test_rows_of_very_different_scales(name):
    x = rows()
    x[7] *= np.float32(100)
    x[8] *= np.float32(0.01)
    agree_at(100, name, x, FIRST[name](ops, x), FIRST[name](reference, plain(x)))
    x[7] *= np.float32(1e20)
    x[8] *= np.float32(1e-20)
    found = answer_or_error(name, x)
    if name.startswith("silhouette"):  # beside such a row the others are one point even in float64
        assert all((np.abs(part) <= 1).all() for part in found)
    else:
        agree_at(1e22, name, x, found, FIRST[name](reference, plain(x)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", FIRST)
def test_rows_that_are_not_finite(name, dtype, bad):
    torch = pytest.importorskip("torch")
    x = torch.tensor(rows()).to(getattr(torch, dtype))
    x[40, 3], x[77, 23], x[78, 0] = bad, np.nan, bad
    with pytest.raises(DataProphetError, match=r"x: 3 rows .*3 with NaN or infinity.* the first is row 40") as caught:
        FIRST[name](ops, x)
    one_line(caught)


@pytest.mark.parametrize("name", SECOND)
def test_rows_of_the_second_argument_that_are_not_finite(name):
    for bad in (np.nan, np.inf):
        y = OTHERS.copy()
        y[9, 5] = bad
        with pytest.raises(DataProphetError, match=r"^(y|directions|init): .*row 9") as caught:
            SECOND[name](ops, y)
        one_line(caught)


@pytest.mark.parametrize("name", FIRST)
def test_all_zero_rows(name):
    x = rows()
    x[[40, 70]] = 0.0
    if name in DIRECTIONS:
        with pytest.raises(DataProphetError, match=r"x: 2 rows .*2 all-zero.* the first is row 40") as caught:
            FIRST[name](ops, x)
        one_line(caught)
    else:
        agree(FIRST[name](ops, x), FIRST[name](reference, plain(x)))


@pytest.mark.parametrize("name", CLUSTERS)
def test_equal_rows(name):
    x = np.broadcast_to(rows(1), (N, D))
    agree(FIRST[name](ops, x), FIRST[name](reference, plain(x)))


class OnMetal:
    """An array of a device that no operation reads."""

    def __dlpack__(self, **_):
        raise BufferError("not exportable")

    def __dlpack_device__(self):
        return (8, 0)


def not_arrays():
    yield from (None, "rows", 3.0, object(), [[1.0], [1.0, 2.0]], {"x": 1}, rows().astype(int), rows() > 0)
    yield from (rows().astype(complex), rows().astype(object), rows().astype(np.longdouble), rows().astype("S4"))
    yield from (OnMetal(), np.zeros((N, D), "M8[s]"), np.zeros(N, [("a", "f4")]), rows()[0], rows()[None], rows()[0, 0])
    torch = pytest.importorskip("torch")
    yield from (torch.zeros(N, D, device="meta"), torch.eye(N).to_sparse(), torch.zeros(N, D, dtype=torch.int32))
    yield from (torch.zeros(N, D, dtype=torch.float8_e4m3fn), torch.zeros(N, D, dtype=torch.complex64))


@pytest.mark.parametrize("index", range(23))
def test_what_is_no_array_of_rows(index):
    things = list(not_arrays())
    assert len(things) == 23
    for name, call in FIRST.items():
        if name == "kmeans from init":  # it looks into x itself
            continue
        with pytest.raises((TypeError, DataProphetError), match=r"^x: ") as caught:
            call(ops, things[index])
        one_line(caught)
    for name, call in SECOND.items():
        if name == "kmeans init" and things[index] is None:  # its own choice
            continue
        with pytest.raises((TypeError, DataProphetError), match=r"^(y|directions|init): ") as caught:
            call(ops, things[index])
        one_line(caught)


X, NONE, NARROW = rows(10, 4), rows(0, 4), rows(10, 3)
TWO = np.arange(10) % 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.mean_direction(NONE), r"x: expected at least 1 row, got shape \(0, 4\)"),
        (lambda: ops.mean_direction(X[:, :0]), "x: 10 rows without a direction"),
        (lambda: ops.expected_cosine(NONE, X), "x: expected at least 1 row"),
        (lambda: ops.expected_cosine(X, NONE), "y: expected at least 1 row"),
        (lambda: ops.expected_cosine(X, NARROW), "y: expected 4 columns"),
        (lambda: ops.cosine_to(X, NARROW), "directions: expected 4 columns"),
        (lambda: ops.cosine_to(X[:, :0], X[:, :0]), "x: 10 rows without a direction"),
        (lambda: ops.nearest(X, NONE), "y: expected at least 1 row"),
        (lambda: ops.nearest(X, NARROW), "y: expected 4 columns"),
        (lambda: ops.nearest(X, X * 0), "y: 10 rows .*10 all-zero"),
        (lambda: ops.kmeans(NONE, 1), "k: expected 1 <= k <= 0 rows, got 1"),
        (lambda: ops.kmeans(X, 11), "k: expected 1 <= k <= 10 rows, got 11"),
        (lambda: ops.kmeans(X, -1), "k: expected 1 <= k <= 10 rows, got -1"),
        (lambda: ops.kmeans(X, 1 << 40), "k: expected 1 <= k <= 10 rows, got 1099511627776"),
        (lambda: ops.kmeans(X, 2, init=NARROW[:2]), r"init: expected shape \(2, 4\), got \(2, 3\)"),
        (lambda: ops.kmeans(X, 3, init=X[:2]), r"init: expected shape \(3, 4\), got \(2, 4\)"),
        (lambda: ops.silhouette_samples(NONE, TWO[:0]), "labels: expected 2 to n - 1 .* got 0 over 0"),
        (lambda: ops.silhouette_samples(X[:1], TWO[:1]), "labels: expected 2 to n - 1 .* got 1 over 1"),
        (lambda: ops.silhouette_samples(X, TWO * 0), "labels: expected 2 to n - 1 .* got 1 over 10"),
        (lambda: ops.silhouette_samples(X, np.arange(10)), "labels: expected 2 to n - 1 .* got 10 over 10"),
        (lambda: ops.silhouette_samples(X, TWO[:9]), "labels: expected 10 labels"),
        (lambda: ops.silhouette_samples(X, TWO[:, None]), r"labels: expected 1 dimension, got shape \(10, 1\)"),
        (lambda: ops.silhouette_score(X, TWO * 0), "labels: expected 2 to n - 1 .* got 1 over 10"),
        (lambda: ops.silhouette_score(X, TWO, sample_size=0), "sample_size: .* got 0"),
        (lambda: ops.silhouette_score(X, TWO, sample_size=-5), "sample_size: .* got -5"),
        (lambda: ops.silhouette_score(X, TWO, metric=""), "metric: expected one of"),
        (lambda: ops.cluster_entropy(TWO[:0], 2), "labels: expected at least 1"),
        (lambda: ops.cluster_entropy(TWO, 1), "labels: element 1 is 1, outside"),
        (lambda: ops.cluster_entropy(TWO - 1, 2), "labels: element 0 is -1, outside"),
    ],
)
def test_shapes_and_counts(call, message):
    with pytest.raises(DataProphetError, match=message) as caught:
        call()
    one_line(caught)


def test_no_columns():
    """Rows of no columns are all at one place; they have no direction."""
    x = rows()[:, :0]
    assert ops.kmeans(x, K).inertia == 0.0
    np.testing.assert_array_equal(ops.silhouette_samples(x, LABELS), np.zeros(N))
    with pytest.raises(DataProphetError, match="x: 90 rows"):
        ops.silhouette_samples(x, LABELS, metric="cosine")


def test_results_are_writable_and_inputs_untouched():
    x = rows()
    before = x.copy()
    for call in FIRST.values():
        for part in call(ops, x):
            if isinstance(part, np.ndarray):
                assert part.flags.writeable
                assert part.flags.c_contiguous
                assert not np.shares_memory(part, x)
    np.testing.assert_array_equal(x, before)
