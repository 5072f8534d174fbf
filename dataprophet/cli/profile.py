"""``dataprophet profile``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dataprophet.cli.common import loading, open_from, pass_over_rows, print_json, resumable
from dataprophet.files import check_file
from dataprophet.profiling import build
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.config import Work
from dataprophet.scoring.feature_pool import FeaturePool
from dataprophet.scoring.profile import CACHE, has_files, profile_pool


@resumable
def run(args: argparse.Namespace) -> int:
    """Make a profile, write it, and say what it holds; 130 and 143 when it was stopped."""
    check_file(args.out)  # now, not after the model has run
    result = _profile(args)
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


def _profile(args: argparse.Namespace) -> Profile:
    settings = {
        "clusters": args.clusters,
        "sketch_size": args.sketch_size,
        "diversity_fields": args.diversity_fields,
        "seed": args.seed,
    }
    work = Work(args.engine, args.processes, args.threads, args.ray_address)
    pool: Any = FeaturePool(args.dataset) if args.features else open_from(args, args.dataset, args.name)
    with pass_over_rows() as progress:
        if not args.features and not has_files(pool):
            from dataprophet.model import load_model

            _tell(f"{pool.name}: it has no files of its own, so this pass cannot be resumed")
            return build.profile(pool, load_model(args.model, **loading(args)), progress=progress, **settings)
        return profile_pool(
            pool,
            args.model,
            name=args.name,
            settings=settings,
            cache=args.cache or Path(args.out).parent / CACHE,
            work=work,
            loading=loading(args),
            fresh=args.fresh,
            progress=progress.of,
            tell=_tell,
        )


def _tell(line: str) -> None:
    print(f"dataprophet: {line}", file=sys.stderr)


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
