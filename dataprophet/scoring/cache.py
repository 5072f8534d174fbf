"""The folders of a cache, in which profiles are worked on and kept: one for each pool, model and settings.

``profile`` works in them. What a pass is, they do not know.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataprophet.data.index import state_of
from dataprophet.errors import DataProphetError
from dataprophet.ops.threads import thread_count
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.folder.config import RunConfig, Work
from dataprophet.scoring.folder.files import POOL_PROFILE, PROFILE, ROWS, RUN, SUMMARY
from dataprophet.scoring.folder.pool import ScoredPool
from dataprophet.store import Store, open_store

CACHE = ".dataprophet-cache"
"""Name of the cache's folder, beside the profile unless another is given."""

DEMO_FOLDER = Path(__file__).resolve().parent.parent / "demo" / "model"
MODEL = "model.json"


def open_cache(cache: str | os.PathLike[str], asked: Any, tell: Callable[[str], None], *, fresh: bool) -> Store:
    """The folder for what is asked, in the cache."""
    root = os.fspath(cache)
    if "://" in root:
        raise DataProphetError("is no local folder", where=root, fix="choose a folder with cache=")
    key = hashlib.blake2b(json.dumps(asked, sort_keys=True).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    store = open_store(os.path.join(root, key))
    if fresh or not _sound(store):
        if not fresh:
            tell(f"{store.root} is damaged: what it held is computed anew")
        with suppress(OSError):  # away at once: a run that works in it goes on in a new one
            os.rename(store.root, aside := f"{store.root}.{os.getpid()}.old")
            shutil.rmtree(aside, ignore_errors=True)
    with store.explained():
        os.makedirs(store.root, exist_ok=True)
        Path(store.root, ".gitignore").write_text("*\n")  # nothing that a repository shall keep
    return store


def _sound(store: Store) -> bool:
    """Whether what a folder of the cache says is there can be read."""
    try:
        done = store.exists(POOL_PROFILE)
        if done:
            Profile.load(store.local(POOL_PROFILE))
        for marker in store.markers().values():
            pq.read_metadata(store.part(marker, ROWS))
            if not done:
                Profile.load(store.part(marker, PROFILE))
        if store.exists(RUN):
            RunConfig.from_json(store.document(RUN), store.root)
    except (DataProphetError, pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


@contextmanager
def nothing_left(store: Store) -> Iterator[None]:
    """Remove the folder after an error, unless shards are committed, which the next run need not compute."""
    try:
        yield
    except DataProphetError:
        if not store.markers():
            shutil.rmtree(store.root, ignore_errors=True)
            if (cache := Path(store.root).parent).name == CACHE:
                with suppress(OSError):  # it holds more
                    cache.rmdir()
        raise


def machine(work: Work) -> list[Any]:
    """What changes the rounding and is known before the model is loaded."""
    versions = []
    for package in ("dataprophet", "torch", "transformers"):
        with suppress(metadata.PackageNotFoundError):
            versions.append(metadata.version(package))
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    device = bool(glob.glob("/dev/nvidia[0-9]*")) and not hidden
    return [versions, device, work.threads or [thread_count(), os.environ.get("OMP_NUM_THREADS")]]


def known_model(store: Store, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the model was found to be, if its files are what they were then."""
    with suppress(ValueError, KeyError, TypeError):  # a damaged document is made anew
        known: Any = store.document(MODEL) if store.exists(MODEL) else {"state": None}
        if known["state"] is not None and known["state"] == model_state(given):
            return dict(known["origin"])
    return None


def model_state(given: Mapping[str, Any]) -> list[Any] | None:
    """Files of a model's folder, and a template of one's own, with sizes and times; None where it is not known.

    Of a model of the hub its commit.
    """
    found = _files_of(given)
    template = given.get("template")
    return found if found is None or template is None else [*found, [str(template), state_of(str(template))]]


def _files_of(given: Mapping[str, Any]) -> list[Any] | None:
    name, revision = str(given["name"]), given.get("revision") or "main"
    folder = DEMO_FOLDER if name == "demo" else Path(name)
    if folder.is_dir():
        from dataprophet.model.reasons import base_of

        folders = [folder, *filter(None, [base_of(folder, name)])]
        files = [str(path) for each in folders for path in each.rglob("*") if path.is_file()]
        return [[path, state_of(path)] for path in sorted(files)]
    with suppress(ImportError, OSError):
        from huggingface_hub.constants import HF_HUB_CACHE

        return [(Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "refs" / revision).read_text()]
    return None


def configure(store: Store, config: RunConfig) -> None:
    """Have the folder be that of a configuration, whatever it was before: shards of another one do not count."""
    with suppress(DataProphetError, ValueError):
        if store.exists(RUN) and RunConfig.from_json(store.document(RUN), store.root) == config:
            return
    store.remove([POOL_PROFILE, SUMMARY])
    store.write_document(RUN, config.to_json())


def prune(scored: ScoredPool) -> None:
    """Remove shards of what the files, the model or the settings were before."""
    markers = scored.store.markers()
    scored.store.withdraw({key: markers[key] for key in markers.keys() - {each.shard.key for each in scored.shards}})
