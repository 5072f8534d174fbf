"""``dataprophet bench``: the compiled operations on this machine, beside NumPy, torch and scikit-learn."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprophet import ops
from dataprophet.cli.common import number, print_json, table
from dataprophet.cli.progress import Progress
from dataprophet.errors import DataProphetError
from dataprophet.ops.timing import Way, interleaved, machine, optional, thread_counts

CLUSTERS, TARGETS, ITERATIONS, TOKENS = 10, 14, 10, 512
PEERS = {"torch": "torch", "scikit-learn": "sklearn"}
Rows = NDArray[np.float32]


def run(args: argparse.Namespace) -> int:
    """Time each operation and print a table."""
    if args.rows <= CLUSTERS:
        raise DataProphetError(
            f"expected more rows than {CLUSTERS} clusters, got {args.rows}", where="--rows", fix="raise it"
        )
    facts = machine()
    rng = np.random.default_rng(args.seed)
    x = rng.standard_normal((args.rows, args.columns), np.float32) + np.float32(0.1)
    tasks = list(_tasks(x))
    lines: list[dict[str, Any]] = []
    with Progress("operations", len(tasks)) as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a peer's k-means has not converged
        for done, (operation, ways) in enumerate(tasks):
            progress(done)
            found = interleaved(ways, args.rounds, counts=thread_counts())
            for way in ways:
                times = found[way.name]
                ratios = [times.ratio(found[ways[0].name], kind) for kind in ("cpu", "wall")]
                lines.append(
                    {
                        "operation": operation,
                        "way": way.name,
                        "cpu_ms": times.median("cpu") * 1e3,
                        "cpu_ratio": ratios[0],
                        "wall_ms": times.median("wall") * 1e3,
                        "wall_ratio": ratios[1],
                    }
                )
    if args.json:
        print_json({"machine": facts, "rows": args.rows, "columns": args.columns, "results": lines})
        return 0
    print(f"{facts['cpu']}, {facts['cores']} processors, {facts['isa']}; {args.rows:,} x {args.columns} float32.")
    print("A ratio is the time of that way over ours; each at one thread or all, whichever serves it better.\n")
    head = ("operation", "", "CPU ms", "ratio", "wall ms", "ratio")
    print(table(head, ([*_names(line), *_figures(line)] for line in lines)))
    missing = [package for package, module in PEERS.items() if optional(module) is None]
    if missing:
        print(f"\nMore to compare with: pip install {' '.join(missing)}")
    return 0


def _names(line: dict[str, Any]) -> list[str]:
    return [line["operation"] if line["way"] == "dataprophet" else "", line["way"]]


def _figures(line: dict[str, Any]) -> list[str]:
    return [number(line[key], 3) for key in ("cpu_ms", "cpu_ratio", "wall_ms", "wall_ratio")]


def _tasks(x: Rows) -> Iterator[tuple[str, list[Way]]]:
    torch, cluster, metrics = optional("torch"), optional("sklearn.cluster"), optional("sklearn.metrics")
    normalize: Any = torch and torch.nn.functional.normalize
    t: Any = torch and torch.from_numpy(x)
    directions = x[:TARGETS] / np.linalg.norm(x[:TARGETS], axis=1, keepdims=True)
    labels = np.asarray(ops.kmeans(x, CLUSTERS, max_iter=1).labels)

    yield (
        "mean_direction",
        _ways(
            lambda: ops.mean_direction(x),
            ("numpy", lambda: (x / np.linalg.norm(x, axis=1, keepdims=True)).mean(axis=0)),
            ("torch", torch and (lambda: normalize(t, dim=1).mean(0))),
        ),
    )
    yield (
        f"cosine_to, {TARGETS} directions",
        _ways(
            lambda: ops.cosine_to(x, directions),
            ("numpy", lambda: (x / np.linalg.norm(x, axis=1, keepdims=True)) @ directions.T),
            ("torch", torch and (lambda: normalize(t, dim=1) @ torch.from_numpy(directions).T)),
        ),
    )
    yield (
        "nearest",
        _ways(
            lambda: ops.nearest(x, x),
            ("numpy", lambda: [(part @ x.T).argmax(axis=1) for part in np.array_split(x, len(x) // 1024 + 1)]),
            ("torch", torch and (lambda: [(part @ t.T).max(dim=1) for part in t.split(1024)])),
        ),
    )
    yield (
        f"kmeans, {ITERATIONS} iterations",
        _ways(
            lambda: ops.kmeans(x, CLUSTERS, init=x[:CLUSTERS], max_iter=ITERATIONS, tol=0),
            ("scikit-learn", cluster and (lambda: _sklearn_kmeans(cluster, x))),
        ),
    )
    yield (
        "silhouette_samples",
        _ways(
            lambda: ops.silhouette_samples(x, labels),
            ("scikit-learn", metrics and (lambda: metrics.silhouette_samples(x, labels))),
        ),
    )
    hidden, tokens = x[:TOKENS], np.arange(len(x[:TOKENS]))
    logits = hidden @ x.T
    chosen: Any = torch and torch.from_numpy(tokens)[:, None]
    yield (
        f"token_logprobs, {len(tokens)} x {len(x):,} logits",
        _ways(
            lambda: ops.token_logprobs(logits, tokens),
            ("torch", torch and (lambda: torch.from_numpy(logits).log_softmax(1).gather(1, chosen))),
        ),
    )
    yield (
        f"linear_logprobs, {len(tokens)} tokens of {len(x):,}",
        _ways(
            lambda: ops.linear_logprobs(hidden, x, tokens),
            ("torch", torch and (lambda: (t[:TOKENS] @ t.T).log_softmax(1).gather(1, chosen))),
        ),
    )


def _ways(ours: Callable[[], Any], *peers: tuple[str, Callable[[], Any] | None]) -> list[Way]:
    return [Way("dataprophet", ours), *(Way(name, run) for name, run in peers if run)]


def _sklearn_kmeans(cluster: Any, x: Rows) -> Any:
    return cluster.KMeans(CLUSTERS, init=x[:CLUSTERS], n_init=1, max_iter=ITERATIONS, tol=0).fit(x)
