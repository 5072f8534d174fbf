"""The names of ``dataprophet`` and their homes: type checkers read them here, and the package itself when it loads one.

One line for each public name, in the order of ``__all__``, of the form ``from HOME import NAME as NAME``.
"""

from typing import Any

from dataprophet import ops as ops
from dataprophet.metric.agreement import RankAgreement as RankAgreement
from dataprophet.metric.agreement import kendall_tau as kendall_tau
from dataprophet.selection.allocation import allocate as allocate
from dataprophet.data import Dataset as Dataset
from dataprophet.data import open_dataset as open_dataset
from dataprophet.data.sample import Sample as Sample
from dataprophet.features.features import Features as Features
from dataprophet.metric.matrix import TransferMatrix as TransferMatrix
from dataprophet.metric.transfer import transfer_matrix as transfer_matrix
from dataprophet.model import Model as Model
from dataprophet.model import load_model as load_model
from dataprophet.planning.plan import plan as plan
from dataprophet.running.run import run as run
from dataprophet.profiling.profile import Profile as Profile
from dataprophet.scoring.profile import profile as profile
from dataprophet.scoring.folder.pool import ScoredPool as ScoredPool
from dataprophet.scoring.folder.pool import open_scores as open_scores
from dataprophet.scoring.score import score as score
from dataprophet.selection import select as select
from dataprophet.selection.selector import Selector as Selector

def __getattr__(name: str) -> Any: ...
