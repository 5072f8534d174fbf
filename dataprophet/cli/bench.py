"""``dataprophet bench``: the compiled operations on this machine, beside NumPy, torch and scikit-learn.

How fair times are taken is the matter of `ops/timing.py`.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprophet import ops
from dataprophet.cli.common import number, output, table
from dataprophet.cli.progress import Progress
from dataprophet.errors import DataProphetError, pip_install
from dataprophet.ops.timing import Way, interleaved, machine, optional, thread_counts

CLUSTERS, TARGETS, ITERATIONS, TOKENS = 10, 14, 10, 512
PEERS = {"torch": "torch", "scikit-learn": "sklearn.cluster"}
Rows = NDArray[np.float32]
_ABOUT = "A ratio is the time of that way over ours; each at one thread or all, whichever serves it better."


def run(args: argparse.Namespace) -> int:
    """Time each operation and print a table."""
    if args.rows <= CLUSTERS:
        what = f"expected more rows than {CLUSTERS} clusters, got {args.rows}"
        raise DataProphetError(what, where="--rows", fix="raise it")
    facts = machine()
    rng = np.random.default_rng(args.seed)
    x = rng.standard_normal((args.rows, args.columns), np.float32) + np.float32(0.1)
    missing = [package for package, module in PEERS.items() if optional(module) is None]
    tasks = _tasks(x)
    lines: list[dict[str, Any]] = []
    with Progress("operations", len(tasks)) as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a peer's k-means has not converged
        for done, (operation, runs) in enumerate(tasks.items()):
            progress(done)
            ways = [Way(name, run) for name, run in runs.items() if name not in missing]
            found = interleaved(ways, args.rounds, counts=thread_counts())
            for name, times in found.items():
                line: dict[str, Any] = {"operation": operation, "way": name}
                for kind in ("cpu", "wall"):
                    line[f"{kind}_ms"] = times.median(kind) * 1e3
                    line[f"{kind}_ratio"] = times.ratio(found["dataprophet"], kind)
                lines.append(line)
    value = {"machine": facts, "rows": args.rows, "columns": args.columns, "results": lines}
    output(args, value, _describe(value, missing))
    return 0


def _describe(value: dict[str, Any], missing: list[str]) -> str:
    facts = value["machine"]
    rows = []
    for line in value["results"]:
        operation = line["operation"] if line["way"] == "dataprophet" else ""
        times = [number(line[key], 3) for key in ("cpu_ms", "cpu_ratio", "wall_ms", "wall_ratio")]
        rows.append([operation, line["way"], *times])
    where = f"{facts['cpu']}, {facts['cores']} processors, {facts['isa']}"
    head = f"{where}; {value['rows']:,} x {value['columns']} float32.\n{_ABOUT}\n\n"
    text = head + table(("operation", "", "CPU ms", "ratio", "wall ms", "ratio"), rows)
    return f"{text}\n\nMore to compare with: {pip_install(missing)}" if missing else text


def _tasks(x: Rows) -> dict[str, dict[str, Callable[[], Any]]]:
    """Operation -> way -> a function that does it once; those of packages that are missing are not called."""
    torch, cluster, metrics = (optional(name) for name in ("torch", "sklearn.cluster", "sklearn.metrics"))
    t: Any = torch.from_numpy(x) if torch else None
    directions = x[:TARGETS] / np.linalg.norm(x[:TARGETS], axis=1, keepdims=True)
    labels = np.asarray(ops.kmeans(x, CLUSTERS, max_iter=1).labels)
    hidden, tokens = x[:TOKENS], np.arange(len(x[:TOKENS]))
    logits = hidden @ x.T
    chosen: Any = torch.from_numpy(tokens)[:, None] if torch else None

    def units() -> Rows:
        return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))

    def torch_units() -> Any:
        return torch.nn.functional.normalize(t, dim=1)

    def kmeans() -> Any:
        return ops.kmeans(x, CLUSTERS, init=x[:CLUSTERS], max_iter=ITERATIONS, tol=0)

    def sklearn_kmeans() -> Any:
        return cluster.KMeans(CLUSTERS, init=x[:CLUSTERS], n_init=1, max_iter=ITERATIONS, tol=0).fit(x)

    return {
        "mean_direction": {
            "dataprophet": lambda: ops.mean_direction(x),
            "numpy": lambda: units().mean(axis=0),
            "torch": lambda: torch_units().mean(0),
        },
        f"cosine_to, {TARGETS} directions": {
            "dataprophet": lambda: ops.cosine_to(x, directions),
            "numpy": lambda: units() @ directions.T,
            "torch": lambda: torch_units() @ torch.from_numpy(directions).T,
        },
        "nearest": {
            "dataprophet": lambda: ops.nearest(x, x),
            "numpy": lambda: [(part @ x.T).argmax(axis=1) for part in np.array_split(x, len(x) // 1024 + 1)],
            "torch": lambda: [(part @ t.T).max(dim=1) for part in t.split(1024)],
        },
        f"kmeans, {ITERATIONS} iterations": {"dataprophet": kmeans, "scikit-learn": sklearn_kmeans},
        "silhouette_samples": {
            "dataprophet": lambda: ops.silhouette_samples(x, labels),
            "scikit-learn": lambda: metrics.silhouette_samples(x, labels),
        },
        f"token_logprobs, {len(tokens)} x {len(x):,} logits": {
            "dataprophet": lambda: ops.token_logprobs(logits, tokens),
            "torch": lambda: torch.from_numpy(logits).log_softmax(1).gather(1, chosen),
        },
        f"linear_logprobs, {len(tokens)} tokens of {len(x):,}": {
            "dataprophet": lambda: ops.linear_logprobs(hidden, x, tokens),
            "torch": lambda: (t[:TOKENS] @ t.T).log_softmax(1).gather(1, chosen),
        },
    }
