"""The driver of a pass over a pool: lists its files, has an engine do the shards, and puts the parts together.

``score`` and ``profile`` call it. It knows nothing of how shards are computed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dataprophet.data.dataset import Dataset
from dataprophet.data.index import CELL_ROWS, relative_name
from dataprophet.errors import DataError, ProfileError
from dataprophet.ops.backend import as_lists, watching
from dataprophet.scoring.folder.config import RunConfig, Work
from dataprophet.scoring.folder.files import FILES, POOL_PROFILE, SUMMARY, index_name
from dataprophet.scoring.folder.pool import ScoredPool
from dataprophet.scoring.folder.shards import UNDER_WAY, ShardResult
from dataprophet.scoring.worker import Worker
from dataprophet.store import Store

if TYPE_CHECKING:
    from dataprophet.model import Model

Progress = Callable[[int, int], None]
"""Takes the input rows done, and in all."""

Tell = Callable[[str], None]
"""Takes a line for the user."""


def ignore(line: str) -> None:
    """Take a line, and tell nobody."""


def run_pass(
    config: RunConfig,
    store: Store,
    work: Work,
    *,
    pool: Any,
    model: Model | None = None,
    progress: Progress | None = None,
    tally: Mapping[str, int] | None = None,
    retry: Sequence[str] = (),
    tell: Tell = ignore,
) -> ScoredPool:
    """Do the shards of a pool that are missing, and write its profile and the summary.

    Args:
        config: the run's configuration, which lies in the folder.
        store: the folder, in which the pool's files are listed.
        work: who does it.
        pool: the pool, opened.
        model: the model, where it is loaded already.
        progress: called at the start, and after each cell or, with Ray, each shard.
        tally: what the pool's rows hold, for the summary.
        retry: shards with rows of these statuses are computed anew.
        tell: called with a line for the user.
    """
    scored = ScoredPool(store.root)
    for status in (each for each in retry if each not in scored.statuses):
        tell(f"no row is {status}: there is nothing of it to try again")
    if again := {each.shard.key: each.marker for each in scored.shards if {*retry} & each.marker["statuses"].keys()}:
        store.remove([POOL_PROFILE, SUMMARY])
        store.withdraw(again)
        scored = ScoredPool(store.root)
    done, total = scored.n_rows, scored.n_rows + sum(shard.rows for shard in scored.missing)
    under_way: dict[str, int] = {}  # shard -> rows of it that are done
    why: dict[str, str] = {}  # shard that was not scored -> the reason

    told = progress or (lambda *_: None)

    def report(result: ShardResult) -> None:
        nonlocal done
        if result.outcome == UNDER_WAY:
            under_way[result.key] = result.rows
        else:
            under_way.pop(result.key, None)
            done += result.rows
        if result.detail:
            why[result.key] = result.detail
        told(done + sum(under_way.values()), total)

    told(done, total)
    here = work.processes == 0 or (work.processes is None and (config.kind == "features" or model is not None))
    if scored.missing and work.engine == "ray":
        from dataprophet.scoring.engines.ray import run_ray

        run_ray(config, store, scored.missing, report, work, tell=tell)
    elif scored.missing:
        from dataprophet.scoring.engines.local import run_here, run_local

        if here:
            run_here(Worker(config, store, pool=pool, model=model), scored.missing, report)
        else:
            run_local(config, store, scored.missing, report, work.processes, stall=work.stall, tell=tell)
    return _finish(store, why, tally or {})


def index_files(
    store: Store, pool: Any, *, strict: bool = False, recheck: Tell | None = None
) -> Iterator[dict[str, Any]]:
    """Index every file of the pool, or keep the index of one that has not changed since it was listed.

    Args:
        store: where the indices go.
        pool: the pool, opened.
        strict: a file that cannot be read is an error.
        recheck: also read the files that look unchanged, and call this with a line for each that is another one.

    Yields:
        For each file its path, state, name, digest and raw rows. A file that cannot be read has its error instead; the
        others are scored all the same.

    Raises:
        DataError: a file cannot be read, where ``strict``.
    """
    known = {entry.get("path"): entry for entry in listed_files(store) if "error" not in entry}
    for number, path in enumerate(pool.files):
        entry: dict[str, Any] = {"path": path, "state": pool.state(number)}
        last = known.get(path, {})
        same = entry["state"] is not None and last.get("state") == entry["state"]
        if isinstance(pool, Dataset):  # of a file that came into the folder's view otherwise, the name is another one
            same = same and last["name"] == relative_name(path, pool.folder)
        if same and recheck is None:
            yield dict(known[path])
            continue
        try:
            index = pool.index(number)
        except DataError as error:
            if strict:
                raise
            yield {**entry, "name": os.path.basename(path), "error": str(error)}
            continue
        if same and recheck is not None and index.digest != known[path]["digest"]:
            recheck(f"{path}: another content under the same size and times, so it is scored anew")
        store.write_document(index_name(index.name), {"index": index.to_json()}, indent=None)
        yield {**entry, "name": index.name, "digest": index.digest, "rows": index.rows}


def listed_files(store: Store) -> list[dict[str, Any]]:
    """The files that are listed in the folder; a damaged list is made anew."""
    with suppress(ValueError, KeyError, TypeError):
        if store.exists(FILES):
            return [dict(entry) for entry in store.document(FILES)["files"]]
    return []


def list_files(store: Store, entries: list[dict[str, Any]]) -> None:
    """Write the list of the pool's files.

    Where it is not what it was, the profile and the summary of the earlier pool are removed before, so that no one
    takes them for those of this one, whenever the run stops.
    """
    if entries != listed_files(store):
        store.remove([POOL_PROFILE, SUMMARY])
    store.write_document(FILES, {"files": entries})


_WHY = "no worker finished it"  # and none said why


def _finish(store: Store, why: Mapping[str, str], tally: Mapping[str, int]) -> ScoredPool:
    """Write the pool's profile and the summary, and open the folder; ``why`` is the reason of shards not scored."""
    store.collect()  # of workers that died meanwhile
    scored = ScoredPool(store.root)
    short, computed = None, as_lists(*(shard.marker.get("computed", {}) for shard in scored.shards))
    if scored.n_samples:
        profile = scored.merged_profile()
        if scored.complete and profile.sketch is not None and profile.sketch.bound is not None:
            short = [len(profile.sketch), profile.sketch.size]
        if scored.complete:
            # Kept in the file, so that no later command has to compute it. Too few samples: those that need it say so.
            with suppress(ProfileError), watching() as here:
                _ = profile.diversity
            computed = as_lists(computed, here)
            store.write(POOL_PROFILE, profile.to_bytes(), replace=True)
    store.write_document(SUMMARY, _summary(scored, why, short) | {"read": dict(tally), "computed": computed})
    store.tidy()
    return scored


