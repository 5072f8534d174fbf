"""Arguments of every command. Commands import what they need when they run, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from importlib import import_module, metadata
from typing import Any

from dataprophet.features.features import FIELDS

_FORMATS = "llava, llamafactory, swift, finevision, vqa, webdataset, vlmeval or huggingface"
EXPORTS = ("llava", "llamafactory", "swift", "webdataset", "huggingface", "ids")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that shows the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return (
            action.help if action.default in (None, []) or action.default is False else super()._get_help_string(action)
        )


def build_parser() -> argparse.ArgumentParser:
    """Parser of the ``dataprophet`` command."""
    parser = argparse.ArgumentParser(
        prog="dataprophet",
        description="Predict, before any training, which data a multimodal model should be trained on.",
        epilog="Start with: dataprophet demo",
    )
    parser.add_argument("--version", action="version", version=f"dataprophet {metadata.version('dataprophet')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_demo, _doctor, _bench, _validate, _profile, _matrix, _rank, _evaluate, _mix, _plan, _score, _select):
        add(commands)
    return parser


def _command(commands: Any, name: str, module: str, help: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=f"example: {example}",
        formatter_class=_Help,
    )
    parser.set_defaults(run=_late(module))
    parser.add_argument("--json", action="store_true", help="print JSON for a program to read")
    return parser


def _late(module: str) -> Callable[[argparse.Namespace], int]:
    def run(args: argparse.Namespace) -> int:
        return int(import_module(f"dataprophet.cli.{module}").run(args))

    return run


def _demo(commands: Any) -> None:
    parser = _command(
        commands,
        "demo",
        "demo",
        "profile 8 small datasets and 4 benchmarks with a tiny model, rank them, and write a mixture",
        "dataprophet demo --out demo-output",
    )
    parser.add_argument("--out", default="demo-output", metavar="DIR", help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier demo's folder")
    parser.add_argument("--budget", type=_count, default=500, metavar="N", help="rows of the mixture")
    parser.add_argument(
        "--seed", type=int, metavar="N", default=0, help="seed of the drawn datasets and of the mixture"
    )


def _doctor(commands: Any) -> None:
    _command(
        commands,
        "doctor",
        "doctor",
        "tell what is installed (core, CUDA, Triton, torch, transformers, images) and how to get what is not",
        "dataprophet doctor",
    )


def _bench(commands: Any) -> None:
    parser = _command(
        commands,
        "bench",
        "bench",
        "time the operations on arrays on this machine, beside NumPy, and torch and scikit-learn where installed",
        "dataprophet bench --rows 50000 --columns 1536",
    )
    parser.add_argument("--rows", type=_count, default=10_000, metavar="N", help="rows of the array")
    parser.add_argument("--columns", type=_count, default=768, metavar="D", help="columns of the array")
    parser.add_argument("--rounds", type=_positive, default=3, metavar="R", help="how often each is timed")
    parser.add_argument("--seed", type=_count, metavar="N", default=0, help="seed of the array")


def _validate(commands: Any) -> None:
    parser = _command(
        commands,
        "validate",
        "validate",
        "list every row of a dataset that cannot be used, before any model runs",
        "dataprophet validate chartqa.json",
    )
    _dataset_arguments(parser)
    parser.add_argument("--no-decode", action="store_true", help="do not decode the images")


def _profile(commands: Any) -> None:
    parser = _command(
        commands,
        "profile",
        "profile",
        "profile a dataset: its perplexity, mean directions and diversity under a frozen model",
        "dataprophet profile chartqa.json --model OpenGVLab/InternVL3-2B-hf --out chartqa.profile",
    )
    _dataset_arguments(parser)
    parser.add_argument("--model", required=True, help="name, local folder or 'demo'; with --features, a label")
    parser.add_argument("--out", required=True, metavar="FILE", help="profile to write")
    parser.add_argument("--name", help="the dataset's name (default: from its path)")
    parser.add_argument("--features", action="store_true", help="DATASET is a file of precomputed features")
    parser.add_argument("--seal", action="store_true", help="keep a few megabytes only: the profile no longer merges")
    parser.add_argument("--clusters", type=_count, default=10, metavar="K", help="clusters of the diversity")
    parser.add_argument(
        "--sketch-size",
        type=_count_or_all,
        default=20_000,
        metavar="N",
        help="samples for the diversity, or 'all': exact, and 2 bytes kept for each number of each sample's vector",
    )
    parser.add_argument(
        "--diversity-fields", default=",".join(FIELDS), type=_names, metavar="F,...", help="fields of the diversity"
    )
    parser.add_argument("--seed", type=_count, metavar="N", default=0, help="seed of the k-means")
    _model_arguments(parser)


def _matrix(commands: Any) -> None:
    parser = _command(
        commands,
        "matrix",
        "matrix",
        "score every source for every target, with each factor and its standard error",
        "dataprophet matrix --source a.profile b.profile --target t.profile --out scores.csv",
    )
    parser.add_argument(
        "--source", nargs="+", action="extend", required=True, metavar="P", help="profiles of the sources"
    )
    parser.add_argument(
        "--target", nargs="+", action="extend", required=True, metavar="P", help="profiles of the targets"
    )
    parser.add_argument("--out", required=True, metavar="CSV", help="matrix to write, its factors file beside it")
    parser.add_argument(
        "--fields", default=",".join(FIELDS), type=_names, metavar="F,...", help="similarities in the product"
    )
    parser.add_argument("--allow-nonpositive", action="store_true", help="leave a score empty instead of stopping")


def _rank(commands: Any) -> None:
    parser = _command(
        commands,
        "rank",
        "rank",
        "rank the sources for a target, with intervals, and tell which neighbours are not resolved",
        "dataprophet rank scores.csv --target ChartQA",
    )
    parser.add_argument("scores", metavar="SCORES", help="matrix written by `dataprophet matrix`")
    parser.add_argument("--target", required=True, metavar="T", help="name of the target")
    parser.add_argument(
        "--without",
        nargs="+",
        action="extend",
        default=[],
        metavar="FACTOR",
        help="leave factors out, such as ISim or perplexity",
    )
    parser.add_argument("--level", type=float, default=0.95, help="level of the intervals")


def _evaluate(commands: Any) -> None:
    parser = _command(
        commands,
        "evaluate",
        "evaluate",
        "compare predicted scores with observed gains by Kendall's tau",
        "dataprophet evaluate predicted.csv observed.csv",
    )
    parser.add_argument("predicted", nargs="?", metavar="PREDICTED", help="matrix of scores")
    parser.add_argument("observed", nargs="?", metavar="OBSERVED", help="matrix of measured gains")
    parser.add_argument("--published", action="store_true", help="recompute the figures of the paper instead")
    parser.add_argument("--variant", choices=("a", "b"), default="b", help="tau-a or tau-b")
    parser.add_argument("--off-diagonal", action="store_true", help="leave out cells of a dataset with itself")


def _mix(commands: Any) -> None:
    parser = _command(
        commands,
        "mix",
        "mix",
        "write a mixture of the sources for a target, in proportion to their scores and exactly of the budget",
        "dataprophet mix scores.csv --target ChartQA --budget 20000 --dataset A=a.json B=b.parquet --out mixture",
    )
    parser.add_argument("scores", metavar="SCORES", help="matrix written by `dataprophet matrix`")
    parser.add_argument("--target", required=True, metavar="T", help="name of the target")
    parser.add_argument("--budget", required=True, type=_count, metavar="N", help="rows in all")
    parser.add_argument(
        "--dataset",
        nargs="+",
        action="extend",
        required=True,
        type=_assignment,
        metavar="NAME=PATH",
        help="where each source lies",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--format", choices=EXPORTS, default="llava", help="the trainer's format")
    parser.add_argument("--seed", type=int, metavar="N", default=0, help="seed of the sampling")
    parser.add_argument("--minimum", type=_count, default=0, metavar="N", help="least rows of every source")
    parser.add_argument(
        "--capacity",
        nargs="+",
        action="extend",
        default=[],
        type=_assignment,
        metavar="NAME=N",
        help="most rows of a source",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier mixture's folder")
    _mixed_arguments(parser)


def _plan(commands: Any) -> None:
    parser = _command(
        commands,
        "plan",
        "plan",
        "estimate what scoring pools will take: rows, tokens, bad rows, device time and disk, with intervals",
        "dataprophet plan pool/ --model OpenGVLab/InternVL3-2B-hf",
    )
    parser.add_argument("dataset", nargs="+", metavar="POOL", help="file or folder; with --features, of features")
    parser.add_argument("--model", help="name, local folder or 'demo'; not with --features")
    parser.add_argument("--features", action="store_true", help="the pools hold precomputed features")
    parser.add_argument("--rows", type=_count, default=256, metavar="N", help="rows to draw of each pool")
    parser.add_argument("--seed", type=_count, metavar="N", default=0, help="seed of the draws")
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=10.0,
        metavar="S",
        help="for counting rows, and for the timed run, of a pool",
    )
    parser.add_argument("--targets", type=_count, default=1, metavar="N", help="targets to be scored for")
    parser.add_argument("--threads", type=_positive, default=1, metavar="N", help="CPU threads of a process")
    parser.add_argument("--embeddings", action="store_true", help="plan for embeddings that are kept")
    parser.add_argument("--shard-rows", type=_count, metavar="N", help="rows of a shard, as for score")
    _reading_arguments(parser)
    _model_arguments(parser)


def _score(commands: Any) -> None:
    parser = _command(
        commands,
        "score",
        "score",
        "score every sample of a pool for one or more targets; run it again to resume",
        "dataprophet score pool/ --target ChartQA.profile --model OpenGVLab/InternVL3-2B-hf --out scores",
    )
    parser.add_argument("pool", metavar="POOL", help="file or folder of a dataset; with --features, of features")
    parser.add_argument(
        "--target", nargs="+", action="extend", required=True, metavar="P", help="profiles of the targets"
    )
    parser.add_argument("--model", required=True, help="name, local folder or 'demo'; with --features, a label")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write, or to go on with; or a URL")
    parser.add_argument("--name", help="the pool's name (default: from its path)")
    parser.add_argument(
        "--features", action="store_true", help="POOL holds precomputed features, or was scored with --embeddings"
    )
    parser.add_argument("--embeddings", action="store_true", help="keep embeddings, for further targets and select")
    parser.add_argument(
        "--nearest",
        action=argparse.BooleanOptionalAction,
        help="tell the largest cosine to a sample of each target (default: with a model)",
    )
    parser.add_argument(
        "--fields", default=",".join(FIELDS), type=_names, metavar="F,...", help="similarities in the product"
    )
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="what runs the shards")
    parser.add_argument("--processes", type=_count, metavar="N", help="worker processes; 0 works in this one")
    parser.add_argument("--threads", type=_positive, default=1, metavar="N", help="CPU threads of each worker")
    parser.add_argument(
        "--shard-rows",
        type=_count,
        metavar="N",
        help="rows that are committed at a time (default: 8192; with --features 32768)",
    )
    parser.add_argument("--ray-address", metavar="ADDRESS", help="of a running Ray cluster (default: start one here)")
    _reading_arguments(parser)
    _model_arguments(parser)


def _select(commands: Any) -> None:
    from dataprophet.cli.select_arguments import add_arguments

    parser = _command(
        commands,
        "select",
        "select",
        "write the best rows of scored pools for a trainer, exactly as many as the budget",
        "dataprophet select scores --target ChartQA --budget 20000 --format llamafactory --out best",
    )
    add_arguments(parser)


def _model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    parser.add_argument("--revision", help="revision of a model from the hub")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    parser.add_argument("--batch-tokens", type=int, metavar="N", help="padded tokens of a batch (default: by device)")
    parser.add_argument("--workers", type=int, metavar="N", help="threads that prepare batches (default: by device)")
    parser.add_argument("--compile", action="store_true", help="torch.compile the layers: for large pools")
    parser.add_argument(
        "--plain-head", action="store_true", help="score by the model's own logits, rounded to its dtype"
    )


def _dataset_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="file, folder or hf:NAME")
    parser.add_argument("--limit", type=_count, metavar="N", help="rows to read")
    _reading_arguments(parser)


def _reading_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subset", help="dataset of a dataset_info.json, or configuration of a hub dataset")
    parser.add_argument("--split", help="split of a Hugging Face dataset")
    parser.add_argument("--format", dest="input_format", default="auto", metavar="FORMAT", help=f"auto or {_FORMATS}")
    parser.add_argument(
        "--columns",
        nargs="+",
        action="extend",
        default=[],
        type=_assignment,
        metavar="FIELD=COLUMN",
        help="columns of a table, such as question=query answer=label",
    )
    parser.add_argument("--image-root", metavar="DIR", help="folder that image paths are relative to")
    _allowances(parser)


def _mixed_arguments(parser: argparse.ArgumentParser) -> None:
    """The reading arguments for several datasets: each value counts for all of them, or for one as NAME:VALUE."""
    group = parser.add_argument_group("reading the sources", "for all sources, or for one of them as NAME:VALUE")
    for option, metavar, help in (
        ("--input-format", "FORMAT", f"auto or {_FORMATS} (default: auto)"),
        ("--columns", "FIELD=COLUMN", "columns of a table, such as question=query tallyqa:answer=label"),
        ("--image-root", "DIR", "folder that image paths are relative to"),
        ("--subset", "SUBSET", "dataset of a dataset_info.json, or configuration of a hub dataset"),
        ("--split", "SPLIT", "split of a Hugging Face dataset"),
    ):
        kind = _assignment if option == "--columns" else str
        group.add_argument(
            option, nargs="+", action="extend", default=[], type=kind, metavar=f"[NAME:]{metavar}", help=help
        )
    _allowances(group)


def _allowances(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--allow-outside", action="store_true", help="allow image paths outside that folder")
    parser.add_argument("--allow-urls", action="store_true", help="fetch images from http(s) addresses")


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


_count.__name__ = "count"


def _positive(text: str) -> int:
    value = _count(text)
    if not value:
        raise argparse.ArgumentTypeError("0 is too few")
    return value


_positive.__name__ = "count"


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return value


_seconds.__name__ = "number of seconds"


def _count_or_all(text: str) -> int | None:
    return None if text == "all" else _count(text)


_count_or_all.__name__ = "count or 'all'"


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _assignment(text: str) -> str:
    if "=" not in text[1:-1]:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return text
