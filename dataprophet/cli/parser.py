"""The parser of the ``dataprophet`` command: one entry for each subcommand, whose module is imported when it runs.

It knows the commands' arguments and nothing of what they do, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
from importlib import import_module, metadata
from typing import NamedTuple

from dataprophet.cli import arguments as shared
from dataprophet.cli.arguments import Argument, argument, assignment, count, flag, positive, seconds, several


class _Command(NamedTuple):
    """What ``--help`` says of a command, an example, its arguments, and those that read several sources."""

    help: str
    example: str
    arguments: tuple[Argument, ...] = ()
    sources: tuple[Argument, ...] = ()


_COMMANDS = {
    "demo": _Command(
        "profile 8 small datasets and 4 benchmarks with a tiny model, rank them, and write a mixture",
        "dataprophet demo --out demo-output",
        (
            argument("--out", "folder to write", "DIR", default="demo-output"),
            flag("--overwrite", "replace an earlier demo's folder"),
            argument("--budget", "rows of the mixture", "N", type=count, default=500),
            shared.seed("seed of the drawn datasets and of the mixture", int),
        ),
    ),
    "doctor": _Command(
        "tell what is installed (core, CUDA, Triton, torch, transformers, images) and how to get what is not",
        "dataprophet doctor",
    ),
    "bench": _Command(
        "time the operations on arrays on this machine, beside NumPy, and torch and scikit-learn where installed",
        "dataprophet bench --rows 50000 --columns 1536",
        (
            argument("--rows", "rows of the array", "N", type=count, default=10_000),
            argument("--columns", "columns of the array", "D", type=count, default=768),
            argument("--rounds", "how often each is timed", "R", type=positive, default=3),
            shared.seed("seed of the array"),
        ),
    ),
    "validate": _Command(
        "list every row of a dataset that cannot be used, before any model runs",
        "dataprophet validate chartqa.json",
        (*shared.DATASET, flag("--no-decode", "do not decode the images")),
    ),
    "profile": _Command(
        "profile a dataset: its perplexity, mean directions and diversity under a frozen model",
        "dataprophet profile chartqa.json --model OpenGVLab/InternVL3-2B-hf --out chartqa.profile",
        (
            *shared.DATASET,
            shared.MODEL,
            argument("--out", "profile to write", "FILE", required=True),
            argument("--name", "the dataset's name (default: from its path)"),
            flag("--features", "DATASET is a file of precomputed features"),
            flag("--seal", "keep a few megabytes only: the profile no longer merges"),
            argument("--cache", "folder to work in, and to take what is unchanged from (default: beside FILE)", "DIR"),
            flag("--fresh", "compute it anew, whatever the cache knows"),
            *shared.WORKERS,
            argument("--threads", "CPU threads of each worker (default: of all cores)", "N", type=positive),
            argument("--clusters", "clusters of the diversity", "K", type=count, default=10),
            argument(
                "--sketch-size",
                "samples for the diversity, or 'all': exact, and 2 bytes kept for each number of each sample's vector",
                "N",
                type=shared.count_or_all,
                default=20_000,
            ),
            shared.fields("--diversity-fields", "fields of the diversity"),
            shared.seed("seed of the k-means"),
            *shared.LOADING,
        ),
    ),
    "matrix": _Command(
        "score every source for every target, with each factor and its standard error",
        "dataprophet matrix --source a.profile b.profile --target t.profile --out scores.csv",
        (
            several("--source", "profiles of the sources", "P", required=True),
            shared.TARGET_PROFILES,
            argument("--out", "matrix to write, its factors file beside it", "CSV", required=True),
            argument("--heatmap", "picture of the matrix to write", "FILE.png"),
            shared.PRODUCT_FIELDS,
            flag("--allow-nonpositive", "leave a score empty instead of stopping"),
        ),
    ),
    "rank": _Command(
        "rank the sources for a target, with intervals, and tell which neighbours are not resolved",
        "dataprophet rank scores.csv --target ChartQA",
        (
            shared.MATRIX_FILE,
            shared.TARGET_NAME,
            several("--without", "leave factors out, such as ISim or perplexity", "FACTOR"),
            argument("--level", "level of the intervals", type=float, default=0.95),
        ),
    ),
    "evaluate": _Command(
        "compare predicted scores with observed gains by Kendall's tau",
        "dataprophet evaluate predicted.csv observed.csv",
        (
            argument("predicted", "matrix of scores", "PREDICTED", nargs="?"),
            argument("observed", "matrix of measured gains", "OBSERVED", nargs="?"),
            flag("--published", "recompute the figures of the paper instead"),
            argument("--variant", "tau-a or tau-b", choices=("a", "b"), default="b"),
            flag("--off-diagonal", "leave out cells of a dataset with itself"),
        ),
    ),
    "mix": _Command(
        "write a mixture of the sources for a target, in proportion to their scores and exactly of the budget",
        "dataprophet mix scores.csv --target ChartQA --budget 20000 --dataset A=a.json B=b.parquet --out mixture",
        (
            shared.MATRIX_FILE,
            shared.TARGET_NAME,
            argument("--budget", "rows in all", "N", required=True, type=count),
            several("--dataset", "where each source lies", "NAME=PATH", required=True, type=assignment),
            argument("--out", "folder to write", "DIR", required=True),
            shared.EXPORT,
            shared.seed("seed of the sampling", int),
            argument("--minimum", "least rows of every source", "N", type=count, default=0),
            several("--capacity", "most rows of a source", "NAME=N", type=assignment),
            flag("--overwrite", "replace an earlier mixture's folder"),
        ),
        sources=shared.READING_SOURCES,
    ),
    "plan": _Command(
        "estimate what scoring pools will take: rows, tokens, bad rows, device time and disk, with intervals",
        "dataprophet plan pool/ --model OpenGVLab/InternVL3-2B-hf",
        (
            argument("dataset", "file or folder; with --features, of features", "POOL", nargs="+"),
            argument("--model", "name, local folder or 'demo'; not with --features"),
            flag("--features", "the pools hold precomputed features"),
            argument("--rows", "rows to draw of each pool", "N", type=count, default=256),
            shared.seed("seed of the draws"),
            argument(
                "--seconds", "for counting rows, and for the timed run, of a pool", "S", type=seconds, default=10.0
            ),
            argument("--targets", "targets to be scored for", "N", type=count, default=1),
            argument("--threads", "CPU threads of a process", "N", type=positive, default=1),
            flag("--embeddings", "plan for embeddings that are kept"),
            argument("--shard-rows", "rows of a shard, as for score", "N", type=count),
            *shared.READING,
            *shared.LOADING,
        ),
    ),
    "score": _Command(
        "score every sample of a pool for one or more targets; run it again to resume",
        "dataprophet score pool/ --target ChartQA.profile --model OpenGVLab/InternVL3-2B-hf --out scores",
        (
            argument("pool", "file or folder of a dataset; with --features, of features", "POOL"),
            several("--target", "profiles of the targets; without one, the pool's profile is all that is made", "P"),
            shared.MODEL,
            argument("--out", "folder to write, or to go on with; or a URL", "DIR", required=True),
            argument("--name", "the pool's name (default: from its path)"),
            flag("--features", "POOL holds precomputed features, or was scored with --embeddings"),
            flag("--embeddings", "keep embeddings, for further targets and select"),
            argument(
                "--nearest",
                "tell the largest cosine to a sample of each target (default: with a model)",
                action=argparse.BooleanOptionalAction,
            ),
            shared.PRODUCT_FIELDS,
            *shared.WORKERS,
            argument("--threads", "CPU threads of each worker", "N", type=positive, default=1),
            argument(
                "--shard-rows",
                "rows that are committed at a time (default: 8192; with --features 32768)",
                "N",
                type=count,
            ),
            *shared.READING,
            *shared.LOADING,
        ),
    ),
    "select": _Command(
        "write the best rows of scored pools for a trainer, exactly as many as the budget",
        "dataprophet select scores --target ChartQA --budget 20000 --format llamafactory --out best",
        (
            argument("scores", "folders written by `dataprophet score`", "DIR", nargs="*"),
            several("--target", "names of the targets", "T"),
            argument("--budget", "rows or samples to choose, exactly", "K", type=count),
            argument("--out", "folder to write", "DIR"),
            shared.EXPORT,
            argument(
                "--unit",
                "a row with all its turns, by their mean score; or one turn with those before it",
                choices=("row", "sample"),
                default="row",
            ),
            argument("--min-score", "least score", "M", type=float),
            argument(
                "--combine",
                "several targets: by the mean or the worst of the scores, each divided by its mean over the pool; or a "
                "share of the budget for each target",
                choices=("mean", "worst", "quota"),
                default="mean",
            ),
            several(
                "--target-quota", "with --combine quota: rows for each target (default: equal)", "T=N", type=assignment
            ),
            several(
                "--quota",
                "exactly so many from a source: a pool where several DIRs are given, else a file",
                "NAME=N",
                type=assignment,
            ),
            argument("--max-share", "most of one source, as a share of the budget", "F", type=float),
            argument("--near-duplicates", "leave out copies of better rows, from this cosine on", "COS", type=float),
            argument("--leakage", "leave out copies of the targets' samples, from this cosine on", "COS", type=float),
            argument("--diverse", "weight, 0 to 1, of the difference from what is chosen already", "W", type=float),
            argument("--candidates", "with --diverse: among the best C times K", "C", type=count, default=4),
            several("--pool", "where a pool lies, if not where it was scored", "NAME=PATH", type=assignment),
            flag("--no-decode", "copy images without decoding them first"),
            flag("--partial", "accept pools that are not scored to the end"),
            flag("--overwrite", "replace an earlier selection's folder"),
            argument("--verify", "make the selection of that folder again and tell what differs; nothing else", "OUT"),
        ),
    ),
}


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that shows the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default in (None, []) or action.default is False
        return action.help if silent else super()._get_help_string(action)


def build_parser() -> argparse.ArgumentParser:
    """Parser of the ``dataprophet`` command."""
    parser = argparse.ArgumentParser(
        prog="dataprophet",
        description="Predict, before any training, which data a multimodal model should be trained on.",
        epilog="Start with: dataprophet demo",
    )
    parser.add_argument("--version", action="version", version=f"dataprophet {metadata.version('dataprophet')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        made = commands.add_parser(
            name,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            epilog=f"example: {command.example}",
            formatter_class=_Help,
        )
        made.set_defaults(run=lambda args, name=name: int(import_module(f"dataprophet.cli.{name}").run(args)))
        made.add_argument("--json", action="store_true", help="print JSON for a program to read")
        for option, settings in command.arguments:
            made.add_argument(option, **settings)
        if command.sources:
            group = made.add_argument_group("reading the sources", "for all sources, or for one of them as NAME:VALUE")
            for option, settings in command.sources:
                group.add_argument(option, **settings)
    return parser
