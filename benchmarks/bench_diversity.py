"""k-means and the exact Euclidean silhouette: ours, today the NumPy reference, and scikit-learn."""

import warnings

import numpy as np
from harness import Bench, Way, optional, options, thread_counts, threads

from dataprophet import ops

K, SEED = 10, 0


def main() -> None:
    args = options(__doc__)
    if optional("sklearn") is None:  # there is nothing to compare with
        return
    bench = Bench("diversity", args, rounds=3)
    n, d = (1_500 if args.quick else 10_000), 768
    x = blobs(n, d)
    for count in thread_counts():
        with threads(count):
            lloyd(bench, x, count)
            seeded(bench, x, count)
            silhouette(bench, x, count)
    bench.write()


def blobs(n, d):
    """Unit rows around overlapping centres, as embeddings are."""
    rng = np.random.default_rng(SEED)
    x = rng.standard_normal((3 * K, d))[rng.integers(3 * K, size=n)] + 2 * rng.standard_normal((n, d)) + 1
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def lloyd(bench, x, count):
    from sklearn.cluster import KMeans

    first = x[:K].copy()

    def theirs():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            return KMeans(K, init=first, n_init=1, max_iter=10, tol=0, algorithm="lloyd").fit(x)

    ways = [
        Way("ours (NumPy reference)", lambda: ops.kmeans(x, K, init=first, max_iter=10, tol=0)),
        Way("scikit-learn", theirs),
    ]
    mine, other = (way.run() for way in ways)
    assert abs(mine.inertia / other.inertia_ - 1) < 1e-5, (mine.inertia, other.inertia_)
    bench.task(f"10 Lloyd iterations from given centres, {len(x):,} x {x.shape[1]} float32, K={K}", ways, count=count)


def seeded(bench, x, count):
    from sklearn.cluster import KMeans

    ways = [
        Way("ours (NumPy reference)", lambda: ops.kmeans(x, K, seed=SEED)),
        Way("scikit-learn", lambda: KMeans(K, n_init=1, random_state=SEED).fit(x)),
    ]
    bench.task(f"kmeans with k-means++, {len(x):,} x {x.shape[1]} float32, K={K}", ways, count=count)


def silhouette(bench, x, count):
    from sklearn.metrics import silhouette_samples

    labels = np.asarray(ops.kmeans(x, K, seed=SEED).labels)
    ways = [
        Way("ours (NumPy reference)", lambda: ops.silhouette_samples(x, labels)),
        Way("scikit-learn", lambda: silhouette_samples(x, labels)),
    ]
    exact = silhouette_samples(x.astype(np.float64), labels)
    for way in ways:
        way.error = float(np.abs(way.run() - exact).max())
    assert ways[0].error <= 2e-6, ways[0].error
    bench.task(f"silhouette_samples, {len(x):,} x {x.shape[1]} float32, K={K}", ways, count=count)


if __name__ == "__main__":
    main()
