"""``dataprophet profile``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dataprophet.cli.common import (
    assigned,
    loading,
    open_from,
    output,
    pass_over_rows,
    refuse_reading,
    resumable,
    take_name,
    tell,
    values,
    warn_of,
)
from dataprophet.data.sample import Tally, check_bad
from dataprophet.errors import DataProphetError
from dataprophet.files import check_replaced
from dataprophet.metric.factors import remarks_on_perplexity
from dataprophet.profiling.profile import Profile
from dataprophet.profiling.profile_file import is_profile
from dataprophet.scoring.cache import CACHE
from dataprophet.scoring.folder.config import Work
from dataprophet.scoring.profile import ProfilePass, has_files
from dataprophet.scoring.sources.feature_pool import FeaturePool

_NUMBERS = "name model model_name fingerprint n_samples n_tokens mean_nll perplexity silhouette entropy diversity"


@resumable
def run(args: argparse.Namespace) -> int:
    """Make a profile, write it, and say what it holds; 130 and 143 when it was stopped."""
    take_name(args, "dataset")
    check_replaced(args.out, "profile", is_profile)  # now, not after the model has run
    result = _profile(args)
    diversity = result.diversity  # computed before saving, so that no later command has to
    (result.seal() if args.seal else result).save(args.out)
    left_out = result.problems.counts
    kept = f"the profile is kept in {args.out}"
    check_bad(left_out, result.n_samples + left_out.total(), args.max_bad, result.name, kept)
    for problem in result.problems.first:
        tell(f"left out: {problem}")
    if summary := result.problems.summary():
        tell(f"warning: {result.name}: {summary}")
    tokens = f", {result.n_tokens:,} answer tokens" if result.n_tokens else ""
    parts = f"Sil {result.silhouette:.4f} + H {result.entropy:.4f} = {diversity:.4f}"
    text = f"{result.name}: {result.n_samples:,} samples{tokens}, PPL {result.perplexity:.4f}, {parts} -> {args.out}"
    remarks = remarks_on_perplexity(result.name, result.perplexity)
    remarks += [line for each in result.identity for line in Tally(**each.counts).guesses(each.format)]
    text = "\n".join([text, *(f"read {each}" for each in result.identity), *(f"! {line}" for line in remarks)])
    output(args, {**describe(result), "left_out": dict(left_out), "remarks": remarks, "out": args.out}, text)
    return 0


def _profile(args: argparse.Namespace) -> Profile:
    settings = values(args, "clusters sketch_size diversity_fields seed")
    work = Work(args.engine, args.processes, args.threads, args.ray_address, assigned(args.ray_option), args.stall)
    if args.features:
        refuse_reading(args)
    pool: Any = FeaturePool(args.dataset) if args.features else open_from(args, args.dataset, args.name)
    if not args.features:
        warn_of(pool)
        given = [
            args.engine != "local",
            args.processes,
            args.threads,
            args.fresh,
            args.cache,
            args.recheck,
            args.ray_address,
        ]
        if any(given) and not has_files(pool):
            what = "--engine, --processes, --threads, --cache, --fresh and --recheck are for datasets of files"
            raise DataProphetError(what, where=pool.name, fix="leave them out, or save the dataset to disk")
    options = values(args, "name fresh recheck max_bad") | {
        "settings": settings,
        "loading": loading(args),
        "work": work,
    }
    cache = args.cache or Path(args.out).parent / CACHE
    with pass_over_rows() as progress:
        made = ProfilePass(pool, args.model, cache=cache, tell=tell, **options)
        made.require_enough()
        return made.profile(progress.of)


def describe(result: Profile) -> dict[str, object]:
    """The numbers of a profile."""
    fields = {name: int(count.sum()) for name, count in result.field_count.items()}
    return {**values(result, _NUMBERS), "fields": fields, "identity": [each.to_json() for each in result.identity]}
