"""Error and intervals of the estimated silhouette over many draws, beside plain sampling of as many rows.

All rows of each set are scored exactly once. A draw then takes its rows, as ops.silhouette_score does.
Sets: 20,000 drawn rows of width 768 and, on request, embeddings of the demo model
(needs the extra "model"; 1,700 samples of each of its 12 datasets are 20,400 rows and take about two minutes).

    python benchmarks/run.py measure_estimate [--demo 1700] [--rows 20000] [--sample 1024] [--draws 500]
"""

import argparse
import tempfile

import numpy as np

from dataprophet import ops
from dataprophet.ops.arrays import operand
from dataprophet.ops.clusters import silhouettes
from dataprophet.ops.estimate import estimated_mean

K, WIDTH = 10, 768


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--sample", type=int, default=1024)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--demo", type=int, default=0, help="samples of each dataset of the demo; 0 leaves them out")
    args = parser.parse_args()
    print(f"{args.draws} draws of {args.sample} rows, K = {K}\n")
    print("| set | rows | Sil | RMSE | plain / RMSE | error / RMSE | within 1.96 errors |")
    print("|---|---|---|---|---|---|---|")
    sets = synthetic(args.rows)
    if args.demo:
        sets["embeddings of the demo model"] = lambda: demo(args.demo)
    for name, make in sets.items():
        measure(name, make(), args.sample, args.draws)


def measure(name, x, sample, draws):
    found = ops.diversity(x, K)
    scores, n, clusters = found.silhouettes.astype(float), len(x), found.labels.astype(np.int32)
    squared = silhouettes(operand(x, "x", 2), clusters, "sqeuclidean")[1]
    estimates = [estimated_mean(clusters, squared, sample, seed, lambda rows: scores[rows]) for seed in range(draws)]
    means, errors = np.array(estimates).T
    off = means - scores.mean()
    rmse = np.sqrt(np.mean(off**2))
    plain = scores.std(ddof=1) * np.sqrt((1 - sample / n) / sample)
    inside = np.mean(np.abs(off) <= 1.96 * errors)
    print(
        f"| {name} | {n:,} | {scores.mean():.4f} | {rmse:.1e} | {plain / rmse:,.0f} | "
        f"{np.sqrt(np.mean(errors**2)) / rmse:.2f} | {inside:.1%} |",
        flush=True,
    )


def synthetic(n):
    def around(centres, noise, d=WIDTH):
        rng = np.random.default_rng(0)
        return rng.standard_normal((centres, d))[rng.integers(centres, size=n)] + noise * rng.standard_normal((n, d))

    def anisotropic():
        rng = np.random.default_rng(1)
        return around(3 * K, 1.0) @ (rng.standard_normal((WIDTH, WIDTH)) * np.arange(1, WIDTH + 1)[:, None] ** -0.8)

    def heavy():
        return around(3 * K, 1.0) * np.exp(0.5 * np.random.default_rng(2).standard_normal((n, 1)))

    def sphere():
        x = around(3 * K, 2.0) + 1.0
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    sets = {
        "overlapping": lambda: around(3 * K, 1.0),
        "tight": lambda: around(K, 0.3),
        "very tight": lambda: around(K, 0.1),
        "shifted by 50": lambda: around(3 * K, 1.0) + 50.0,
        "anisotropic": anisotropic,
        "norms of many sizes": heavy,
        "unit vectors": sphere,
        "8 dimensions": lambda: around(12, 0.5, 8),
        "2 dimensions": lambda: around(12, 0.3, 2),
    }
    return {name: lambda make=make: make().astype(np.float32) for name, make in sets.items()}


def demo(count):
    """z of as many samples of each dataset of the demo, as a profile keeps it: float16 unit vectors."""
    import torch

    from dataprophet import load_model, open_dataset, profile
    from dataprophet.demo.datasets import write_datasets

    torch.set_num_threads(1)  # for a model this small, more would only wait for each other
    with tempfile.TemporaryDirectory() as folder:
        drawn = write_datasets(f"{folder}/data", n_source=count, n_target=count)
        model = load_model("demo", device="cpu", dtype="float32")
        profiles = [
            profile(open_dataset(written.path), model, sketch_size=None) for written in (*drawn.sources, *drawn.targets)
        ]
    return np.concatenate([made.sketch.z for made in profiles])


if __name__ == "__main__":
    main()
