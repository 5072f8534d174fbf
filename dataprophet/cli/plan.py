"""``dataprophet plan``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from dataprophet.cli.common import loading, open_from, print_json, table
from dataprophet.errors import DataProphetError
from dataprophet.planning.amounts import Amounts
from dataprophet.planning.estimates import Estimate
from dataprophet.planning.plan import Plan, plan
from dataprophet.scoring.sources import open_feature_pool

if TYPE_CHECKING:
    from dataprophet.model import Model

_HEAD = ("pool", "rows", "bad rows", "samples", "answer tokens", "tokens", "batches", "device time")


def run(args: argparse.Namespace) -> int:
    """Print what scoring pools will cost; 1 when a file cannot be read."""
    if not args.features and args.model is None:
        raise DataProphetError("no model given", fix="add --model, or --features for precomputed features")
    pools: list[Any]
    if args.features:
        pools = [open_feature_pool(path) for path in args.dataset]
    else:
        pools = [open_from(args, path) for path in args.dataset]
    made = plan(
        pools,
        None if args.features else _model(args),
        rows=args.rows,
        seed=args.seed,
        seconds=args.seconds,
        targets=args.targets,
        embeddings=args.embeddings,
        shard_rows=args.shard_rows,
    )
    for pool in made.pools:
        for error in pool.unreadable:
            print(f"dataprophet: not read: {error}", file=sys.stderr)
    if args.json:
        print_json(made.to_json())
    else:
        print(describe(made))
    return 1 if any(pool.unreadable for pool in made.pools) else 0


def describe(made: Plan) -> str:
    """A plan as tables of numbers, each with its 95% interval where it is an estimate."""
    several = len(made.pools) > 1
    parts = [(pool.name, pool.amounts) for pool in made.pools] + ([("all", made.total)] if several else [])
    lines = [table(_HEAD, [_amounts(name, amounts) for name, amounts in parts]), ""]
    head = ("disk", "rows", "profiles", "embeddings")
    lines += [table(head, [_disk(name, amounts) for name, amounts in parts]), ""]
    for pool in made.pools:
        found = ", ".join(f"{count:,} {name}" for name, count in pool.problems.items())
        lines.append(f"{pool.name}: {pool.drawn:,} rows drawn" + (f", with {found}" if found else ", none of them bad"))
    lines += [f"device time: of {made.device}", *made.notes]
    return "\n".join(lines)


def _amounts(name: str, amounts: Amounts) -> list[str]:
    counts = (amounts.rows, amounts.bad_rows, amounts.samples, amounts.answer_tokens, amounts.tokens, amounts.calls)
    return [name, *(_shown(part, _count) for part in counts), _shown(amounts.hours, _time)]


def _disk(name: str, amounts: Amounts) -> list[str]:
    parts = (amounts.rows_bytes, amounts.profile_bytes, amounts.embedding_bytes)
    return [name, *(_shown(part, _bytes) for part in parts)]


def _shown(part: Estimate, unit: Any) -> str:
    value, low, high = unit(part.value), unit(part.low), unit(part.high)
    return value if low == value == high else f"{value} ({low} to {high})"


def _count(value: float) -> str:
    """Whole numbers below ten thousand, else three digits."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            scale = 1e3 if letter == "k" else size
            return f"{value / scale:.3g}{letter}" if value / scale < 1000 else f"{value / scale:.0f}{letter}"
    return f"{value:.0f}"


def _bytes(value: float) -> str:
    for size, letter in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f} B"


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.3g} h"
    return f"{hours * 60:.3g} min" if hours * 60 >= 1 else f"{hours * 3600:.2g} s"


def _model(args: argparse.Namespace) -> Model:
    """The model, on the CPU with as many threads as a worker of ``score`` has."""
    from dataprophet.model import load_model

    model = load_model(args.model, **loading(args))
    import torch

    torch.set_num_threads(args.threads)
    return model
