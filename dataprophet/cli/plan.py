"""``dataprophet plan``: opens pools and prints what scoring them will take."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from typing import Any

from dataprophet.cli.common import loading, open_from, output, refuse_reading, table, tell, values, warn_of
from dataprophet.cli.progress import Progress
from dataprophet.errors import DataProphetError
from dataprophet.planning.estimates import Estimate
from dataprophet.planning.plan import Plan, plan
from dataprophet.scoring.sources.opener import open_feature_pool

_LINE, _NAME = 118, 22  # characters of a line, and of a name in the tables, so that four estimates fit beside it


def run(args: argparse.Namespace) -> int:
    """Print what scoring pools will cost; 1 when a file cannot be read."""
    if not args.features and args.model is None:
        raise DataProphetError("no model given", fix="add --model, or --features for precomputed features")
    if args.features:
        refuse_reading(args)
    pools: list[Any] = [open_feature_pool(path) if args.features else open_from(args, path) for path in args.dataset]
    model = None
    for pool in () if args.features else pools:
        warn_of(pool)
    if not args.features:  # on the CPU with as many threads as a worker of ``score`` has
        from dataprophet.model import load_model

        model = load_model(args.model, **loading(args))
        import torch

        torch.set_num_threads(args.threads)
    with Progress("pools", len(pools)) as progress:
        made = plan(pools, model, progress=progress, **values(args, "rows seed seconds targets embeddings shard_rows"))
    for pool in made.pools:
        for error in pool.unreadable:
            tell(f"not read: {error}")
    output(args, made.to_json(), describe(made))
    return 1 if any(pool.unreadable for pool in made.pools) else 0


def describe(made: Plan) -> str:
    """A plan as tables of numbers, each with its 95% interval where it is an estimate."""
    parts = [(pool.name, pool.amounts) for pool in made.pools]
    if len(parts) > 1:
        parts.append(("all", made.total))
    tables, lines = [], []
    for head, columns in _TABLES.items():
        numbers = ([_shown(getattr(part, key), unit) for key, unit in columns.values()] for _, part in parts)
        names = (name if len(name) <= _NAME else f"{name[: _NAME - 1]}…" for name, _ in parts)
        tables += [table([head, *columns], [[name, *cells] for name, cells in zip(names, numbers, strict=True)]), ""]
    for pool in made.pools:
        found = ", ".join(f"{count:,} {name}" for name, count in pool.problems.items())
        held = str(pool.held) if pool.held.rows else f"{pool.drawn:,} rows"
        lines.append(f"{pool.name}: {held} drawn" + (f", with {found}" if found else ", none of them bad"))
    lines += [f"device time: of {made.device}", *made.notes]
    return "\n".join([*tables, *(textwrap.fill(line, _LINE, subsequent_indent="  ") for line in lines)])


def _shown(part: Estimate, unit: Callable[[float], str]) -> str:
    value, low, high = unit(part.value), unit(part.low), unit(part.high)
    return value if low == value == high else f"{value} ({low} to {high})"


def _count(value: float) -> str:
    """Whole numbers below ten thousand, else three digits."""
    return "".join(_short(value, 1e4))


def _bytes(value: float) -> str:
    return " ".join(_short(value)) + "B"


def _short(value: float, least: float = 1e3) -> tuple[str, str]:
    """A number from ``least`` on to three digits, and the letter of its thousands."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= max(size, least):
            part = value / size
            return f"{part:.3g}" if part < 1000 else f"{part:.0f}", letter
    return f"{value:.0f}", ""


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.3g} h"
    return f"{hours * 60:.3g} min" if hours * 60 >= 1 else f"{hours * 3600:.2g} s"


# first head of each table -> the others -> the amount, and how it is written
_TABLES: dict[str, dict[str, tuple[str, Callable[[float], str]]]] = {
    "pool": {
        "rows": ("rows", _count),
        "bad rows": ("bad_rows", _count),
        "samples": ("samples", _count),
        "answer tokens": ("answer_tokens", _count),
    },
    "model": {
        "tokens": ("tokens", _count),
        "batches": ("calls", _count),
        "device time": ("hours", _time),
    },
    "disk": {
        "rows": ("rows_bytes", _bytes),
        "profiles": ("profile_bytes", _bytes),
        "embeddings": ("embedding_bytes", _bytes),
    },
}
