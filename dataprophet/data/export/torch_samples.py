"""Samples for a torch ``DataLoader``, divided over its workers and over the processes of a training run.

``Dataset.torch`` gives it. Importing this imports torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch.distributed
from torch.utils.data import IterableDataset, get_worker_info

from dataprophet.data.sample import Sample
from dataprophet.errors import require


class TorchSamples(IterableDataset):  # type: ignore[misc]
    """Samples of a dataset, each given once over all workers of a ``DataLoader`` and all ranks.

    Every worker reads all rows and gives each n-th sample, so that which samples there are, and their ids, do not
    depend on the workers. Images of the samples of others are not decoded. Ranks differ by one sample at most.
    """

    def __init__(
        self,
        samples: Iterable[Sample],
        transform: Callable[[Sample], Any] | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        """As of ``Dataset.torch``."""
        spread = torch.distributed.is_available() and torch.distributed.is_initialized()
        if rank is None and world_size is None:
            rank = torch.distributed.get_rank() if spread else int(os.environ.get("RANK", "0"))
            world_size = torch.distributed.get_world_size() if spread else int(os.environ.get("WORLD_SIZE", "1"))
        fits = rank is not None and world_size is not None and 0 <= rank < world_size
        fix = "give both, with 0 <= rank < world_size"
        require(fits, f"rank is {rank} and world_size {world_size}", "torch", fix)
        self._samples, self._transform = samples, transform
        self._rank, self._world_size = rank or 0, world_size or 1

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        own = islice(self._samples, self._rank * workers + number, None, self._world_size * workers)
        return own if self._transform is None else map(self._transform, own)
