"""Renders the results of the lab into docs/evidence.md, between its marks, and its pictures into docs/pictures.

python benchmarks/transfer/evidence.py            rewrites them
python benchmarks/transfer/evidence.py --check    fails where the page does not hold what the results say
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from transfer.pictures import heatmap, scatter

ROOT = Path(__file__).resolve().parents[2]
RESULTS, PAGE, PICTURES = (
    ROOT / "benchmarks" / "results" / "transfer",
    ROOT / "docs" / "evidence.md",
    ROOT / "docs/pictures",
)

SHOWN = {"right": "accuracy", "logprob": "log-probability", "relative": "relative improvement"}


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
    found = {"setting": setting(told)}
    for base, each in told["bases"].items():
        for part, where in each["agreement"].items():
            found[f"{base} {part}"] = agreement(where)
        if "base_accuracy" in each:
            found[f"{base} gains"] = gains(told, each)
    return found


def setting(told: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    if "machine" not in told:
        return f"Recomputed with {versions}."
    minutes = sum(each["fine_tuning_cpu_s"] for each in told["bases"].values()) / 60
    machine, counts = told["machine"], [len(told[name]) for name in ("sources", "targets", "bases", "seeds")]
    return "\n".join(
        [
            "{} sources, {} targets, {} bases, {} seeds.".format(*counts),
            f"Measured {told['date']} on {machine['processor']}, in processes of one thread;",
            f"{minutes:.0f} minutes of one core for fine-tuning and its tests.",
            f"Python {machine['python']}, {versions}.",
        ]
    )


def agreement(where: dict[str, Any]) -> str:
    """Tau over targets of every predictor, and what its choice costs."""
    head, rules, limits = ["predictor"], ["---"], list[list[str]]()
    names: dict[str, list[str]] = {}
    for cells, kinds in where.items():
        for what, rows in kinds.items():
            head.append(f"{cells}, {SHOWN[what]}")
            rules.append("---:")
            for name, row in rows["predictors"].items():
                names.setdefault(name, []).append(f"{row['tau']:.2f} ({row['low']:.2f} to {row['high']:.2f})")
            for name, value in {**rows["ceilings"], "random scores, 95% of them": rows["random_95"]}.items():
                text = _limit(value)
                place = next((each for each in limits if each[0] == f"*{named(name)}*"), None)
                if place is None:
                    limits.append(place := [f"*{named(name)}*"])
                place.append(text)
    if all("right" in kinds for kinds in where.values()):
        last = list(where.values())[-1]["right"]["predictors"]
        head.append("accuracy lost by its first choice, by the best of its first three")
        rules.append("---:")
        for name, row in last.items():
            names[name].append(f"{100 * row['regret_1']:.1f}, {100 * row['regret_3']:.1f} points")
        for each in limits:
            each.append("")
    lines = [head, rules, *limits, *([name, *row] for name, row in names.items())]
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


if __name__ == "__main__":
    sys.exit(main())
