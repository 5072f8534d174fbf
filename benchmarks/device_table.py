"""What one run of device.sh found, as its last twenty lines; what was not measured says so.

The steps write lines of JSON, each with the key of a row, its text and whether a goal is reached:

    python benchmarks/device_table.py FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROWS = {
    "build": ("build for this GPU", "under 60 s"),
    "tests": ("tests marked gpu", "none failed"),
    "sanitizer": ("compute-sanitizer, memcheck and racecheck", "no errors"),
    "copy": ("copy, bytes read and written", ""),
    "product": ("8192^3 product of random bfloat16", ""),
    "mean_direction": ("mean_direction bfloat16/float16/float32, % of copy", ">= 80"),
    "cosine_to": ("cosine_to, 14 directions, likewise", ">= 80"),
    "silhouette": ("silhouette 100k x 1536, % of product", ">= 50"),
    "silhouette_parts": ("of it tiles/other kernels/outside of kernels, ms", ""),
    "kmeans": ("k-means 100k x 1536 bfloat16, 10 iterations", ""),
    "nearest": ("nearest 20k in 20k x 1536 bfloat16", ""),
    "token_logprobs": ("token_logprobs bfloat16, % of copy", ">= 90"),
    "linear_1536": ("linear_logprobs D=1536, of the product's time", "<= 1.11"),
    "linear_2048": ("linear_logprobs D=2048, likewise", "<= 1.11"),
    "linear_3584": ("linear_logprobs D=3584, likewise", "<= 1.11"),
    "linear_best": ("the fastest variant at D=1536", ""),
    "profile": ("ncu: kernels profiled", "3"),
    "model": ("InternVL3-2B size, one question: MFU %", ">= 45"),
    "model_peer": ("of a padded batch of 16: samples/s ours/it", ">= 3x"),
    "end_to_end": ("score, from files to scores: % of the pass alone", ">= 90"),
}


def record(file: Path | None, key: str, text: str, reached: bool | None = None) -> None:
    """Write what was found for a row, at once, so that it stays when the run is stopped."""
    print(f"{key}: {text}", flush=True)
    if file is not None:
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps({"key": key, "text": text, "reached": reached}) + "\n")


def table(lines: list[str]) -> str:
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        entry = json.loads(line)
        found[entry["key"]] = entry
    verdicts = {True: "reached", False: "missed", None: ""}
    rows = []
    for key, (label, goal) in ROWS.items():
        entry = found.get(key, {"text": "not measured", "reached": None})
        rows.append(f"{label:52} {entry['text']:34} {goal:12} {verdicts[entry['reached']]}".rstrip())
    return "\n".join(rows)


if __name__ == "__main__":
    if len(sys.argv) > 3:  # of a step of the shell: FILE KEY TEXT [true|false]
        verdict = {"true": True, "false": False}.get(sys.argv[4] if len(sys.argv) > 4 else "")
        record(Path(sys.argv[1]), sys.argv[2], sys.argv[3], verdict)
    else:
        path = Path(sys.argv[1])
        print(table(path.read_text(encoding="utf-8").splitlines() if path.exists() else []))
