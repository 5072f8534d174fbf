"""The transfer lab: fine-tune a model on each source, measure the gains on each target, compare predictors.

    python benchmarks/transfer/run.py --preset miniature              five minutes on two cores
    python benchmarks/transfer/run.py --preset selection              that, and what to choose from a pool; 20 minutes
    python benchmarks/transfer/run.py --preset pretrained             needs pretrained/requirements.txt; hours
    python benchmarks/transfer/run.py --preset published              the paper's matrices as one more lab; seconds
    python benchmarks/transfer/run.py --preset custom --model M --source a=a.json b=b.json --target t=t.tsv

Results go to benchmarks/results/transfer/PRESET.json. Whatever was done already is taken from the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

RESULTS = HERE.parent / "results" / "transfer"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--preset", choices=("miniature", "selection", "pretrained", "published", "custom"), required=True
    )
    parser.add_argument("--out", type=Path, help="file of results")
    parser.add_argument("--cache", type=Path, default=Path("build/transfer"), help="folder of what was done")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1), help="of one thread each")
    parser.add_argument("--smoke", action="store_true", help="miniature, selection: seconds, for tests")
    parser.add_argument("--datasets", type=int, help="pretrained: the first so many; selection: so many targets")
    parser.add_argument("--seeds", type=int, help="how many")
    parser.add_argument("--bases", nargs="+", help="some of the bases; the others are left out of the results")
    parser.add_argument(
        "--average",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="pretrained, custom: test weights that lie so far from the base towards the trained ones, such as 0.5",
    )
    custom = parser.add_argument_group("custom")
    custom.add_argument("--model", help="name or folder, as for load_model")
    custom.add_argument("--source", nargs="+", default=[], metavar="NAME=PATH", help="datasets to train on")
    custom.add_argument("--target", nargs="+", default=[], metavar="NAME=PATH", help="benchmarks")
    custom.add_argument("--task", nargs="+", default=[], metavar="NAME=TASK", help="of sources and targets")
    custom.add_argument("--lora", type=int, default=16, help="rank of the adapter (PEFT), or 0 to train all weights")
    custom.add_argument("--rate", type=float, default=2e-4, help="learning rate")
    custom.add_argument("--epochs", type=float, default=1.0)
    custom.add_argument("--rows", type=int, default=16, help="samples of a step")
    custom.add_argument("--device", default="auto")
    arguments = parser.parse_args()

    from transfer import presets, published, report, selection, stages

    if not 0 < arguments.average <= 1 or (arguments.average < 1 and arguments.preset not in ("pretrained", "custom")):
        parser.error("--average: above 0 and at most 1, with --preset pretrained or custom")
    if arguments.preset == "published":
        told = published.told()
    else:
        if arguments.preset in ("miniature", "selection"):
            lab = presets.miniature(presets.SMOKE if arguments.smoke else presets.Miniature())
        elif arguments.preset == "pretrained":
            lab = presets.pretrained(arguments.datasets or 15, arguments.seeds or 3, arguments.average)
        else:
            lab = presets.custom(arguments)
        if unknown := [name for name in arguments.bases or () if name not in lab.bases]:
            parser.error(f"--bases: no base {unknown[0]!r}; this preset has {', '.join(lab.bases)}")
        found = stages.run(lab, arguments.cache, processes=arguments.processes, bases=arguments.bases)
        if arguments.preset == "selection":
            counts = {"count": arguments.datasets or selection.TARGETS, "seeds": arguments.seeds or 3}
            first = next(iter(found.values()))
            told = selection.run(lab, first, arguments.cache, processes=arguments.processes, **counts)
        else:
            told = report.told(lab, found)
            told |= {"average": arguments.average} if arguments.average < 1 else {}
    out = arguments.out or RESULTS / f"{told['preset']}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}")
    temporary.write_text(json.dumps(told, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")
    os.replace(temporary, out)
    print((selection if arguments.preset == "selection" else report).summary(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
