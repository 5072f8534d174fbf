"""Pictures of the documentation that are drawn from results.

    dataprophet report demo-output -o build/r.html --svg build/charts && python tools/pictures.py build/charts

writes docs/pictures/ranking.svg, the demo's ranking that README.md quotes, and docs/pictures/speed.svg, from the JSON
of benchmarks/results. Both are light or dark as their reader is. The package has to be installed.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from dataprophet.report.palette import DARK, LIGHT

ROOT = Path(__file__).resolve().parents[1]
PICTURES, MEASURED = ROOT / "docs" / "pictures", ROOT / "benchmarks" / "results" / "intel-xeon-amx"
SPEED = [  # benchmark, beginning of its task's title, what the picture calls it
    ("mean_direction", "mean_direction, 200,000 x 768 float32", "mean direction, 200,000 x 768"),
    ("cosine_to", "cosine_to, 200,000 x 768 float32", "cosines to 14 directions, 200,000 x 768"),
    ("kmeans", "kmeans with k-means++", "k-means with k-means++, 100,000 x 768"),
    ("silhouette", "silhouette_samples, euclidean, 10,000 x 768 float32", "exact silhouette, 10,000 x 768"),
    ("nearest", "nearest, 20,000 in 20,000, d=768 float32", "nearest of 20,000 in 20,000 rows of 768"),
    (
        "linear_logprobs",
        "linear_logprobs, 2,048 rows, 151,936 tokens, d=1536 bf",
        "log-probabilities, 2,048 tokens",
    ),
]
PEERS = {"torch": "torch", "scikit-learn": "scikit-learn", "faiss": "faiss", "numpy": "NumPy", "CCE": "CCE"}
LABELS, BARS, STEP, SIDE = 310, 480, 15, 12
"""Pixels of the names, of the longest bar, of one bar with its gap, and of the margin."""


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    quoted = re.search(r"rank demo-output/scores.csv --target (\S+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert quoted is not None, "README.md quotes no ranking of the demo"
    ranking = Path(sys.argv[1], f"ranking-{quoted[1]}.svg").read_text(encoding="utf-8")
    (PICTURES / "ranking.svg").write_text(both_themes(ranking))
    (PICTURES / "speed.svg").write_text(speed())


def both_themes(svg: str) -> str:
    """A chart in the colours of the light page, with those of the dark one for who reads in the dark.

    Fonts differ from those that it was measured with: a margin gives names room.
    """
    width, height = (int(each) for each in re.findall(r'viewBox="0 0 (\d+) (\d+)"', svg)[0])
    frame = f'width="{width + 2 * SIDE}" height="{height + 2 * SIDE}"'
    box = f'viewBox="{-SIDE} {-SIDE} {width + 2 * SIDE} {height + 2 * SIDE}"'
    ground = f'<rect x="{-SIDE}" y="{-SIDE}" {frame} fill="{LIGHT["page"]}"/>'
    head = r'width="\d+" height="\d+" viewBox="[^"]*"><rect [^>]*/>'
    svg = re.sub(head, f"{frame} {box}>{style()}{ground}", svg, count=1)
    return svg if svg.endswith("\n") else svg + "\n"


def style() -> str:
    """Rules that exchange each colour of the light page, wherever it fills or draws, in the dark."""
    used = ("page", "ink", "soft", "line", "bar", "pale")  # before "mark", which has the colour of ink
    rules = "".join(f'[{how}="{LIGHT[name]}"]{{{how}:{DARK[name]}}}' for name in used for how in ("fill", "stroke"))
    return f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>"


def speed() -> str:
    """CPU time of the peers as a multiple of ours."""
    shown = [(name, peers(task(file, title))) for file, title, name in SPEED]
    longest = max(ratio for _, found in shown for _, ratio in found)
    parts, y = [], 44
    for name, found in shown:
        parts.append(text(LABELS - 10, y + STEP * len(found) / 2 + 4, name, "end"))
        for peer, ratio in found:
            long, fill = ratio / longest * BARS, LIGHT["bar" if peer == "ours" else "pale"]
            parts.append(f'<rect x="{LABELS}" y="{y}" width="{long:.1f}" height="{STEP - 3}" fill="{fill}"/>')
            label = peer if peer == "ours" else f"{peer} {ratio:.2g}"
            parts.append(text(LABELS + long + 6, y + STEP - 5, label))
            y += STEP
        y += 10
    width = LABELS + BARS + 130
    top = text(LABELS, 24, "CPU time as a multiple of ours (two cores of an Intel Xeon, AMX)")
    attributes = 'role="img" font-family="system-ui, Helvetica, Arial, sans-serif" font-size="12"'
    ground = f'<rect width="{width}" height="{y + 6}" fill="{LIGHT["page"]}"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y + 6}" {attributes}>'
    return "\n".join([head, style(), ground, top, *parts, "</svg>\n"])


def task(file: str, title: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads((MEASURED / f"{file}.json").read_text(encoding="utf-8"))["tasks"]
    return next(each for each in found if each["title"].startswith(title))


def peers(measured: dict[str, Any]) -> list[tuple[str, float]]:
    """Ours, and the best way of each library."""
    best: dict[str, float] = {"ours": 1.0}
    for way in measured["ways"]:
        for begins, peer in PEERS.items():
            if way["name"].startswith(begins) and way["cpu_ratio"]:
                best[peer] = min(best.get(peer, float("inf")), way["cpu_ratio"])
    return list(best.items())


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{LIGHT["ink"]}">{words}</text>'


if __name__ == "__main__":
    main()
