"""What mislabelled and garbled rows do to a selection: their share of the top 10%, by several rules.

A drawn pool goes through the demo's model three times: as it is, with the answers exchanged between rows, and with
answers of random letters. Pools with 5, 10 and 20% bad rows are put together of these, scored for the demo's four
benchmarks, and selected from. Nothing is timed.

python benchmarks/run.py noise [--quick] [--out DIR]
"""

from __future__ import annotations

import json
import random
import string
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from harness import options

import dataprophet as dp
from dataprophet.cli.common import table
from dataprophet.demo.datasets import SOURCES, TARGETS, Spec, make_items
from dataprophet.demo.writers import Item, write_items
from dataprophet.features.features import FIELDS, Features
from dataprophet.ops.timing import machine
from dataprophet.scoring.score import score
from dataprophet.selection import Settings, select_pool

SHARES = (0.05, 0.1, 0.2)
RULES: dict[str, dict[str, Any]] = {
    "M": {},
    "without PPL(s)": {"without": ["PPL(s)"]},
    "nll quantiles 0.05 0.9": {"nll_quantiles": (0.05, 0.9)},
    "drop inconsistent": {"drop_inconsistent": True},
    "without PPL(s), drop inconsistent": {"without": ["PPL(s)"], "drop_inconsistent": True},
    "quantiles, drop inconsistent": {"nll_quantiles": (0.05, 0.9), "drop_inconsistent": True},
}


def main() -> None:
    args = options(__doc__)
    count, of_target = (400, 60) if args.quick else (4000, 300)
    model = dp.load_model("demo", device="cpu", dtype="float32")
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder, rng = Path(temporary), np.random.default_rng(0)
        targets = [target(model, folder, spec, of_target) for spec in TARGETS]
        items = pool(count)
        clean = features(model, opened(folder, "clean", items))
        for kind, spoil in (("exchanged", exchanged), ("gibberish", gibberish)):
            other = features(model, opened(folder, kind, spoil(items)))
            for share in SHARES:
                bad = np.zeros(count, np.bool_)
                bad[rng.permutation(count)[: round(share * count)]] = True
                mixed = {
                    name: np.where(bad[:, None] if part.ndim > 1 else bad, other[name], part)
                    for name, part in clean.items()
                }
                name = f"{kind}-{share:.0%}"
                np.savez(folder / f"{name}.npz", **mixed)
                scored = folder / f"scores-{name}"
                score(folder / f"{name}.npz", targets, "demo", out=scored, features=True, embeddings=True)
                taken = {
                    rule: bad_share(scored, bad, [t.name for t in targets], given) for rule, given in RULES.items()
                }
                found.append({"kind": kind, "share": share, "bad_in_top_tenth": taken})
    print(table(["bad rows", *RULES], [row_of(entry) for entry in found]))
    args.out.joinpath("runs").mkdir(parents=True, exist_ok=True)
    record = {"command": "python benchmarks/run.py noise", "machine": machine(), "rows": count, "pools": found}
    args.out.joinpath("runs", "noise.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def row_of(entry: dict[str, Any]) -> list[str]:
    shares = (f"{value:.1%}" for value in entry["bad_in_top_tenth"].values())
    return [f"{entry['share']:.0%} {entry['kind']}", *shares]


def target(model: Any, folder: Path, spec: Spec, count: int) -> dp.Profile:
    """Profile of a benchmark, of features like the pools': by the same label, and without the model's settings."""
    given = features(model, opened(folder, spec.name, make_items(spec, 1, count)))
    vectors = {name: given[name] for name in FIELDS}
    ids = [str(place) for place in range(len(given["nll"]))]
    return dp.profile(Features(ids, given["nll"], vectors, n_tokens=given["n_tokens"]), "demo", name=spec.name)


def pool(count: int) -> list[Item]:
    """Rows of one question each, of those of the demo's sources that are right."""
    specs = [replace(spec, turns=1, options=False, variety=False) for spec in SOURCES if not spec.wrong]
    each = -(-count // len(specs))
    return [item for spec in specs for item in make_items(spec, 0, each)][:count]


def opened(folder: Path, name: str, items: list[Item]) -> Any:
    write_items(folder / f"{name}.parquet", name, "vqa", items)
    return dp.open_dataset(folder / f"{name}.parquet", name=name)


def exchanged(items: list[Item]) -> list[Item]:
    """Each row with the answer of another one, which says something else."""
    rng, answers = random.Random(0), [item.questions[0].answer for item in items]

    def another(own: str) -> str:
        return next(other for other in iter(lambda: rng.choice(answers), None) if other != own)

    return answered(items, another)


def gibberish(items: list[Item]) -> list[Item]:
    """Each row with an answer of as many random letters."""
    rng = random.Random(0)
    return answered(items, lambda own: "".join(rng.choice(string.ascii_lowercase) for _ in own))


def answered(items: list[Item], answer: Callable[[str], str]) -> list[Item]:
    def spoilt(item: Item) -> Item:
        question = item.questions[0]
        return replace(item, questions=(replace(question, answer=answer(question.answer)),))

    return [spoilt(item) for item in items]


def features(model: Any, dataset: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Columns of a features file: those of all samples, in order."""
    parts = list(model.features(dataset))
    made = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("nll", "n_tokens")}
    return made | {name: np.concatenate([part.embeddings[name] for part in parts]) for name in FIELDS}


def bad_share(scored: Path, bad: np.ndarray[Any, Any], targets: list[str], rules: dict[str, Any]) -> float:
    """The share of bad rows in the best tenth, the mean over the targets."""
    shares = []
    for target in targets:
        out = scored.parent / "selection"
        select_pool(scored, Settings([target], len(bad) // 10, **rules), out, format="ids", overwrite=True)
        shares.append(bad[pq.read_table(out / "_selected.parquet").column("position").to_numpy()].mean())
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
