"""``dataprophet mix``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from dataprophet.cli.common import number, open_from, output, table, values, warn_of
from dataprophet.cli.pairs import numbers, owner, pairs
from dataprophet.cli.progress import Progress
from dataprophet.errors import MetricError
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.scoring.engines.signals import terminable
from dataprophet.selection.mixture import Mixture, Share, mix


def run(args: argparse.Namespace) -> int:
    """Write a mixture and print its shares."""
    scores = TransferMatrix.from_csv(args.scores)
    paths = pairs(args.dataset, "--dataset", scores.sources)
    most = numbers(args.capacity, "--capacity", scores.sources)
    for name in [*paths, *most]:
        if name not in scores.sources:
            fix = f"the sources are {', '.join(scores.sources)}"
            raise MetricError(f"{name!r} is not a source", where=args.scores, fix=fix)
    datasets = {name: open_from(_reading(args, name, scores.sources), path, name) for name, path in paths.items()}
    for dataset in datasets.values():
        warn_of(dataset)
    options = values(args, "format seed minimum overwrite max_bad")
    options["capacity"] = [most.get(name, 2**62) for name in scores.sources] if most else None
    with terminable(), Progress("rows") as progress:  # so that a half-written folder is removed
        mixture = mix(scores, args.target, args.budget, datasets, args.out, progress=progress, **options)
    shares = {"sources": [asdict(share) for share in mixture.shares], "out": str(mixture.folder)}
    output(args, {**values(mixture, "target budget"), **shares}, mixture_table(mixture))
    return 0


def mixture_table(mixture: Mixture) -> str:
    """The shares of a mixture as text."""
    rows = [[share.name, number(share.score), *map("{:,}".format, _counts(share))] for share in mixture.shares]
    head = [f"mixture for {mixture.target}", "M", "rows", "with images", "images", "turns", "bad", "taken"]
    return f"{table(head, rows)}\n{mixture.budget:,} rows -> {mixture.folder}"


def _counts(share: Share) -> tuple[int, ...]:
    held, bad = share.tally, sum(share.left_out.values())
    return share.available, held.with_images, held.images, held.turns, bad, share.taken


def _reading(args: argparse.Namespace, name: str, sources: Sequence[str]) -> argparse.Namespace:
    """The arguments of one source: values marked with its name, or else those for all."""

    def own(texts: Sequence[str]) -> list[str]:
        marked = [text[len(name) + 1 :] for text in texts if owner(text, sources, ":") == name]
        return marked or [text for text in texts if owner(text, sources, ":") is None]

    options = ("input_format", "image_root", "subset", "split", "answer_is")
    last = {option: next(reversed(own(getattr(args, option))), None) for option in options}
    return argparse.Namespace(**{**vars(args), **last, "columns": own(args.columns)})
