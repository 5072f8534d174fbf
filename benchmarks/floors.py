"""The least time that a task could take here: its work, at the rate of what does nothing but read or multiply."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataprophet import _core
from dataprophet.ops.threads import thread_count
from dataprophet.ops.timing import Way, optional

SPIN_SECONDS = 0.05


@dataclass
class Probe:
    """A way to do nothing but read or multiply, and the work it does at a number of threads."""

    way: Way
    work: Callable[[int], float]


@dataclass
class Floor:
    """The work of a task, and what finds out how fast it can be done.

    Attributes:
        unit: "GB" or "GFLOP".
        work: how many of them.
        probes: the best of them counts.
        label: what the table calls the share of the floor in a way's time.
    """

    unit: str
    work: float
    probes: list[Probe]
    label: str = "% of floor"

    def seconds(self, found: dict[str, Any], kind: str) -> float:
        rates = [
            probe.work(count) / sorted(seconds)[len(seconds) // 2]
            for probe in self.probes
            for count, seconds in found[probe.way.name].seconds[kind].items()
        ]
        return self.work / max(rates)


def longer(first: Floor, other: Floor) -> Floor:
    """Floor of a task that has both to do, and may do them at the same time."""
    return _Longer(first.unit, first.work, [*first.probes, *other.probes], first.label, (first, other))


@dataclass
class _Longer(Floor):
    floors: tuple[Floor, ...] = ()

    def seconds(self, found: dict[str, Any], kind: str) -> float:
        return max(floor.seconds(found, kind) for floor in self.floors)


def reading(work_bytes: float, x: Any) -> Floor:
    """Floor of a task that must read so many bytes; the probes read x, an array in CPU memory or a CUDA tensor."""
    gigabytes = x.nbytes / 1e9
    torch = optional("torch")
    runs = {}
    if torch is not None and isinstance(x, torch.Tensor):
        runs["read: torch sum"] = x.sum
        runs["read: torch sum of words"] = lambda: x.view(torch.int32).sum()
        if x.device.type == "cpu":
            runs["read: core"] = lambda: _core.read(x, thread_count())
    else:
        runs["read: core"] = lambda: _core.read(x, thread_count())
        runs["read: numpy sum"] = lambda: x.sum(dtype=np.float32)
    return Floor("GB", work_bytes / 1e9, [Probe(Way(name, run), lambda _: gigabytes) for name, run in runs.items()])


def arithmetic(work: float, dtype: str, device: str = "cpu") -> Floor:
    """Floor of a task of so many floating-point operations, at the rate of the instructions made for the dtype.

    On the CPU, that of bfloat16 is the rate of AMX or of AVX-512's dot products of bfloat16, where the instruction set
    in use has them; that of float32 and float16 is the rate of fused multiply-adds of float32. On CUDA it is the rate
    of a large matrix product.
    """
    if device == "cuda":
        return Floor("GFLOP", work / 1e9, [_matrix_product(dtype, device)])
    narrow = dtype == "bfloat16"
    rounds = _spin_rounds(narrow)
    once = _core.spin(narrow, 1, 1) * rounds / 1e9
    way = Way("multiply-adds", lambda: _core.spin(narrow, rounds, thread_count()))
    return Floor("GFLOP", work / 1e9, [Probe(way, lambda count: once * count)])


def _spin_rounds(narrow: bool) -> int:
    """Rounds that take a thread at least SPIN_SECONDS: beside a shorter loop, starting the threads counts."""
    rounds = 1 << 16
    while True:
        start = time.thread_time()  # a pause is no work
        _core.spin(narrow, rounds, 1)
        if time.thread_time() - start >= SPIN_SECONDS:
            return rounds
        rounds *= 2


def utilisation(work: float, dtype: str, device: str) -> Floor:
    """Model FLOP utilisation: the share of a way's time that so many operations take in a large matrix product."""
    return Floor("GFLOP", work / 1e9, [_matrix_product(dtype, device)], "MFU %")


def _matrix_product(dtype: str, device: str) -> Probe:
    torch = optional("torch")
    size = 8192 if device == "cuda" else 2048
    # At random: of equal numbers, whose bits do not switch, a GPU makes 13% more products a second.
    generator = torch.Generator(device).manual_seed(0)
    a = torch.randn((size, size), generator=generator, device=device).to(getattr(torch, dtype))
    return Probe(Way("matrix product", lambda: a @ a), lambda _: 2 * size**3 / 1e9)
