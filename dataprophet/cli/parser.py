"""The parser of the ``dataprophet`` command: one entry for each subcommand, whose module is imported when it runs.

It knows the commands' arguments and nothing of what they do, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
from importlib import import_module, metadata

from dataprophet.cli import arguments as shared
from dataprophet.cli.arguments import Argument, argument, assignment, count, flag, integer, positive, seconds, several
from dataprophet.cli.usage import Parser

# what ``--help`` says of a command, an example, and its arguments
_COMMANDS: dict[str, tuple[str, str, *tuple[Argument, ...]]] = {
    "demo": (
        "profile 9 small datasets and 4 benchmarks with a tiny model, rank them, and write a mixture",
        "dataprophet demo --out demo-output",
        argument("--out DIR", "folder to write", default="demo-output"),
        flag("--overwrite", "replace an earlier demo's folder"),
        argument("--budget N", "rows of the mixture", count, default=500),
        shared.seed("seed of the drawn datasets and of the mixture", integer),
    ),
    "doctor": (
        "tell what is installed (core, CUDA, Triton, torch, transformers, images) and how to get what is not",
        "dataprophet doctor",
    ),
    "completion": (
        "print a script that completes commands, options and paths in your shell",
        "dataprophet completion bash",
        argument("shell SHELL", "bash, zsh or fish", choices=("bash", "zsh", "fish")),
    ),
    "bench": (
        "time the operations on arrays on this machine, beside NumPy, and torch and scikit-learn where installed",
        "dataprophet bench --rows 50000 --columns 1536",
        argument("--rows N", "rows of the array", count, default=10_000),
        argument("--columns D", "columns of the array", count, default=768),
        argument("--rounds R", "how often each is timed", positive, default=3),
        shared.seed("seed of the array"),
    ),
    "run": (
        "from datasets to profiles, scores, rankings and mixtures, by a recipe or by options; run it again to go on",
        "dataprophet run --source A.json B.parquet --target bench.tsv --model demo --budget 20000 --out results",
        argument("recipe RECIPE", "YAML file; options count in the place of its keys", nargs="?"),
        several("--source [NAME=]PATH", "datasets to choose among"),
        several("--target [NAME=]PATH", "benchmarks to choose for"),
        several("--capacity NAME=N", "most rows of a source in a mixture", assignment),
        flag("--features", "sources and targets are precomputed features, and --model is their label"),
        several("--rows NAME=PATH", "with --features: the dataset that a source's rows come from", assignment),
        flag("--fresh", "compute everything anew"),
        flag("--overwrite", "replace the results of another recipe in that folder"),
    ),
    "init": (
        "write a first recipe for `dataprophet run`, with what is found out about the data and what is still open",
        "dataprophet init chartqa.json tallyqa/ --target my-benchmark.tsv",
        argument("dataset [NAME=]PATH", "datasets to choose among", nargs="+"),
        several("--target [NAME=]PATH", "benchmarks to choose for", required=True),
        argument("--out FILE", "recipe to write", default="recipe.yaml"),
        argument("--model", "name, local folder or 'demo'"),
        argument("--budget N", "rows of each mixture", positive),
        flag("--overwrite", "replace an earlier recipe"),
    ),
    "validate": (
        "tell how a dataset is read, what it holds and which rows cannot be used, before any model runs",
        "dataprophet validate chartqa.json",
        *shared.DATASET,
        flag("--no-decode", "do not decode the images"),
        argument("--show N", "rows of each kind of problem that are shown", count, default=5),
    ),
    "profile": (
        "profile a dataset: its perplexity, mean directions and diversity under a frozen model",
        "dataprophet profile chartqa.json --model OpenGVLab/InternVL3-2B-hf --out chartqa.profile",
        *shared.DATASET,
        shared.MODEL,
        argument("--out FILE", "profile to write", required=True),
        argument("--name", "the dataset's name (default: from its path)"),
        shared.MAX_BAD,
        flag("--features", "DATASET is a file of precomputed features"),
        flag("--seal", "keep a few megabytes only: the profile no longer merges"),
        argument("--cache DIR", "folder to work in, and to take what is unchanged from (default: beside FILE)"),
        flag("--fresh", "compute it anew, whatever the cache knows"),
        *shared.WORKERS,
        argument("--threads N", "CPU threads of each worker (default: of all cores)", positive),
        argument("--clusters K", "clusters of the diversity", count, default=10),
        argument(
            "--sketch-size N",
            "samples for the diversity, or 'all': exact, and 2 bytes kept for each number of each sample's vector",
            shared.count_or_all,
            default=20_000,
        ),
        shared.fields("--diversity-fields", "fields of the diversity"),
        shared.seed("seed of the k-means"),
        *shared.LOADING,
    ),
    "matrix": (
        "score every source for every target, with each factor and its standard error",
        "dataprophet matrix --source a.profile b.profile --target t.profile --out scores.csv",
        several("--source P", "profiles of the sources", required=True),
        several("--target P", "profiles of the targets", required=True),
        argument("--out CSV", "matrix to write, its factors file beside it", required=True),
        argument("--heatmap FILE", "picture of the matrix to write, .png or .svg"),
        shared.PRODUCT_FIELDS,
        several("--factors NAME", "further factors in the product, which installed packages add"),
        flag("--allow-nonpositive", "leave a score empty instead of stopping"),
        argument("--weights JSON", "exponents of the factors, from calibrate (default: the published metric)"),
    ),
    "rank": (
        "rank the sources for a target, with intervals, and tell which neighbours are not resolved",
        "dataprophet rank scores.csv --target ChartQA",
        shared.MATRIX_FILE,
        shared.TARGET_NAME,
        *shared.NOISE,
        argument("--level", "level of the intervals", shared.level, default=0.95),
    ),
    "evaluate": (
        "compare predicted scores with observed gains by Kendall's tau",
        "dataprophet evaluate predicted.csv observed.csv",
        argument("predicted PREDICTED", "matrix of scores", nargs="?"),
        argument("observed OBSERVED", "measured gains: a matrix, or source,target,gain or before,after", nargs="?"),
        flag("--published", "recompute the figures of the paper instead"),
        argument("--variant", "tau-a or tau-b", choices=("a", "b"), default="b"),
        flag("--off-diagonal", "leave out cells of a dataset with itself"),
    ),
    "calibrate": (
        "fit the exponents of the factors to measured gains, and tell how they do on targets left out of the fit",
        "dataprophet calibrate scores.csv gains.csv --out weights.json",
        shared.MATRIX_FILE,
        argument("gains GAINS", "measured gains, as for evaluate"),
        argument("--out JSON", "weights to write, for matrix --weights", required=True),
        flag("--off-diagonal", "leave out cells of a dataset with itself"),
    ),
    "report": (
        "write one page, which opens without a network, of scores, rankings, data and what they rest on",
        "dataprophet report demo-output -o report.html",
        argument("path DIR", "folder of a run or of the demo, scored pool, or matrix file"),
        argument("--out FILE", "page to write", required=True),
        argument("--gains CSV", "measured gains, as for evaluate, to compare the scores with"),
        argument("--selection DIR", "of a scored pool: a selection, whose cut is shown"),
        argument("--png DIR", "folder for a picture of each chart"),
        argument("--svg DIR", "likewise, as SVG"),
        argument("--model", "colour the answers that are shown by the probability of each token under this model"),
        *shared.LOADING,
    ),
    "mix": (
        "write a mixture of the sources for a target, in proportion to their scores and exactly of the budget",
        "dataprophet mix scores.csv --target ChartQA --budget 20000 --dataset A=a.json B=b.parquet --out mixture",
        shared.MATRIX_FILE,
        shared.TARGET_NAME,
        argument("--budget N", "rows in all", count, required=True),
        several("--dataset NAME=PATH", "where each source lies, if not where it was profiled", assignment),
        argument("--out DIR", "folder to write", required=True),
        shared.EXPORT,
        shared.seed("seed of the sampling", integer),
        argument("--minimum N", "least rows of every source", count, default=0),
        argument(
            "--temperature T", "weights are M^(1/T): above 1 more even, below 1 sharper", shared.above_zero, default=1.0
        ),
        shared.MAX_BAD,
        *shared.NOISE,
        several("--capacity NAME=N", "most rows of a source", assignment),
        flag("--overwrite", "replace an earlier mixture's folder"),
    ),
    "plan": (
        "estimate what scoring pools will take: rows, tokens, bad rows, device time and disk, with intervals",
        "dataprophet plan pool/ --model OpenGVLab/InternVL3-2B-hf",
        argument("dataset POOL", "file or folder; with --features, of features", nargs="+"),
        argument("--model", "name, local folder or 'demo'; not with --features"),
        flag("--features", "the pools hold precomputed features"),
        argument("--rows N", "rows to draw of each pool, at least 16", count, default=256),
        shared.seed("seed of the draws"),
        argument("--seconds S", "for counting rows, and for the timed run, of a pool", seconds, default=10.0),
        argument("--targets N", "targets to be scored for", count, default=1),
        argument("--threads N", "CPU threads of a process", positive, default=1),
        flag("--embeddings", "plan for embeddings that are kept"),
        argument("--shard-rows N", "rows of a shard, as for score", positive),
        *shared.READING,
        *shared.LOADING,
    ),
    "score": (
        "score every sample of a pool for one or more targets; run it again to resume",
        "dataprophet score pool/ --target ChartQA.profile --model OpenGVLab/InternVL3-2B-hf --out scores",
        argument("pool POOL", "file or folder of a dataset; with --features, of features"),
        several("--target P", "profiles of the targets; without one, the pool's profile is all that is made"),
        shared.MODEL,
        argument("--out DIR", "folder to write, or to go on with; or a URL", required=True),
        argument("--name", "the pool's name (default: from its path)"),
        shared.MAX_BAD,
        flag("--features", "POOL holds precomputed features, or was scored with --embeddings"),
        flag("--embeddings", "keep embeddings, for further targets and select"),
        argument(
            "--nearest",
            "tell the largest cosine to a sample of each target (default: with a model)",
            action=argparse.BooleanOptionalAction,
        ),
        flag("--details", "tell the mean rank of the answers' tokens, and the entropy of the model's predictions"),
        shared.PRODUCT_FIELDS,
        *shared.WORKERS,
        argument("--threads N", "CPU threads of each worker", positive, default=1),
        argument("--shard-rows N", "rows that are committed at once (default: 8192; with --features 32768)", positive),
        argument(
            "--retry STATUS,...",
            "compute shards anew that hold rows of these statuses, such as crashed,out_of_memory",
            shared.names,
        ),
        *shared.READING,
        *shared.LOADING,
    ),
    "check": (
        "compare every file of a scored folder with its checksum, and tell what can be made anew",
        "dataprophet check scores --repair",
        argument("folder DIR", "folder of `dataprophet score`, or one of a profile's cache"),
        flag("--repair", "remove what is damaged, so that the command that made the folder makes it anew"),
    ),
    "select": (
        "write the best rows of scored pools for a trainer, exactly as many as the budget",
        "dataprophet select scores --target ChartQA --budget 20000 --format llamafactory --out best",
        argument("scores DIR", "folders written by `dataprophet score`", nargs="*"),
        several("--target T", "names of the targets"),
        argument("--budget K", "rows or samples to choose, exactly", count),
        argument("--out DIR", "folder to write"),
        shared.EXPORT,
        argument(
            "--unit",
            "a row with all its turns, by their mean score; or one turn with those before it",
            choices=("row", "sample"),
            default="row",
        ),
        argument("--min-score M", "least score", shared.real),
        *shared.NOISE,
        argument(
            "--combine",
            "several targets: by the mean or the worst of the scores, each divided by its mean over the pool; or a "
            "share of the budget for each target",
            choices=("mean", "worst", "quota"),
            default="mean",
        ),
        several("--target-quota T=N", "with --combine quota: rows for each target (default: equal)", assignment),
        several(
            "--quota NAME=N",
            "exactly so many from a source: a pool where several DIRs are given, else a file",
            assignment,
        ),
        argument("--max-share F", "most of one source, as a share of the budget", shared.share),
        argument("--near-duplicates COS", "leave out copies of better rows, from this cosine on", shared.cosine),
        argument("--leakage COS", "leave out copies of the targets' samples, from this cosine on", shared.cosine),
        flag("--drop-inconsistent", "leave out rows whose answers disagree with those of their near neighbours"),
        argument("--diverse W", "weight, 0 to 1, of the difference from what is chosen already", shared.weight),
        argument("--candidates C", "with --diverse: among the best C times K", positive, default=4),
        several("--pool NAME=PATH", "where a pool lies, if not where it was scored", assignment),
        several("--image-root NAME=DIR", "where its images lie, if neither there nor where they were", assignment),
        flag("--no-decode", "copy images without decoding them first"),
        flag("--partial", "accept pools that are not scored to the end"),
        flag("--overwrite", "replace an earlier selection's folder"),
        argument("--verify OUT", "make the selection of that folder again and tell what differs; nothing else"),
    ),
}


_EACH = "for all of them, or for one as NAME:VALUE"
_GROUPS: dict[str, list[tuple[str, str, tuple[Argument, ...]]]] = {
    "mix": [("reading the sources", f"where the matrix does not know it: {_EACH}", shared.READING_SOURCES)],
    "run": [
        ("keys of a recipe", "each option is a key of that name", shared.of_recipe()),
        ("reading the datasets", f"{_EACH}; in a recipe it stands beside the path", shared.READING_SOURCES),
    ],
}
"""Further arguments of commands: head, explanation, arguments."""


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that shows the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default in (None, []) or action.default is False
        return action.help if silent else super()._get_help_string(action)


def build_parser() -> argparse.ArgumentParser:
    """Parser of the ``dataprophet`` command."""
    parser = Parser(
        prog="dataprophet",
        example="dataprophet demo",
        description="Predict, before any training, which data a multimodal model should be trained on.",
        epilog="Start with: dataprophet demo",
    )
    parser.add_argument("--version", action="version", version=f"dataprophet {metadata.version('dataprophet')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (help, example, *arguments) in _COMMANDS.items():
        made = commands.add_parser(
            name, help=help, example=example, epilog=f"example: {example}", formatter_class=_Help
        )
        made.description = f"{help[0].upper()}{help[1:]}."
        made.set_defaults(run=lambda args, name=name: int(import_module(f"dataprophet.cli.{name}").run(args)))
        for option, settings in (flag("--json", "print JSON for a program to read"), *arguments):
            made.add_argument(*["-o"] * (name == "report" and option == "--out"), option, **settings)
        for head, how, options in _GROUPS.get(name, ()):
            group = made.add_argument_group(head, how)
            for option, settings in options:
                group.add_argument(option, **settings)
    return parser
