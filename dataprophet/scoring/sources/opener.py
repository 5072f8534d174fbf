"""Opens what a pool is: a dataset, files of features, or a folder that was scored before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dataprophet.data.identity.compare import moved
from dataprophet.data.opening import open_dataset
from dataprophet.errors import DataError
from dataprophet.files import absolute
from dataprophet.scoring.folder.files import RUN
from dataprophet.scoring.folder.pool import ScoredPool
from dataprophet.scoring.sources.feature_pool import FeaturePool
from dataprophet.scoring.sources.stored_features import StoredFeatures


def open_pool(kind: str, arguments: Mapping[str, Any]) -> Any:
    """The pool that a configuration names."""
    return open_feature_pool(**arguments) if kind == "features" else open_dataset(**arguments)


def require_whole(pool: Any, rows: float) -> None:
    """Refuse a dataset with more rows than were asked for: a pool is read in parts, all of them.

    Args:
        pool: the dataset.
        rows: how many it has that can be used.

    Raises:
        DataError: naming its limit.
    """
    if (limit := getattr(pool, "limit", None)) is not None and rows > limit:
        what = f"has {rows:,.0f} rows, and {limit:,} are asked for (a limit, or num_samples): a pool is read whole"
        raise DataError(what, where=pool.path, fix="take it away, or cut the file")


def pool_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``open_pool`` for another process: files and folders by their whole paths."""
    root = given.get("image_root")
    if root:
        several = [absolute(os.fspath(item)) for item in root] if isinstance(root, list) else None
        given = {**given, "image_root": several or absolute(os.fspath(root))}
    return {**given, "path": absolute(given["path"])}


def reopen(scored: ScoredPool, path: str | None = None, image_root: str | None = None) -> Any:
    """The pool that was scored, read as it was; ``path`` and ``image_root`` where they lie elsewhere now."""
    then = scored.config.pool
    now = moved({**then, "path": path}, str(then["path"])) if path else then
    return open_pool(scored.config.kind, {**now, "image_root": image_root} if image_root else now)


def open_feature_pool(path: str | os.PathLike[str], *, name: str | None = None) -> FeaturePool | StoredFeatures:
    """Open precomputed features, or the embeddings of a scored pool.

    Args:
        path: a file of features, a folder of ``.npy`` files, a folder of either, or a folder that was scored with
            ``embeddings``, which then needs no pass of the model for further targets.
        name: the pool's name; by default from its path.

    Raises:
        DataError: there is nothing at ``path``, or no features.
        DataProphetError: a scored folder is not finished, or was scored without embeddings.
    """
    if os.path.isfile(os.path.join(path, RUN)):
        return StoredFeatures(path, name=name)
    return FeaturePool(path, name=name)
