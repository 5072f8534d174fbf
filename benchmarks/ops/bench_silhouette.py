"""Silhouettes: exact Euclidean, the two metrics that need no pairs, and the estimate with its interval."""

import numpy as np
from data import blobs, cast, demo_embeddings, dtypes, hard_rows
from harness import (
    Bench,
    Target,
    Way,
    arithmetic,
    at_most,
    exact,
    faster,
    of_floor,
    optional,
    options,
    reading,
    thread_counts,
)
from tokens import if_present

from dataprophet import ops
from dataprophet.ops import reference

K, CHUNK = 10, 1_024
PER_ROW = {"float32": 2e-6, "float16": 2e-6, "bfloat16": 1e-5}  # largest error of one silhouette


def main() -> None:
    args = options(__doc__)
    bench = Bench("silhouette", args, rounds=3)
    if "cuda" in args.devices:
        wide = blobs(10_000 if args.quick else 100_000, 1_536)
        found = ops.kmeans(cast(wide, "float32", "cuda"), K)
        euclidean(bench, wide, exact(found.labels).astype(np.int64), "float16", "cuda")
    else:
        bench.judge("CUDA, 100,000 x 1536 float16", cuda_targets(()))
    if "cpu" in args.devices:
        on_cpu(bench, args)
    bench.write()


def on_cpu(bench, args):
    x = blobs(1_500 if args.quick else 10_000, 768)
    labels = np.asarray(ops.kmeans(x, K).labels)
    for dtype in dtypes(args.dtypes):
        euclidean(bench, x, labels, dtype, "cpu")
    for metric in ("sqeuclidean", "cosine"):
        collapsed(bench, x, labels, metric)
    accuracy(bench)
    estimated(bench, "synthetic", blobs(2_000 if args.quick else 20_000, 768), 128 if args.quick else 1_024, 30)
    demo = demo_embeddings(40 if args.quick else 500)
    if demo is not None:
        estimated(bench, "demo model", demo, 64 if args.quick else 512, 5)


def euclidean(bench, rows, labels, dtype, device):
    n, d = rows.shape
    title = f"silhouette_samples, euclidean, {n:,} x {d} {dtype}, K={K}"
    x, given = cast(rows, dtype, device), cast(labels, "int64", device)
    ways = [Way("ours", lambda: ops.silhouette_samples(x, given))]
    metrics = optional("sklearn.metrics") if device == "cpu" else None
    if metrics:
        values = exact(x).astype(np.float32)
        ways.append(Way("scikit-learn, float32", lambda: metrics.silhouette_samples(values, labels)))
    if optional("torch"):
        ways.append(Way("torch, cdist", lambda: torch_silhouettes(x, given, cdist)))
        ways.append(Way("torch, product", lambda: torch_silhouettes(x, given, product)))
        if dtype != "float32":
            ways.append(Way("torch, product in float32", lambda: torch_silhouettes(x.float(), given, product)))
    cuml = optional("cuml.metrics.cluster.silhouette_score") if device == "cuda" else None
    if cuml:
        ways.append(Way("cuML, float32", lambda: cuml.cython_silhouette_samples(x.float(), given)))
    if device == "cpu":
        truth = reference.silhouette_samples(exact(x), labels).astype(np.float64)
        for way in ways:
            way.error = float(np.abs(exact(way.run()) - truth).max())
    bench.same_bits(title, ways[0].run, device)
    targets = cuda_targets(ways) if device == "cuda" else cpu_targets(n, dtype, ways)
    bench.task(title, ways, floor=arithmetic(float(n) * n * d, dtype, device), targets=targets, device=device)


def cpu_targets(n, dtype, ways):
    bound = PER_ROW[dtype]
    targets = [at_most(f"error of a row at most {bound:.0e}", bound, ways[0].error)]
    if optional("sklearn"):
        times = {"float32": 4, "bfloat16": 8}.get(dtype)
        if times:
            targets.append(faster(f"{dtype}: at least {times}x scikit-learn", times, "scikit-learn"))
    if dtype == "float32":
        targets.append(of_floor("at least 85% of the peak of fused multiply-adds", 85))
    used = thread_counts()[-1]
    most = 8 * n * K / 1e6 + 8 * used
    text = f"extra memory at most 8 n K bytes and 8 MB for each of {used} threads, {most:.1f} MB"
    return [*targets, at_most(text, most, lambda rows: rows["ours"]["extra_mb"])]


def cuda_targets(ways):
    """Chunked products in torch are at a sixth of the peak: no more than 6x is there to be had."""
    half = of_floor("at least 50% of the measured rate of float16 matrix products", 50)
    peers = {"torch": faster("at least 2x the best of torch", 2, "torch", kind="wall")}
    peers["cuML"] = faster("at least 10x cuML", 10, "cuML", kind="wall")
    found = [if_present(target, ways, peer) for peer, target in peers.items()]
    return [half if ways else Target(half.text, half.bound, None), *found]


def cdist(a, b):
    import torch

    return torch.cdist(a.float(), b.float())


def product(a, b):
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * (a @ b.T)
    return squares.clamp_min_(0).sqrt_()


