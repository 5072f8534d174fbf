"""DataProphet: predict, before any training, which data a multimodal model should be trained on.

The names below load on first use, so that ``import dataprophet`` costs nothing and works without torch.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dataprophet.ops as ops  # noqa: PLR0402 (mypy reads this form of a module importing its own part)
    from dataprophet.data import Dataset as Dataset
    from dataprophet.data import open_dataset as open_dataset
    from dataprophet.data.sample import Sample as Sample
    from dataprophet.features.features import Features as Features
    from dataprophet.metric.agreement import RankAgreement as RankAgreement
    from dataprophet.metric.agreement import kendall_tau as kendall_tau
    from dataprophet.metric.matrix import TransferMatrix as TransferMatrix
    from dataprophet.metric.transfer import transfer_matrix as transfer_matrix
    from dataprophet.model import Model as Model
    from dataprophet.model import load_model as load_model
    from dataprophet.planning.plan import plan as plan
    from dataprophet.profiling.profile import Profile as Profile
    from dataprophet.scoring.pool import ScoredPool as ScoredPool
    from dataprophet.scoring.pool import open_scores as open_scores
    from dataprophet.scoring.profile import profile as profile
    from dataprophet.scoring.score import score as score
    from dataprophet.selection import select as select
    from dataprophet.selection.allocation import allocate as allocate
    from dataprophet.selection.selector import Selector as Selector

_HOME = {
    "RankAgreement": "metric.agreement",
    "kendall_tau": "metric.agreement",
    "allocate": "selection.allocation",
    "Dataset": "data",
    "open_dataset": "data",
    "Sample": "data.sample",
    "Features": "features.features",
    "TransferMatrix": "metric.matrix",
    "transfer_matrix": "metric.transfer",
    "Model": "model",
    "load_model": "model",
    "plan": "planning.plan",
    "Profile": "profiling.profile",
    "profile": "scoring.profile",
    "ScoredPool": "scoring.pool",
    "open_scores": "scoring.pool",
    "score": "scoring.score",
    "select": "selection",
    "Selector": "selection.selector",
}

_ROOMS = {"ops": "ops", "published": "metric.published"}

__all__ = [  # noqa: PLE0604 (the keys are the names)
    "ops",
    *_HOME,
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"dataprophet.{_ROOMS[name]}")
    if name == "__version__":
        return metadata.version("dataprophet")
    if name in _HOME:
        value = getattr(importlib.import_module(f"dataprophet.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'dataprophet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "published", "__version__"])