def _summary(scored: ScoredPool, why: Mapping[str, str], short: Sequence[int | None] | None) -> dict[str, Any]:
    """What a run came to, for ``summary.json``; ``short`` are the samples that its sketch keeps and should."""
    unreadable = [{"file": file["name"], "error": file["error"]} for file in scored.files if "error" in file]
    markers = [shard.marker for shard in scored.shards]
    parts = [(shard, shard.first * CELL_ROWS) for shard in scored.missing]
    return {
        "name": scored.name,
        "targets": scored.targets,
        "complete": scored.complete,
        "rows": scored.n_rows,
        "samples": scored.n_samples,
        "tokens": sum(int(marker["tokens"]) for marker in markers),
        "statuses": dict(sorted(scored.statuses.items())),
        "unscored": dict(sorted(scored.unscored.items())),
        "unreadable": unreadable,
        "missing": [{"file": s.name, "rows": [row, row + s.rows], "why": why.get(s.key, _WHY)} for s, row in parts],
        "isolated": [name for marker in markers for name in marker["isolated"]],
        "splits": sum(int(marker["splits"]) for marker in markers),
        "short_sketch": short,
        "digest": scored.digest(),
        "identity": scored.identity.to_json(),
    }


def remarks(summary: Mapping[str, Any]) -> Iterator[str]:
    """What of a summary its reader should know about the numbers."""
    if summary["isolated"]:
        yield f"isolated: {len(summary['isolated']):,} samples that killed the process"
    if summary["splits"]:
        yield f"memory ran out {summary['splits']:,} times: the last digits may differ from those of another run"
    if summary["short_sketch"]:
        kept, wanted = summary["short_sketch"]
        yield f"most rows gave no sample: the diversity is that of {kept:,} samples, not {wanted:,}"
    computed = summary.get("computed", {})
    every = sorted({place for places in computed.values() for place in places})
    if any(place in ("cuda", "triton") or place.endswith("copied") for place in every):  # else all is on the CPU
        parts = [f"{place}: " + ", ".join(name for name in computed if place in computed[name]) for place in every]
        yield f"computed by {'; '.join(parts)}"