def torch_silhouettes(x, labels, distances):
    """A block of rows at a time against all rows, the sums over clusters as a product with the one-hot labels."""
    import torch

    one_hot = torch.nn.functional.one_hot(labels, K)
    sizes = one_hot.sum(0)
    scores = []
    for start in range(0, len(x), CHUNK):
        block = distances(x[start : start + CHUNK], x)
        own = labels[start : start + CHUNK]
        at = torch.arange(len(own), device=x.device)
        block[at, start + at] = 0  # rounding, under a root
        sums = (block @ one_hot.to(block.dtype)).float()
        inside = sums[at, own] / (sizes[own] - 1)
        means = sums / sizes
        means[at, own] = torch.inf
        outside = means.amin(1)
        scores.append((outside - inside) / torch.maximum(outside, inside))
    return torch.cat(scores)


def collapsed(bench, x, labels, metric):
    n, d = x.shape
    title = f"silhouette_samples, {metric}, {n:,} x {d} float32, K={K}"
    ways = [Way("ours", lambda: ops.silhouette_samples(x, labels, metric=metric))]
    metrics = optional("sklearn.metrics")
    if metrics:
        ways.append(Way("scikit-learn", lambda: metrics.silhouette_samples(x, labels, metric=metric)))
    ways.append(Way("numpy, cluster sums", lambda: numpy_collapsed(x, labels, metric)))
    truth = reference.silhouette_samples(x.astype(np.float64), labels, metric=metric).astype(np.float64)
    for way in ways:
        way.error = float(np.abs(exact(way.run()) - truth).max())
    bench.same_bits(title, ways[0].run)
    targets = [at_most("error of a row at most 2e-6", 2e-6, ways[0].error)]
    bench.task(title, ways, floor=reading(2.0 * n * d * 4, x), targets=targets)  # for the sums, then for the distances


def numpy_collapsed(x, labels, metric):
    points = x / np.linalg.norm(x, axis=1, keepdims=True) if metric == "cosine" else x - x.mean(axis=0)
    sizes = np.bincount(labels)
    one_hot = np.zeros((len(x), K), np.float32)
    one_hot[np.arange(len(x)), labels] = 1
    dots = points @ (points.T @ one_hot)
    if metric == "cosine":
        sums = sizes - dots
    else:
        norms = np.einsum("ij,ij->i", points, points)
        sums = sizes * norms[:, None] - 2 * dots + np.bincount(labels, weights=norms)
    at = np.arange(len(x))
    inside = sums[at, labels] / (sizes[labels] - 1)
    means = sums / sizes
    means[at, labels] = np.inf
    outside = means.min(axis=1)
    return (outside - inside) / np.maximum(outside, inside)


def accuracy(bench):
    for dtype in dtypes():
        for name, rows in hard_rows(1_500, 200):
            if name.startswith("lengths") or (dtype == "float16" and np.abs(rows).max() > 6e4):
                continue  # beside rows that much farther out the others are one point; float16 ends at 65504
            x = cast(rows, dtype)
            labels = np.arange(len(rows)) % K
            truth = reference.silhouette_samples(exact(x), labels).astype(np.float64)
            found = exact(ops.silhouette_samples(x, labels))
            bound = PER_ROW[dtype]
            targets = [at_most(f"error of a row at most {bound:.0e}", bound, float(np.abs(found - truth).max()))]
            if dtype == "float32":
                off = abs(ops.silhouette_score(x, labels).mean - reference.silhouette_score(exact(x), labels).mean)
                targets.append(at_most("error of the mean at most 1e-7", 1e-7, off))
            bench.judge(f"silhouettes, {name}, {dtype}", targets)


def estimated(bench, name, x, m, least):
    """The error of the estimate against that of as many plain rows, and how often its 95% interval covers."""
    n, draws = len(x), 40 if bench.quick else 500
    title = f"silhouette_score, sample_size={m:,}, {name}, {n:,} x {x.shape[1]} float32"
    labels = np.asarray(ops.kmeans(x, K).labels)
    scores = exact(ops.silhouette_samples(x, labels))
    found = [ops.silhouette_score(x, labels, sample_size=m, seed=seed) for seed in range(draws)]
    errors = np.array([each.mean for each in found]) - scores.mean()
    covered = 100 * np.mean(np.abs(errors) <= 1.96 * np.array([each.standard_error for each in found]))
    plain = np.sqrt(scores.var(ddof=1) / m * (1 - m / n))
    ratio = float(plain / np.sqrt(np.mean(errors**2)))
    targets = [
        Target(f"root mean square error at least {least}x below that of as many plain rows", least, ratio),
        Target(f"95% intervals over {draws} draws cover at least 93%", 93, float(covered)),
        at_most(f"95% intervals over {draws} draws cover at most 97%", 97, float(covered)),
    ]
    bench.same_bits(title, lambda: tuple(ops.silhouette_score(x, labels, sample_size=m, seed=1)))
    ways = [
        Way("ours, estimated", lambda: ops.silhouette_score(x, labels, sample_size=m)),
        Way("ours, exact", lambda: ops.silhouette_score(x, labels)),
    ]
    bench.task(title, ways, targets=targets)


if __name__ == "__main__":
    main()
