"""k-means: Lloyd iterations from given centres, the whole fit with k-means++, and how good its seeds are."""

import warnings

import numpy as np
from data import blobs, cast, dtypes, hard_rows
from harness import Bench, Way, at_most, faster, optional, options, reading

from dataprophet import ops

K, ITERATIONS, SEEDS = 10, 10, 20


def main() -> None:
    args = options(__doc__)
    bench = Bench("kmeans", args, rounds=5)
    n, d = (5_000 if args.quick else 100_000), 768
    x = blobs(n, d, noise=4.0)
    for device in args.devices:
        for dtype in dtypes(args.dtypes):
            lloyd(bench, x, dtype, device)
        fit(bench, x, device)
    if "cpu" in args.devices:
        seeds(bench, x)
        accuracy(bench)
    bench.write()


def lloyd(bench, rows, dtype, device):
    n, d = rows.shape
    title = f"{ITERATIONS} Lloyd iterations, {n:,} x {d} {dtype}, K={K}"
    x, first = cast(rows, dtype, device), rows[:K].copy()
    ways = [Way("ours", lambda: ops.kmeans(x, K, init=first, max_iter=ITERATIONS, tol=0))]
    if device == "cpu" and dtype == "float32":
        ways += [*cpu_peers(rows, first)]
    if optional("torch"):
        ways.append(Way("torch, product then index_add", lambda: torch_lloyd(x, first)))
    if device == "cuda":
        ways += [*cuda_peers(x, first)]
    mine = ways[0].run()
    assert mine.n_iter == ITERATIONS, f"converged after {mine.n_iter}"
    bench.same_bits(title, ways[0].run, device)
    targets = []
    if device == "cpu" and dtype == "float32":
        if optional("sklearn"):
            targets.append(faster("at least 3x scikit-learn", 3, "scikit-learn"))
            off = abs(mine.inertia / ways[1].run().inertia_ - 1)
            targets.append(at_most("inertia within 1e-5 of scikit-learn's", 1e-5, off))
        if optional("faiss"):
            targets.append(faster("at least 4.5x faiss", 4.5, "faiss"))
    work = (ITERATIONS + 1) * n * d * (4 if dtype == "float32" else 2)  # the last labels take another pass
    bench.task(title, ways, floor=reading(work, x), targets=targets, device=device)


def cpu_peers(x, first):
    cluster, faiss = optional("sklearn.cluster"), optional("faiss")
    if cluster:
        yield Way(
            "scikit-learn",
            quiet(
                lambda: cluster.KMeans(K, init=first, n_init=1, max_iter=ITERATIONS, tol=0, algorithm="lloyd").fit(x)
            ),
        )
    if faiss:

        def train():
            found = faiss.Kmeans(x.shape[1], K, niter=ITERATIONS, max_points_per_centroid=len(x), seed=0)
            found.train(x, init_centroids=first)
            return found.index.search(x, 1)  # the labels, which the others give too

        yield Way("faiss", train)


def cuda_peers(x, first):
    import torch

    start = torch.from_numpy(first).to(x)
    cuml, flash, fast = optional("cuml.cluster"), optional("flash_kmeans"), optional("fastkmeans")
    if cuml and x.dtype == torch.float32:
        yield Way("cuML", lambda: cuml.KMeans(K, init=start, n_init=1, max_iter=ITERATIONS, tol=0).fit(x))
    if flash:
        given = {"max_iters": ITERATIONS, "tol": 0.0, "init_centroids": start[None]}
        yield Way("flash-kmeans", lambda: flash.batch_kmeans_Euclid(x[None], K, **given))
    if fast:
        yield Way("fastkmeans", lambda: fast.FastKMeans(x.shape[1], K, niter=ITERATIONS, gpu=True).train(x))


def torch_lloyd(x, first):
    import torch

    centroids = torch.from_numpy(first).to(x)
    for turn in range(ITERATIONS + 1):
        labels = ((centroids * centroids).sum(1) - 2 * (x @ centroids.T)).argmin(1)
        if turn == ITERATIONS:
            return labels, centroids
        sums = torch.zeros(K, x.shape[1], dtype=torch.float32, device=x.device).index_add_(0, labels, x.float())
        centroids = (sums / labels.bincount(minlength=K)[:, None]).to(x.dtype)
    return None


def fit(bench, rows, device):
    title = f"kmeans with k-means++, {len(rows):,} x {rows.shape[1]} float32, K={K}"
    x = cast(rows, "float32", device)
    ways, targets = [Way("ours", lambda: ops.kmeans(x, K, seed=0))], []
    cluster = optional("sklearn.cluster") if device == "cpu" else optional("cuml.cluster")
    if cluster:
        name = "scikit-learn" if device == "cpu" else "cuML"
        ways.append(Way(name, quiet(lambda: cluster.KMeans(K, n_init=1, max_iter=100, random_state=0).fit(x))))
    if cluster and device == "cpu":
        targets.append(faster("at least 4x scikit-learn", 4, "scikit-learn"))
    bench.same_bits(title, ways[0].run, device)
    bench.task(title, ways, targets=targets, device=device)


def seeds(bench, x):
    """Inertia of the seeds alone, and of the fits from them, against scikit-learn's over the same number of seeds."""
    cluster = optional("sklearn.cluster")
    if cluster is None:
        return
    count = 4 if bench.quick else SEEDS
    found = {"seeds": ([], []), "fits": ([], [])}
    for seed in range(count):
        chosen, _ = cluster.kmeans_plusplus(x, K, random_state=seed)
        found["seeds"][0].append(ops.kmeans(x, K, seed=seed, max_iter=0).inertia)
        found["seeds"][1].append(ops.kmeans(x, K, init=chosen, max_iter=0).inertia)
        found["fits"][0].append(ops.kmeans(x, K, seed=seed).inertia)
        found["fits"][1].append(quiet(cluster.KMeans(K, n_init=1, max_iter=100, random_state=seed).fit)(x).inertia_)
    for name, (mine, theirs) in found.items():
        ratio = np.mean(mine) / np.mean(theirs)
        error = np.hypot(np.std(mine, ddof=1), np.std(theirs, ddof=1)) / np.sqrt(count) / np.mean(theirs)
        bound = 1 + 2 * float(error)
        text = f"mean inertia over {count} seeds no worse than scikit-learn's: ratio at most 1 plus two standard errors"
        bench.judge(
            f"k-means++ {name}, {len(x):,} x {x.shape[1]}", [at_most(f"{text}, {bound:.5f}", bound, float(ratio))]
        )


def accuracy(bench):
    """Inertia from the same centres against scikit-learn in float64, on data that lose digits easily."""
    cluster = optional("sklearn.cluster")
    if cluster is None:
        return
    # In clusters: rows at random lie between centres, where float32 and float64 part at the first tie.
    for name, rows in hard_rows(3_000, 200, blobs(3_000, 200, noise=0.5)):
        if name.startswith("lengths"):  # a few huge rows decide it all
            continue
        wide = rows.astype(np.float64)
        theirs = quiet(cluster.KMeans(K, init=wide[:K], n_init=1, max_iter=5, tol=0).fit)(wide).inertia_
        mine = ops.kmeans(rows, K, init=rows[:K], max_iter=5, tol=0).inertia
        text = "inertia within 1e-5 of scikit-learn's in float64"
        bench.judge(f"5 Lloyd iterations, {name}, float32", [at_most(text, 1e-5, abs(mine / theirs - 1))])


def quiet(run):
    """Without the warning that it has not converged."""

    def inner(*args):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run(*args)

    return inner


if __name__ == "__main__":
    main()
