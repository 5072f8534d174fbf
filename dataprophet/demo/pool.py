"""A pool of any size for trying out `dataprophet score`: drawn pictures, up to four questions about each, in Parquet.

python -m dataprophet.demo.pool OUT --samples 100000
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from dataprophet.demo.datasets import SOURCES, Spec, make_items
from dataprophet.demo.questions import PHRASINGS
from dataprophet.demo.scenes import STYLES
from dataprophet.demo.writers import write_items
from dataprophet.files import MANIFEST, atomic_folder

FILE_SAMPLES = 20_000
_TASKS = tuple(dict.fromkeys(spec.tasks for spec in SOURCES))


def write_pool(
    folder: str | os.PathLike[str],
    samples: int,
    *,
    seed: int = 0,
    file_samples: int = FILE_SAMPLES,
    processes: int = 1,
    overwrite: bool = False,
) -> Path:
    """Write a pool, which appears whole or not at all. The same arguments give the same bytes.

    Each file has its own tasks, style and phrasing, in turn, so that files differ as datasets do.

    Args:
        folder: folder to write.
        samples: answered questions in all.
        seed: of the drawings.
        file_samples: questions in each file; the last one has what is left.
        processes: how many processes draw.
        overwrite: replace an earlier pool.

    Returns:
        The folder.
    """
    counts = [min(file_samples, samples - start) for start in range(0, samples, file_samples)]
    with atomic_folder(folder, overwrite=overwrite) as path:
        jobs = [(path, number, count, seed) for number, count in enumerate(counts)]
        with ProcessPoolExecutor(processes) if processes > 1 else nullcontext() as pool:
            rows = sum((pool.map if pool else map)(_write, jobs))
        manifest = {"seed": seed, "rows": rows, "samples": samples, "files": len(jobs)}
        (path / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return Path(folder)


def spec_of(number: int) -> Spec:
    """What file ``number`` of a pool holds."""
    kinds = list(itertools.product(STYLES, _TASKS, PHRASINGS))
    style, tasks, phrasing = kinds[number % len(kinds)]
    name = f"part-{number:05d}"
    return Spec(name, tasks, (style,), phrasing, "finevision", f"{name}.parquet", turns=4)


def _write(job: tuple[Path, int, int, int]) -> int:
    folder, number, samples, seed = job
    spec = spec_of(number)
    items = make_items(spec, seed, samples)
    write_items(folder / spec.path, spec.name, spec.format, items)
    return len(items)


def main() -> None:
    """Write a pool as the command line says."""
    parser = argparse.ArgumentParser(description="Draw a pool.")
    parser.add_argument("out", metavar="OUT", help="folder to write")
    parser.add_argument("--samples", type=int, default=100_000, metavar="N", help="answered questions in all")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the drawings")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="processes that draw")
    args = parser.parse_args()
    print(write_pool(args.out, args.samples, seed=args.seed, processes=args.processes))


if __name__ == "__main__":
    main()
