"""Renders the results of the lab into docs/evidence.md, between its marks, and its pictures into docs/pictures.

python benchmarks/transfer/evidence.py            rewrites them
python benchmarks/transfer/evidence.py --check    fails where the page does not hold what the results say
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from transfer.agreement import cells, points
from transfer.pictures import heatmap, scatter

ROOT = Path(__file__).resolve().parents[2]
RESULTS, PAGE, PICTURES = (
    ROOT / "benchmarks" / "results" / "transfer",
    ROOT / "docs" / "evidence.md",
    ROOT / "docs/pictures",
)

SHOWN = {"right": "accuracy", "logprob": "log-probability", "relative": "relative improvement"}
PARTS = {"right": "accuracy", "won": "items won", "kept": "items kept"}
PARTED = (
    "M as published",
    "M without PPL(s)",
    "QSim * ASim * ISim",
    "PPL(s) alone",
    "same task",
    "source mean (gains of other targets)",
    "gradient cosine (backward)",
    "calibrated off the diagonal",
)
"""Predictors of which docs/evidence.md tells what they say of items won and kept; the results hold all."""


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    made, pictures = page, dict[str, str]()
    for file in sorted(RESULTS.glob("*.json")):
        told = json.loads(file.read_text(encoding="utf-8"))
        for name, text in blocks(told).items():
            made = replaced(made, f"{told['preset']} {name}", text)
        if told["preset"] == "pretrained":
            pictures = {"gains.svg": heatmap(told), "prediction.svg": scatter(told)}
    if "--check" in sys.argv[1:]:
        same = made == page and all((PICTURES / name).read_text() == text for name, text in pictures.items())
        print("the page holds what the results say" if same else "run python benchmarks/transfer/evidence.py")
        return int(not same)
    PAGE.write_text(made, encoding="utf-8")
    for name, text in pictures.items():
        (PICTURES / name).write_text(text, encoding="utf-8")
    return 0


def replaced(page: str, name: str, text: str) -> str:
    """The page with what stands between the marks of a name replaced; without them it stays as it is."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, found, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    return f"{head}{begin}\n{text}\n{end}{tail}" if found and closed else page


def blocks(told: dict[str, Any]) -> dict[str, str]:
    """Name -> Markdown of everything a lab has to tell."""
    if told["preset"] == "selection":
        return {"setting": selection_setting(told), **{pool: selections(rows) for pool, rows in told["pools"].items()}}
    found = {"setting": setting(told)}
    if "selection" in told:
        found["selection"] = published_selection(told["selection"])
    if told.get("held_out") and len(told["seeds"]) > 1:
        found["reach"] = reach(told)
    for base, each in told["bases"].items():
        for part, where in each["agreement"].items():
            found[f"{base} {part}"] = agreement(where)
        if "base_accuracy" in each:
            found[f"{base} gains"] = gains(told, each)
        if "won" in each["gains"] and "off the diagonal" in each["agreement"]["all"]:
            found[f"{base} forgetting"] = forgetting(told, each)
    return found


