"""What one process needs to score shards: the pool opened, the model loaded, the targets read."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import threading
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataprophet.data.dataset import open_dataset
from dataprophet.data.index import FileIndex
from dataprophet.errors import DataProphetError
from dataprophet.features.features import FIELDS
from dataprophet.profiling.profile import ALL, Profile
from dataprophet.profiling.sketch import Sketch, bound_of
from dataprophet.scoring.config import FILES, RunConfig
from dataprophet.scoring.score_shard import ShardResult, score_shard
from dataprophet.scoring.shards import Shard
from dataprophet.scoring.targets import Targets
from dataprophet.store.base import Store
from dataprophet.store.journal import Stopped

if TYPE_CHECKING:
    from dataprophet.model import Model

_FILES_KEPT = 8  # indices of files that a worker remembers


class Worker:
    """Scores shards of one run. ``run`` may be called from two threads: the second reads while the first computes.

    Args:
        config: the run's configuration.
        store: its output folder.
        device: where the model goes, in place of the configuration's device.
        pool: the pool, where it is open already.
        model: the model, where it is loaded already.

    Raises:
        DataProphetError: pool, model or targets are not what the configuration says.
    """

    def __init__(
        self,
        config: RunConfig,
        store: Store,
        *,
        device: str | None = None,
        pool: Any = None,
        model: Model | None = None,
    ) -> None:
        self.config, self.store = config, store
        self.reading, self.gate = threading.Lock(), threading.Lock()  # of the shard that is read, and on the device
        self.pool = open_pool(config.kind, config.pool) if pool is None else pool
        self.targets = load_targets(config, store)
        self._model = model
        self._device = device
        self._indices: dict[str, FileIndex] = {}
        self._rows: int | None = None  # of the pool
        if config.kind == "samples" and model is None:
            self._model = open_model({**config.model, **({"device": device} if device else {})}, config.numbers)
        if self._model is not None:
            _require_origin(config, self._model)

    @property
    def model(self) -> Model:
        assert self._model is not None  # for pools of samples there is one
        return self._model

    @property
    def splits(self) -> int:
        """How often a batch was halved because memory ran out."""
        return 0 if self._model is None else self._model.splits

    def run(self, shard: Shard) -> ShardResult:
        """Score and commit a shard, and log it; see ``score_shard``."""
        self.store.log(shard.key, f"{shard.name} cells {shard.first} to {shard.last - 1}: begun by {_process()}")
        try:
            result = score_shard(shard, self, self.store)
        except Stopped:
            self.store.log(shard.key, "dropped: the process was asked to stop")
            raise
        except BaseException as error:
            self.store.log(shard.key, "".join(traceback.format_exception(error)))
            raise
        told = f"{result.outcome}: {result.rows} rows, {result.samples} samples in {result.seconds:.1f} s"
        self.store.log(shard.key, f"{told}\n{result.detail}")
        return result

    def index(self, shard: Shard) -> FileIndex:
        """Index of a shard's file, as the driver stored it."""
        if shard.name not in self._indices:
            while len(self._indices) >= _FILES_KEPT:
                self._indices.pop(next(iter(self._indices)), None)
            self._indices[shard.name] = read_index(self.store, shard.name)
        return self._indices[shard.name]

    def empty_profile(self) -> Profile:
        """A profile of no samples, with the settings of the targets, for a part of the pool."""
        if self._rows is None:
            files = json.loads(self.store.read(FILES))["files"]
            self._rows = sum(int(file["rows"]) for file in files if "error" not in file)
        profile = pool_profile(self.config)
        assert profile.sketch is not None  # not sealed
        size = profile.sketch.size
        profile.sketch = Sketch.empty(size, bound=bound_of(size, self._rows))
        return profile


def _process() -> str:
    return f"process {os.getpid()} of {platform.node()}"


def open_pool(kind: str, arguments: Mapping[str, Any]) -> Any:
    """The pool that a configuration names."""
    if kind == "features":
        from dataprophet.scoring.feature_pool import open_feature_pool

        return open_feature_pool(**arguments)
    return open_dataset(**arguments)


def open_model(arguments: Mapping[str, Any], numbers: Mapping[str, str] | None = None) -> Model:
    """Load a model, on the CPU with as many threads as the run's numbers were made with."""
    from dataprophet.model import load_model

    if numbers and numbers.get("threads"):
        import torch

        torch.set_num_threads(int(numbers["threads"]))
    return load_model(**arguments)


def numbers_of(model: Model) -> dict[str, str]:
    """What changes the rounding of a model's numbers, beside its settings."""
    import torch

    on_cpu = model.device == "cpu"
    return {
        "device": "cpu" if on_cpu else torch.cuda.get_device_name(model.device),
        "batch_tokens": str(model.batch_tokens),
        "sharing": model.sharing,
        "threads": str(torch.get_num_threads()) if on_cpu else "",
    }


def pool_profile(config: RunConfig) -> Profile:
    """A profile of no samples for a run's pool."""
    own = config.sketch
    return Profile.empty(
        config.name,
        config.fingerprint,
        config.settings,
        clusters=int(own["clusters"]),
        sketch_size=None if own["sketch_size"] == ALL else int(own["sketch_size"]),
        diversity_fields=own["diversity_fields"].split(","),
        seed=int(own["seed"]),
    )


def index_name(file: str) -> str:
    """Name, within the output folder, of the index of a data file."""
    return f"index/{hashlib.blake2b(file.encode('utf-8', 'surrogatepass'), digest_size=12).hexdigest()}.json"


def read_index(store: Store, file: str) -> FileIndex:
    """The stored index of a data file."""
    return FileIndex.from_json(json.loads(store.read(index_name(file)))["index"])


def target_name(fingerprint: str) -> str:
    """Name, within the output folder, of a target's profile."""
    return f"targets/{fingerprint}.profile"


def load_targets(config: RunConfig, store: Store) -> Targets:
    """The targets of a run, in order, from their copies in the output folder."""
    profiles = []
    for target in config.targets:
        profile = Profile.load(store.local(target_name(target["fingerprint"])))
        profile.name = target["name"]
        profiles.append(profile)
    return Targets.of(profiles, fields=[name for name in FIELDS if name in config.fields])


def _require_origin(config: RunConfig, model: Model) -> None:
    """Refuse a model other than the one that the run began with.

    Raises:
        DataProphetError: naming what differs.
    """
    mine = {"model": model.fingerprint, **model.settings, **numbers_of(model)}
    its = {"model": config.fingerprint, **config.settings, **config.numbers}
    # a batch budget that memory has halved since is no other configuration
    differs = sorted(key for key in its if mine.get(key) != its[key] and not (key == "batch_tokens" and model.splits))
    if differs:
        key = differs[0]
        raise DataProphetError(
            f"{key} is {mine.get(key, 'unset')}, and the run began with {its[key]}",
            where=model.name,
            fix="resume on the same kind of machine, or score into another folder",
        )
