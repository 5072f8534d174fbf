"""Peak memory of a process that scores pools with extreme rows, beside its budget (`--memory`); `make soak` runs it.

Each pool is scored by the shipped demo model in one process, which lists, scans and computes: its peak is the driver's
and a worker's in one. The peak of an ordinary pool is the model's own memory and the libraries'.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness import Bench, at_most, options

SIDE = 9459  # squared just below the limit of pixels
BUDGET = 4 << 30


def png(width: int, height: int, noise: random.Random | None = None) -> bytes:
    """A grey picture, or one of noise, whose rows are packed one by one."""
    packer = zlib.compressobj(1)
    rows = ((b"\0" + (noise.randbytes(3 * width) if noise else b"\x50" * 3 * width)) for _ in range(height))
    data = b"".join(packer.compress(row) for row in rows) + packer.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def row(name: str, *images: str, question: str = "How many?") -> dict[str, Any]:
    marks = "<image>" * len(images)
    talk = [{"role": "user", "content": f"{marks}{question}"}, {"role": "assistant", "content": "two"}]
    return {"id": name, "images": list(images), "messages": talk}


def lines(rows: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    return (json.dumps(each).encode() + b"\n" for each in rows)


def ordinary(folder: Path) -> Iterator[bytes]:
    (folder / "small.png").write_bytes(png(64, 64))
    return lines(row(str(number), "small.png") for number in range(200))


def large_pictures(folder: Path) -> Iterator[bytes]:
    for number in range(6):
        (folder / f"{number}.png").write_bytes(png(SIDE, SIDE - number))
    return lines(row(str(number), f"{number}.png") for number in range(6))


def large_pictures_of_one_row(folder: Path) -> Iterator[bytes]:
    list(large_pictures(folder))
    return lines(iter([row("all", *(f"{number}.png" for number in range(6)))]))


def long_text(folder: Path) -> Iterator[bytes]:
    return lines(row(str(size), question="word " * (size << 20)) for size in (1, 10))


def base64_rows(folder: Path) -> Iterator[bytes]:
    noise = random.Random(0)
    text = [base64.b64encode(png(500, 500, noise)).decode() for _ in range(4)]
    yield b"["
    for number in range(400):
        yield (b",\n" if number else b"") + json.dumps(row(str(number), text[number % 4])).encode()
    yield b"]"


def cut_list(folder: Path) -> Iterator[bytes]:
    yield b"["
    for number in range(1600):
        yield (b",\n" if number else b"") + json.dumps(row(str(number), question="word " * 20_000)).encode()


POOLS: dict[str, tuple[Callable[[Path], Iterator[bytes]], str, str]] = {
    "an ordinary pool": (ordinary, "jsonl", "200 samples scored"),
    "six pictures of 89 megapixels": (large_pictures, "jsonl", "6 samples scored"),
    "the same in one row": (large_pictures_of_one_row, "jsonl", ""),
    "texts of 5 and 50 MB": (long_text, "jsonl", "2 too_long"),
    "400 rows of 1 MB of base64 in a JSON list": (base64_rows, "json", "400 samples scored"),
    "a JSON list of 160 MB that is cut short": (cut_list, "json", "bad JSON at line 1600"),
}


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    bench, rows = Bench("peak_memory", options(__doc__)), []
    with tempfile.TemporaryDirectory(prefix="peak-memory-") as name:
        for title, (make, suffix, expected) in POOLS.items():
            folder = Path(name) / re.sub(r"\W", "-", title)
            folder.mkdir()
            with (folder / f"pool.{suffix}").open("wb") as file:
                file.writelines(make(folder))
            peak, seconds, said = measure(folder / f"pool.{suffix}", folder / "out")
            if expected not in said:
                raise AssertionError(f"{title}: {said}")
            rows.append([title, f"{peak / 2**20:,.0f} MiB", f"{seconds:.1f} s"])
            bench.judge(title, [at_most("peak memory over the budget of 4 GiB", 1.2, peak / BUDGET)])
    bench.lines("Peak memory of one process that scores a pool, --memory 4G", ["pool", "peak", "time"], rows)
    bench.write()
    sys.exit(any(target["reached"] is False for target in bench.targets))


def measure(pool: Path, out: Path) -> tuple[int, float, str]:
    """Peak of a process in bytes, its time, and what it said."""
    command = [sys.executable, "-P", "-m", "dataprophet.cli", "score", str(pool), "--model", "demo", "--out", str(out)]
    began = time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen([*command, "--processes", "0", "--max-bad", "1"], stdout=said, stderr=said) as run,
    ):
        _, status, usage = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        return usage.ru_maxrss * 1024, time.monotonic() - began, said.read()


if __name__ == "__main__":
    main()
