"""What reading, decoding, batching, scoring and committing cost over the bare model loop, at 4 ms a sample.

The device sleeps 4 ms for each sample, as a GPU would keep the CPU free; all else is real: JPEG files of about 57 KB
in Parquet, the demo model's template, tokenizer and image processor, the run's shards and commits. The clock runs from
the first batch on the device to the last commit, so that starting processes and loading the model do not count.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Bench, Target, at_most, optional, options
from PIL import Image

HERE = Path(__file__).resolve().parent
MILLISECONDS = 4.0
SHARDS, SHARD_CELLS = 2, 3  # of eight cells as they are by default, a commit would weigh less
IN_FLIGHT = (1, 8)


SHARD_ROWS = SHARD_CELLS * 1024


def write_pool(folder: Path, images: int, rows: int) -> None:
    """Questions about pictures of 448 x 448 pixels whose JPEG files have about 57 KB."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(64):
        coarse = Image.fromarray(rng.integers(0, 256, (56, 56, 3), np.uint8)).resize((448, 448))
        noise = rng.normal(0, 14, (448, 448, 3))
        buffer = io.BytesIO()
        Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=75)
        files.append(buffer.getvalue())
    # no two rows have the same pictures: the number behind the end of the file changes no pixel
    cells = [[files[(row + k) % 64] + f"{row} {k}".encode() for k in range(images)] for row in range(rows)]
    table = {
        "id": [f"r{row}" for row in range(rows)],
        "images": pa.array(cells, pa.list_(pa.binary())),
        "texts": [[{"user": f"What is shown in picture {row}?", "assistant": "a thing"}] for row in range(rows)],
    }
    folder.mkdir()
    pq.write_table(pa.table(table), folder / "pool.parquet", row_group_size=128)


def per_sample(out: Path, log: Path, samples: int) -> float:
    """Milliseconds for each sample from the first batch on the device to the last commit."""
    batches = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    assert sum(count for _, count in batches) == samples
    last = max(path.stat().st_mtime_ns for path in (out / "commits").glob("*.json"))
    return (last - min(start for start, _ in batches)) / 1e6 / samples


def bare(counts: list[int]) -> float:
    """Milliseconds for each sample of a loop that does nothing but the sleeping."""
    start = time.perf_counter()
    for count in counts:
        time.sleep(MILLISECONDS / 1e3 * count)
    return (time.perf_counter() - start) * 1e3 / sum(counts)


def embedded(work: Path, out: Path, flight: int) -> None:
    import dataprophet as dp

    sys.path.insert(0, str(HERE / "sleeping"))
    from sleeping_model import asleep

    model = asleep(dp.load_model("demo", device="cpu", workers=flight), MILLISECONDS / 1e3)
    dp.score(work / "pool", [work / "t.profile"], model, out=out, shard_rows=SHARD_ROWS, nearest=False)


def by_engine(engine: str) -> Any:
    def run(work: Path, out: Path, flight: int) -> None:
        import dataprophet as dp

        dp.score(
            work / "pool",
            [work / "t.profile"],
            "demo",
            out=out,
            shard_rows=SHARD_ROWS,
            nearest=False,
            engine=engine,
            processes=1,
            loading={"device": "cpu", "workers": flight},
        )

    return run


def measure(bench: Bench, title: str, images: int, ways: dict[str, Any], flights: tuple[int, ...]) -> None:
    """Every way at every number of pictures in flight, once: a run is long, and its sleep takes the same every time."""
    import dataprophet as dp

    cells = SHARDS if bench.quick else SHARDS * SHARD_CELLS
    found: dict[tuple[str, int], float] = {}
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        write_pool(work / "pool", images, cells * 1024)
        sample = dp.Sample("t", [Image.new("RGB", (32, 32), "red")], "What is it?", "a thing")
        dp.profile([sample], dp.load_model("demo", device="cpu", check=False)).save(work / "t.profile")
        loop = bare([16] * (4 if bench.quick else 100))
        for way, flight in itertools.product(ways, flights):
            out, log = work / "out", work / "log"
            os.environ["DATAPROPHET_SLEEP_LOG"] = str(log)
            ways[way](work, out, flight)
            found[way, flight] = per_sample(out, log, cells * 1024)
            shutil.rmtree(out)
            log.unlink()
    rows, targets = [["bare loop", "", f"{loop:.3f}", ""]], []
    for (way, flight), value in found.items():
        over = 100 * (value / loop - 1)
        rows.append([way, str(flight), f"{value:.3f}", f"{over:.1f}%"])
        bound = 7.0 if way.startswith("Ray") else 5.0
        if flight:  # in turn it takes what it takes
            text = f"{way}, {flight} in flight: at most {bound:g}% over the bare loop"
            targets.append(at_most(text, bound, over))
    bench.lines(title, ["", "pictures in flight", "ms a sample", "over"], rows)
    bench.judge(title, targets)


def main() -> None:
    args = options(__doc__)
    bench = Bench("pipeline", args)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE / "sleeping"), os.environ.get("PYTHONPATH", "")])
    os.environ["DATAPROPHET_SLEEP_MS"] = str(MILLISECONDS)
    os.environ["PYTHONSAFEPATH"] = "1"
    ways = {"local, in this process": embedded, "local, a worker process": by_engine("local")}
    if optional("ray") is not None:
        ways["Ray, one actor"] = by_engine("ray")
    else:
        bench.judge("Ray", [Target("Ray: at most 7% over the bare loop", 7, None, least=False)])
    measure(bench, "one picture for each sample, 448 x 448 pixels, 57 KB", 1, ways, IN_FLIGHT)
    one = {"local, in this process": embedded}
    measure(bench, "the same, all in turn", 1, one, (0,))
    measure(bench, "no pictures", 0, one, (1,))
    bench.write()


if __name__ == "__main__":
    main()
