"""What batches give, collected until a window ends: nothing waits for the device before that.

The model feeds it batches and makes features of its rows, whose embeddings stay where they were computed. It knows the
adapter, not how batches were made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dataprophet.data.sample import Sample
from dataprophet.model.adapter import Adapter
from dataprophet.model.reader import Window
from dataprophet.model.rows import Batch
from dataprophet.ops.arrays import fetched

_STATES = 1 << 15  # answer tokens whose hidden states are kept, so that the output layer's weights are read once


class Failure(NamedTuple):
    """Why a sample gives nothing: code, what is wrong, and the fix, as of a `Problem`."""

    code: str
    what: str
    fix: str


_Means = tuple[list[int], list[int] | slice, Any]  # members, the row of each, the rows


class Scored(NamedTuple):
    """A sample that has been through the model.

    Attributes:
        sample: the sample.
        place: its place in the cell.
        logprobs: (n,) float32 log-probabilities of the answer's tokens.
        details: (n, 2) float32 rank and entropy of each, as ``ops.TokenDetails``; (n, 0) where not asked for.
        vectors: field -> (D,) float32 embedding, a tensor on the model's device; None where the sample lacks the field.
    """

    sample: Sample
    place: int
    logprobs: NDArray[np.float32]
    details: NDArray[np.float32]
    vectors: dict[str, Any]


class Results:
    """Runs the batches of a window and keeps what they give, on the device.

    Args:
        adapter: runs them.
        dtype: the model's, for messages.
        details: whether rank and entropy of the answers' tokens are wanted, too.
    """

    def __init__(self, adapter: Adapter, dtype: str, *, details: bool = False) -> None:
        self._adapter, self._dtype, self._details = adapter, dtype, details
        self._lost: dict[tuple[bool, int], Failure] = {}  # (of a text, member)
        self._states: list[tuple[Any, Any]] = []  # of the answer tokens still to be scored, and the tokens
        self._tokens: list[Any] = []  # of each answer token its log-probability and its details: (n, 1) or (n, 3)
        self._counts: dict[int, int] = {}  # member -> number of answer tokens, in the order of the states
        # Not the batches themselves: each would hold on to its pixels until the window ends.
        self._images: list[_Means] = []
        self._texts: list[_Means] = []

    def add(self, batch: Batch) -> None:
        """One pass over a batch on the device. Where it fails, for lack of memory, it leaves nothing behind."""
        adapter = self._adapter
        if batch.texts:
            self._texts.append((batch.members, slice(None), adapter.text_means(batch)))
            return
        vision = adapter.vision(batch)
        means = None if vision is None else adapter.image_means(batch, vision)
        if adapter.head is None:
            self._tokens.append(self._told(adapter.logits(batch, vision), batch.targets))
        else:
            self._states.append((adapter.states(batch, vision), batch.targets))
        self._counts.update(zip(batch.members, batch.counts, strict=True))
        if means is not None:
            self._images.append((batch.members, batch.sets, means))

    def lose(self, batch: Batch, failure: Failure) -> None:
        """Notes that a batch of one member gives nothing."""
        self._lost[batch.texts, batch.members[0]] = failure

    def score_states(self, least: int = _STATES) -> None:
        """Multiplies the states that wait by the output layer, if they are so many."""
        import torch

        if sum(len(targets) for _, targets in self._states) >= least:
            with torch.inference_mode():
                states, targets = (torch.cat(parts) for parts in zip(*self._states, strict=True))
                self._tokens += self._scored(states, targets)
            self._states = []

    def _told(self, states: Any, targets: Any) -> Any:
        import torch

        told = [self._adapter.logprobs(states, targets)]
        if self._details:
            told += self._adapter.details(states, targets)
        return torch.stack([each.float() for each in told], 1)

    def _scored(self, states: Any, targets: Any) -> list[Any]:
        """What is told of tokens, in as many parts as memory asks for."""
        try:
            return [self._told(states, targets)]
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or len(targets) < 2:
                raise
        # Behind the handler, whose error would hold on to the memory that ran out.
        middle = len(targets) // 2
        return [*self._scored(states[:middle], targets[:middle]), *self._scored(states[middle:], targets[middle:])]

    def close(self, window: Window) -> tuple[list[Scored], list[int]]:
        """Brings all but the embeddings to the CPU: the samples of the window that were computed, in their order.

        Returns:
            The usable ones, and the numbers of the items that failed on the device, which have their problem.
        """
        import torch

        self.score_states(least=1)
        with torch.inference_mode():
            means = [each for _, _, each in (*self._images, *self._texts)]
            finite = [torch.cat([torch.isfinite(each).all(1) for each in means])] if means else []
            told = [torch.cat(self._tokens)] if self._tokens else [np.empty((0, 1), np.float32)]
        values, *checked = fetched(*told, *finite)
        parts = np.split(values, np.cumsum(list(self._counts.values()), dtype=np.int64))
        tokens = dict(zip(self._counts, parts, strict=False))  # behind the last one stands nothing
        flags = iter(np.split(checked[0], np.cumsum([len(each) for each in means])) if means else [])
        images = _by_member(self._images, flags)
        texts = {window.texts[index]: vector for index, vector in _by_member(self._texts, flags).items()}
        lost_texts = {window.texts[index]: failure for (text, index), failure in self._lost.items() if text}
        lost = {index: failure for (text, index), failure in self._lost.items() if not text}
        scored, failed = [], []
        for index in sorted({*tokens, *lost}):
            item = window.items[index]
            sample = item.sample
            failure = lost.get(index) or lost_texts.get(sample.question) or lost_texts.get(sample.answer)
            if failure is None:
                own = {"question": texts.get(sample.question), "answer": texts.get(sample.answer)}
                own |= {"image": images.get(index)}
                named = {f"{field} embedding": found is None or found.finite for field, found in own.items()}
                failure = self._not_finite({"log-probability": np.isfinite(tokens[index]).all(), **named})
            if failure is None:
                vectors = {field: found and found.vector for field, found in own.items()}
                scored.append(Scored(sample, item.place, tokens[index][:, 0], tokens[index][:, 1:], vectors))
            else:
                item.refuse(*failure)
                failed.append(index)
        return scored, failed

    def _not_finite(self, finite: dict[str, Any]) -> Failure | None:
        for name, holds in finite.items():
            if not holds:
                what = f"the model in {self._dtype} gives a {name} that is not finite"
                return Failure("not_finite", what, "load the model in bfloat16 or float32, or remove the row")
        return None


class _Embedding(NamedTuple):
    vector: Any  # (D,) float32, on the device
    finite: bool


def _by_member(parts: list[_Means], flags: Iterator[NDArray[np.bool_]]) -> dict[int, _Embedding]:
    """Embeddings of members; ``flags`` tell of each row of the parts, in turn, whether it is finite."""
    found: dict[int, _Embedding] = {}
    for (members, rows, means), finite in zip(parts, flags, strict=False):
        own = [_Embedding(*pair) for pair in zip(means, finite.tolist(), strict=True)]
        picked = own[rows] if isinstance(rows, slice) else [own[row] for row in rows]
        found |= dict(zip(members, picked, strict=True))
    return found


def out_of_memory(error: BaseException) -> bool:
    import torch

    allocation = "can't allocate memory" in str(error)  # the CPU's allocator raises a plain RuntimeError
    workspace = "CUBLAS_STATUS_ALLOC_FAILED" in str(error)  # and so does cuBLAS
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or allocation or workspace
