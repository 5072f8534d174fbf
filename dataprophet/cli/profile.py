"""``dataprophet profile``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dataprophet.cli.common import loading, open_from, print_json
from dataprophet.cli.progress import Progress
from dataprophet.features.file import load_features
from dataprophet.files import check_file
from dataprophet.profiling.build import profile
from dataprophet.profiling.profile import Profile


def run(args: argparse.Namespace) -> int:
    """Make a profile, write it, and say what it holds."""
    check_file(args.out)  # now, not after the model has run
    options = {
        "clusters": args.clusters,
        "sketch_size": args.sketch_size,
        "diversity_fields": args.diversity_fields,
        "seed": args.seed,
    }
    with Progress("samples") as progress:
        if args.features:
            name = args.name or Path(args.dataset).stem
            result = profile(load_features(args.dataset), args.model, name=name, progress=progress, **options)
        else:
            from dataprophet.model import load_model

            dataset = open_from(args, args.dataset, args.name)
            model = load_model(args.model, **loading(args))
            result = profile(dataset, model, progress=progress, **options)
    diversity = result.diversity  # computed before saving, so that no later command has to
    (result.seal() if args.seal else result).save(args.out)
    for problem in result.problems.first:
        print(f"dataprophet: left out: {problem}", file=sys.stderr)
    if summary := result.problems.summary():
        print(f"dataprophet: warning: {result.name}: {summary}", file=sys.stderr)
    facts = describe(result)
    if args.json:
        print_json({**facts, "left_out": dict(result.problems.counts), "out": args.out})
    else:
        tokens = f", {result.n_tokens:,} answer tokens" if result.n_tokens else ""
        print(
            f"{result.name}: {result.n_samples:,} samples{tokens}, "
            f"PPL {result.perplexity:.4f}, Sil {result.silhouette:.4f} + H {result.entropy:.4f} = {diversity:.4f} "
            f"-> {args.out}"
        )
    return 0


def describe(result: Profile) -> dict[str, object]:
    """The numbers of a profile."""
    return {
        "name": result.name,
        "model": result.model,
        "fingerprint": result.fingerprint,
        "n_samples": result.n_samples,
        "n_tokens": result.n_tokens,
        "mean_nll": result.mean_nll,
        "perplexity": result.perplexity,
        "silhouette": result.silhouette,
        "entropy": result.entropy,
        "diversity": result.diversity,
        "fields": {name: int(count.sum()) for name, count in result.field_count.items()},
    }