def setting(told: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    if "machine" not in told:
        return f"Recomputed with {versions}."
    minutes = sum(each["fine_tuning_cpu_s"] for each in told["bases"].values()) / 60
    counts = [len(told[name]) for name in ("sources", "targets", "bases", "seeds")]
    return "\n".join(["{} sources, {} targets, {} bases, {} seeds.".format(*counts), *_measured(told, minutes)])


def _measured(told: dict[str, Any], minutes: float) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    return [
        f"Measured {told['date']} on {told['machine']['processor']}, in processes of one thread;",
        f"{minutes:.0f} minutes of one core for fine-tuning and its tests.",
        f"Python {told['machine']['python']}, {versions}.",
    ]


def agreement(where: dict[str, Any]) -> str:
    """A table for each kind of gain: tau over targets of every predictor, and what its choices cost."""
    kinds = dict.fromkeys(what for each in where.values() for what in each if what in SHOWN)
    return "\n\n".join(_table(what, {cells: each[what] for cells, each in where.items()}) for what in kinds)


def _table(what: str, cells: dict[str, Any]) -> str:
    costs = what == "right"
    head = [f"tau, {SHOWN[what]}", *cells, *(["points lost, 1 and 3"] if costs else [])]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    limits = [{**rows["ceilings"], "random_95": rows["random_95"]} for rows in cells.values()]
    for name in limits[0]:
        lines.append([f"*{named(name)}*", *(_limit(each[name]) for each in limits), *([""] if costs else [])])
    last = list(cells.values())[-1]["predictors"]
    for name in last:
        rows = [each["predictors"][name] for each in cells.values()]
        taus = [f"{row['tau']:.2f} ({row['low']:.2f} to {row['high']:.2f})" for row in rows]
        lost = [f"{100 * last[name]['regret_1']:.1f}, {100 * last[name]['regret_3']:.1f}"] if costs else []
        lines.append([name, *taus, *lost])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _limit(value: Any) -> str:
    if value is None:
        return "-"
    return " to ".join(f"{each:.2f}" for each in (value if isinstance(value, list) else [value]))


def named(name: str) -> str:
    words = {
        "seed_against_seed": "ceiling: one seed against another",
        "item_halves": "ceiling: halves of the test items",
        "seed_and_half_against_others": "ceiling: seeds and halves both differ",
        "random_95": "95% of random scores",
    }
    return words.get(name, name)


def gains(told: dict[str, Any], each: dict[str, Any]) -> str:
    """Base accuracy and the best source of every target."""
    mean = np.mean(each["gains"]["right"], 0)
    lines = [["target", "items", "accuracy before", "trained on itself", "best other source", "worst"]]
    lines.append(["---", "---:", "---:", "---:", "---", "---"])
    for j, target in enumerate(told["targets"]):
        others = [i for i, source in enumerate(told["sources"]) if source != target]
        best, worst = max(others, key=lambda i: mean[i, j]), min(others, key=lambda i: mean[i, j])
        own = mean[told["sources"].index(target), j] if target in told["sources"] else np.nan
        held = " (held out)" if target in told["held_out"] else ""
        lines.append(
            [
                f"{target}{held}",
                str(sum(each["items"][target])),
                f"{100 * np.mean(each['base_accuracy'][target]):.0f}%",
                f"{100 * own:+.0f}",
                *(f"{told['sources'][i]} {100 * mean[i, j]:+.0f}" for i in (best, worst)),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def reach(told: dict[str, Any]) -> str:
    """Tau off the diagonal on held-out targets as a share of the ceiling, one seed against another; best first."""
    kinds = [(base, what) for base in told["bases"] for what in ("right", "logprob")]
    rows = [told["bases"][base]["agreement"]["held out"]["off the diagonal"][what] for base, what in kinds]
    limits = [each["ceilings"]["seed_against_seed"] for each in rows]
    shares = {
        name: [
            each["predictors"][name]["tau"] / limit if limit > 0 else np.nan
            for each, limit in zip(rows, limits, strict=True)
        ]
        for name in rows[0]["predictors"]
    }
    lines = [["share of the ceiling", *(f"{base}, {SHOWN[what]}" for base, what in kinds), "least"]]
    lines.append(["---", *["---:"] * (len(kinds) + 1)])
    lines.append(["*ceiling: one seed against another*", *(f"{limit:.2f}" for limit in limits), ""])
    for name, each in sorted(shares.items(), key=lambda pair: -min(pair[1])):
        lines.append([name, *(f"{share:.2f}" for share in each), f"{min(each):.2f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def forgetting(told: dict[str, Any], each: dict[str, Any]) -> str:
    """Items that training set right and those that it set wrong, and how well each is predicted off the diagonal."""
    off = cells(told["sources"], told["targets"], diagonal=False)
    shares = []
    for used in (~off, off):
        won, lost = (100 * np.abs(np.mean(each["gains"][what], 0))[used].mean() for what in ("won", "kept"))
        shares.append(f"sets {won:.1f}% of the items right that were wrong, and {lost:.1f}% wrong that were right")
    fewer = np.mean(each["gains"]["right"], 0)[off] < 0
    rows = each["agreement"]["all"]["off the diagonal"]
    lines = [["tau off the diagonal", *PARTS.values()], ["---", *["---:"] * len(PARTS)]]
    limits = [{**rows[what]["ceilings"], "random_95": rows[what]["random_95"]} for what in PARTS]
    lines += [[f"*{named(name)}*", *(_limit(limit[name]) for limit in limits)] for name in limits[0]]
    for name in filter(rows["right"]["predictors"].__contains__, PARTED):
        taus = [rows[what]["predictors"][name] for what in PARTS]
        lines.append([name, *(f"{row['tau']:.2f} ({row['low']:.2f} to {row['high']:.2f})" for row in taus)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    text = [f"Training on a dataset {shares[0]}, of its own test.", f"Of another one's it {shares[1]}."]
    return "\n".join([*text, f"{100 * fewer.mean():.0f}% of the gains off the diagonal are losses.", "", table])


def selection_setting(told: dict[str, Any]) -> str:
    rows, seeds = told["budget"], len(told["seeds"])
    before = (
        f"{name} {100 * np.mean(right):.0f}%"
        for name, right in zip(told["targets"], told["before"]["right"], strict=True)
    )
    first = [
        f"{rows} rows, {told['share']} times as many to choose from, {len(told['targets'])} targets, {seeds} seeds."
    ]
    first += textwrap.wrap(f"Accuracy before: {', '.join(before)}.", 120)
    return "\n".join([*first, *_measured(told, told["fine_tuning_cpu_s"] / 60)])


def selections(pool: dict[str, Any]) -> str:
    """A row for each strategy on a pool: its gains, what they are above uniform, and what was chosen."""
    share = "wrong" if pool["uniform"]["wrong"] else "same_task"
    last = {"wrong": "wrong rows", "same_task": "its task"}[share]
    lines = [["chosen", "points", "above uniform", "nats", "above uniform", last], ["---", *["---:"] * 5]]
    for name, each in pool.items():
        right, nats = each["right"], each["logprob"]
        texts = [f"{100 * right['gain'][0]:+.1f}", points(right["above_uniform"])]
        texts += [f"{nats['gain'][0]:+.2f}", points(nats["above_uniform"], 1, 2)]
        if name == "uniform":
            texts[1::2] = ["", ""]
        lines.append([name, *texts, f"{100 * each[share]:.0f}%"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def published_selection(told: dict[str, Any]) -> str:
    """Averages of the paper's table of selections, of its rows and as printed."""
    lines = [
        ["average of 14 benchmarks", "of the rows", "as printed", "above uniform"],
        ["---", "---:", "---:", "---:"],
    ]
    for name, each in told.items():
        printed = "" if each["printed"] is None else f"{each['printed']:.1f}"
        above = "" if name.endswith("uniform") else points(each["above_uniform"], 1)
        lines.append([name.replace("_", ", "), f"{each['mean']:.1f}", printed, above])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
