"""``dataprophet mix``."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from dataprophet.cli.common import NOISE, about_rows, number, output, own_reading, table, tell, values, warn_of
from dataprophet.cli.pairs import numbers, pairs
from dataprophet.cli.progress import Progress
from dataprophet.data import Dataset, open_dataset
from dataprophet.data.identity.compare import joined
from dataprophet.errors import DataError, MetricError, choose
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.scoring.engines.signals import terminable
from dataprophet.selection.mixture import Mixture, mix


def run(args: argparse.Namespace) -> int:
    """Write a mixture and print its shares."""
    scores = TransferMatrix.from_csv(args.scores)
    paths = pairs(args.dataset, "--dataset", scores.sources)
    most = numbers(args.capacity, "--capacity", scores.sources)
    for name in [*paths, *most]:
        if name not in scores.sources:
            fix = choose(name, scores.sources)
            raise MetricError(f"{name!r} is not a source", where=args.scores, fix=fix)
    mixed = scores.within(**values(args, NOISE)).sources
    datasets = {name: _open(args, scores, name, paths.get(name)) for name in mixed}
    for dataset in datasets.values():
        warn_of(dataset)
    options = values(args, f"format seed minimum temperature overwrite without max_bad {NOISE}")
    options["capacity"] = [most.get(name, 2**62) for name in scores.sources] if most else None
    rows = about_rows([each for each in datasets.values() for _ in ("counted", "chosen")])  # read twice
    with terminable(), Progress("rows", rows) as progress:  # so that a half-written folder is removed
        mixture = mix(scores, args.target, args.budget, datasets, args.out, progress=progress, **options)
    for share in mixture.shares:
        for line in (str(share.tally), *share.tally.guesses(datasets[share.name].format)):
            tell(f"read {share.name}: {line}")
    for remark in mixture.remarks():
        tell(remark)
    shares = {"sources": [asdict(share) for share in mixture.shares], "out": str(mixture.folder)}
    output(args, {**values(mixture, "target budget left_out"), **shares}, mixture_table(mixture))
    return 0


def _open(args: argparse.Namespace, scores: TransferMatrix, name: str, path: str | None) -> Dataset:
    """The dataset of a source, read as its profile was, where that is known, or else as the options say."""
    given = own_reading(args, name, scores.sources)
    made_of = joined(scores.identities.get("sources", {}).get(name, ()))
    if made_of is None or made_of.kind == "features":
        if path is None:
            raise MetricError(f"no dataset for source {name!r}", where="--dataset", fix=f"add {name}=PATH")
        why = "the matrix does not tell" if made_of is None else f"of features, {made_of.path}"
        tell(f"source {name!r}: not compared with what was profiled ({why})")
        return open_dataset(path, name=name, **given)
    if limit := made_of.reading.get("limit"):
        rest = (
            "all of its rows are mixed" if given.get("limit", limit) is None else f"add --limit {name}:all to mix all"
        )
        tell(f"source {name!r}: profiled on its first {limit:,} good rows; {rest}")
    arguments = made_of.arguments(given, name, path)
    try:
        return open_dataset(**arguments, name=name)
    except DataError as error:  # other data is seldom read with the options of this one
        what = f"{error.what} (source {name!r} was profiled from {made_of.lies})"
        fix = f"{error.fix}; or give the data that was profiled (--dataset {name}=PATH)"
        raise DataError(what, where=error.where, fix=fix) from error


def mixture_table(mixture: Mixture) -> str:
    """The shares of a mixture as text."""
    rows = [
        [share.name, number(share.score), f"{share.available:,}", str(sum(share.left_out.values())), f"{share.taken:,}"]
        for share in mixture.shares
    ]
    head = [f"mixture for {mixture.target}", "M", "rows", "bad", "taken"]
    left_out = [f"left out as noise: {', '.join(mixture.left_out)}"] if mixture.left_out else []
    return "\n".join([table(head, rows), *left_out, f"{mixture.budget:,} rows -> {mixture.folder}"])
