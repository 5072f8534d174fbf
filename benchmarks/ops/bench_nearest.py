"""Best match of each row among other rows, by cosine: ours, NumPy, torch, scikit-learn and faiss."""

import numpy as np
from data import blobs, cast, dtypes
from harness import Bench, Way, arithmetic, at_most, exact, faster, optional, options

from dataprophet import ops

CHUNK = 2_048


def main() -> None:
    args = options(__doc__)
    bench = Bench("nearest", args, rounds=3)
    n, d = (2_000 if args.quick else 20_000), 768
    x, y = blobs(n, d, seed=0), blobs(n, d, seed=1)
    for device in args.devices:
        for dtype in dtypes(args.dtypes):
            run(bench, x, y, dtype, device)
    bench.write()


def run(bench, x_rows, y_rows, dtype, device):
    n, d = x_rows.shape
    title = f"nearest, {n:,} in {len(y_rows):,}, d={d} {dtype}"
    torch = optional("torch")
    x, y = cast(x_rows, dtype, device), cast(y_rows, dtype, device)
    ways = [Way("ours", lambda: ops.nearest(x, y))]
    if device == "cpu" and dtype == "float32":
        ways.append(Way("numpy, chunked", lambda: chunked(normalized(x_rows), normalized(y_rows), largest)))
        ways += others(x_rows, y_rows)
    if torch:
        normalize = torch.nn.functional.normalize
        ways.append(Way("torch, whole matrix", lambda: (normalize(x, dim=1) @ normalize(y, dim=1).T).max(dim=1)))
        ways.append(Way("torch, chunked", lambda: chunked(normalize(x, dim=1), normalize(y, dim=1), torch_largest)))
        if dtype != "float32":
            wide = lambda: chunked(normalize(x.float(), dim=1), normalize(y.float(), dim=1), torch_largest)  # noqa: E731
            ways.append(Way("torch, to float32 first", wide))
    sample = np.random.default_rng(2).choice(n, min(n, 500), replace=False)
    for way in ways:
        way.error = error(way.run(), x, y, sample)
    bench.same_bits(title, ways[0].run, device)
    targets = [at_most("error at most 1e-6", 1e-6, ways[0].error)]
    if torch and device == "cpu":
        targets.append(faster(f"{dtype}: at least 3x torch, chunked product and maximum", 3, "torch, chunked"))
        if not bench.quick:
            targets.append(at_most("memory: no n x m (1600 MB in float32), at most 100 MB", 100, ours_megabytes))
    kind = dtype if device == "cpu" else "float16"  # on CUDA the tensor cores multiply, whatever the dtype
    floor = arithmetic(2.0 * n * len(y_rows) * d, kind, device)
    bench.task(title, ways, floor=floor, targets=targets, device=device)


def ours_megabytes(rows):
    return rows["ours"]["extra_mb"]


def others(x, y):
    """scikit-learn and faiss, where they are installed."""
    ways = []
    metrics, faiss = optional("sklearn.metrics"), optional("faiss")
    if metrics:
        ways.append(Way("scikit-learn", lambda: metrics.pairwise_distances_argmin_min(x, y, metric="cosine")))
    if faiss:

        def search():
            index = faiss.IndexFlatIP(y.shape[1])
            index.add(normalized(y))
            return index.search(normalized(x), 1)

        ways.append(Way("faiss, IndexFlatIP", search))
    return ways


def normalized(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def chunked(x, y, best):
    return [best(x[start : start + CHUNK] @ y.T) for start in range(0, len(x), CHUNK)]


def largest(cosine):
    index = cosine.argmax(axis=1)
    return np.take_along_axis(cosine, index[:, None], axis=1)[:, 0], index


def torch_largest(cosine):
    return cosine.max(dim=1)


def error(found, x, y, sample):
    """The largest error of a cosine, over a sample of the rows."""
    if isinstance(found, list):
        cosine = np.concatenate([exact(value) for value, _ in found])
    elif exact(found[0]).ravel().max() > 1.5:  # scikit-learn gives indices, then distances
        cosine = 1.0 - exact(found[1])
    else:
        cosine = exact(found[0]).ravel()
    expected = (normalized(exact(x)[sample]) @ normalized(exact(y)).T).max(axis=1)
    return float(np.abs(cosine[sample] - expected).max())


if __name__ == "__main__":
    main()
