"""Diversity of a sketch, k-means and silhouette and entropy in one: ours, scikit-learn and torch."""

import numpy as np
from bench_silhouette import product, torch_silhouettes
from data import blobs, cast
from harness import Bench, Way, optional, options

from dataprophet import ops

K, SEED = 10, 0


def main() -> None:
    args = options(__doc__)
    bench = Bench("diversity", args, rounds=3)
    n, d = (1_500, 256) if args.quick else (20_000, 1_536)
    rows = blobs(n, d)
    for device in args.devices:
        run(bench, rows, device)
    bench.write()


def run(bench, rows, device):
    title = f"diversity of a sketch, {len(rows):,} x {rows.shape[1]} float16, K={K}"
    x = cast(rows, "float16", device)
    ways = [Way("ours", lambda: ops.diversity(x, K, seed=SEED))]
    cluster, metrics = optional("sklearn.cluster"), optional("sklearn.metrics")
    if cluster and device == "cpu":
        ways.append(Way("scikit-learn", lambda: sklearn_diversity(np.asarray(x, np.float32), cluster, metrics)))
        if optional("torch"):
            ways.append(Way("scikit-learn, then torch", lambda: torch_diversity(x.float(), cluster)))
    bench.same_bits(title, lambda: tuple(ways[0].run()), device)
    bench.task(title, ways, device=device)


def sklearn_diversity(x, cluster, metrics):
    labels = cluster.KMeans(K, n_init=1, random_state=SEED).fit(x).labels_
    return metrics.silhouette_score(x, labels) + entropy(labels)


def torch_diversity(x, cluster):
    import torch

    labels = cluster.KMeans(K, n_init=1, random_state=SEED).fit(x.numpy()).labels_
    return float(torch_silhouettes(x, torch.from_numpy(labels).long(), product).mean()) + entropy(labels)


def entropy(labels):
    shares = np.bincount(labels) / len(labels)
    return -(shares * np.log(shares)).sum() / np.log(K)


if __name__ == "__main__":
    main()
