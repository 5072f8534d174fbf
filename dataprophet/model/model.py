"""The model as the rest of the package sees it: samples in, features or log-probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.data.sample import Problem, Sample
from dataprophet.errors import DataError, ModelError
from dataprophet.features.features import FIELDS, Features
from dataprophet.model.adapter import Adapter
from dataprophet.model.encode import Encoder
from dataprophet.model.prefetch import Workers, ahead
from dataprophet.model.reader import CellEnd, Packed, Reader, Refused, WindowEnd
from dataprophet.model.rows import Batch

_LOGITS = 1 << 28  # elements of logits per batch, where they are stored: 1 GiB in float32
_AHEAD = 5  # batches and ends of windows: behind the last batch of a window come its texts and its end, which are quick
_STATES = 1 << 15  # answer tokens whose hidden states are kept, so that the output layer's weights are read once


@dataclass
class CellFeatures:
    """What came of the samples of a cell.

    Attributes:
        features: of its usable samples, in order.
        places: (n,) int64 place of each of them among the cell's samples.
        problems: place and problem of each of the others.
    """

    features: Features
    places: NDArray[np.int64]
    problems: list[tuple[int, Problem]]


class Model:
    """A frozen multimodal language model. Made by `load_model` or `from_transformers`.

    Embeddings, not normalised, one row per sample:

    - ``question``, ``answer``: the text alone is rendered as a user's message without image; the mean of the decoder's
      last hidden state over the tokens of the text, not of the template. The question of a sample with context is its
      last question.
    - ``image``: the mean over all projected vision features of the sample's images, those of the context included.

    Attributes:
        name: the name it was loaded by; for a folder, the folder's name.
        device: such as ``cpu`` or ``cuda:0``.
        dtype: such as ``float32`` or ``bfloat16``.
        fingerprint: hex digest of the configuration, weights, tokenizer, template and preprocessing files.
        settings: everything else that changes numbers.
        max_tokens: longest sample that the model takes, in tokens, images and answer included.
        batch_tokens: bound on the padded tokens of a batch. Where a batch does not fit into memory it is halved, for
            good.
        workers: threads that decode pictures and make the next batches while the device works; 0 does all in turn.
        splits: how often a batch has been halved because memory ran out.
    """

    def __init__(
        self,
        adapter: Adapter,
        encoder: Encoder,
        *,
        name: str,
        fingerprint: str,
        settings: Mapping[str, str],
        max_tokens: int,
        batch_tokens: int,
        share: bool,
        workers: int,
    ) -> None:
        self.name = name
        self.device = str(adapter.device)
        self.dtype = str(adapter.dtype).removeprefix("torch.")
        self.fingerprint = fingerprint
        self.settings = dict(settings)
        self.batch_tokens = batch_tokens
        self.workers = workers
        self.splits = 0
        self._adapter, self._encoder = adapter, encoder
        text_config = adapter.model.config.get_text_config()
        self._width: int = text_config.hidden_size
        stored = None if adapter.head is not None else max(1, _LOGITS // int(text_config.vocab_size))
        self._reader = Reader(adapter, encoder, share=share, max_tokens=max_tokens, max_answer_tokens=stored)

    def __repr__(self) -> str:
        return f"Model({self.name!r}, device={self.device!r}, dtype={self.dtype!r})"

    @property
    def max_tokens(self) -> int:
        return self._reader.max_tokens

    @property
    def sharing(self) -> str:
        """What samples with the same images share: ``prefix`` (all that they begin with), ``images``, or ``nothing``.

        Only the time depends on it. Where attention sees the whole prompt at once (PaliGemma), where it takes no mask
        (FlashAttention), or where the start-up checks found a difference, only the vision features are shared.
        """
        return "nothing" if not self._reader.share else "prefix" if self._adapter.branches else "images"

    def features(
        self,
        samples: Iterable[Sample],
        *,
        on_problem: Callable[[Problem], None] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Features]:
        """Features of samples, in the order of the input, up to a thousand at a time.

        Every usable sample comes out exactly once. A sample that cannot be used is left out, never cut short, and
        reported with a code: ``empty_answer``, ``undecodable_image``, ``image_count``, ``no_image``, ``too_long`` or
        ``unprocessable``. Numbers differ between batches and orders by float rounding only (about 1e-6 in float32).

        Samples with the same images, such as the turns of a conversation or rows that name the same file, are computed
        together where they stand within a window of a thousand samples; see `sharing`.

        Args:
            samples: read once, a bounded window at a time; with ``workers``, in a thread of their own.
            on_problem: called for each sample left out. Without it they raise.
            progress: called after each window with the number of samples read so far.

        Raises:
            DataError: a sample cannot be used and there is no ``on_problem``.
            ModelError: the model gives a log-probability that is not finite, or one sample does not fit into memory.
        """
        done = 0
        report = on_problem or _refuse
        for window, end in self._windows(samples, lambda refused: report(refused.problem), texts=True):
            if window.logprobs:
                yield self._features(window, end)[0]
            done += end.taken
            if progress is not None:
                progress(done)

    def cells(
        self, cells: Iterable[Iterable[Sample]], *, gate: AbstractContextManager[Any] | None = None
    ) -> Iterator[CellFeatures]:
        """Features of cells of samples, such as the rows of a part of a file.

        Batches do not go beyond a cell, so what comes of it depends on no other: the same bits for a cell alone, in a
        stream of cells, or with more threads. With ``workers``, the next cells are read and decoded meanwhile.

        Args:
            cells: read once, in a thread of their own with ``workers``.
            gate: entered before the first batch goes to the device, when reading ahead has begun, and left at the end.

        Raises:
            ModelError: as ``features``.
        """

        def stream() -> Iterator[Sample | CellEnd]:
            for cell in cells:
                yield from cell
                yield CellEnd()

        parts: list[tuple[Features, NDArray[np.int64]]] = []
        problems: list[tuple[int, Problem]] = []

        def note(refused: Refused) -> None:
            problems.append((refused.place, refused.problem))

        for window, end in self._windows(stream(), note, texts=True, gate=gate):
            if window.logprobs or (end.ends_cell and not parts):
                parts.append(self._features(window, end))
            if end.ends_cell:
                yield CellFeatures(*_joined(parts), sorted(problems, key=lambda pair: pair[0]))
                parts, problems = [], []

    def logprobs(self, samples: Iterable[Sample]) -> list[NDArray[np.float32]]:
        """For each sample, the natural-log probability of each of its answer tokens, (n_tokens,) float32.

        Raises:
            DataError: a sample cannot be used.
        """
        values: list[NDArray[np.float32]] = []
        for window, _ in self._windows(samples, lambda refused: _refuse(refused.problem), texts=False):
            values.extend(window.logprobs[place] for place in sorted(window.logprobs))
        return values

    def _windows(
        self,
        samples: Iterable[Sample | CellEnd],
        report: Callable[[Refused], None],
        *,
        texts: bool,
        gate: AbstractContextManager[Any] | None = None,
    ) -> Iterator[tuple[_Window, WindowEnd]]:
        """Runs the batches of each window, and collects what they give."""
        window = _Window(self._adapter)
        with Workers(self.workers) as workers:
            work = self._reader.work(samples, lambda: self.batch_tokens, workers, texts=texts)
            with ahead(work, _AHEAD if self.workers else 0) as units, gate or nullcontext():
                for unit in units:
                    if isinstance(unit, Refused):
                        report(unit)
                    elif isinstance(unit, Packed):
                        self._run(unit, window)
                        window.score_states(_STATES)
                    else:
                        window.close(unit, self)
                        yield window, unit
                        window = _Window(self._adapter)

    def _run(self, unit: Packed, window: _Window) -> None:
        """Runs a batch, in as many parts as memory asks for. What does not fit halves the budget from then on."""
        waiting = [unit]
        while waiting:
            part = waiting.pop()
            tokens, several = part.batch.ids.numel(), len(part.batch.members) > 1
            if several and part.budget > self.batch_tokens and tokens > self.batch_tokens:
                fits = False  # planned before the budget was halved
            else:
                fits = self._fits(part, window)
                if not fits and not several:
                    raise ModelError(
                        f"one sample of {tokens} tokens does not fit into the memory of {self.device}",
                        where=self.name,
                        fix="use a smaller dtype, a smaller model or another device",
                    )
                if not fits:
                    self.batch_tokens = max(1, min(self.batch_tokens, tokens // 2))
                    self.splits += 1
            if not fits:
                waiting += reversed(part.halves(self._adapter.image_token_id, self.batch_tokens))

    def _fits(self, part: Packed, window: _Window) -> bool:
        """Runs a batch; False where memory runs out. The error is gone by then, and what it holds on to with it."""
        import torch

        try:
            with torch.inference_mode():
                (window.embed if part.texts else window.score)(self._adapter.to_device(part.batch))
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            return False
        return True

    def _features(self, window: _Window, end: WindowEnd) -> tuple[Features, NDArray[np.int64]]:
        """Features of a window's samples, and the place of each in its cell."""
        places = sorted(window.logprobs)
        items = [end.items[place] for place in places]
        vectors = dict(zip(end.texts, window.texts, strict=True))
        rows: dict[str, list[NDArray[np.float32] | None]] = {
            "question": [vectors.get(item.sample.question) for item in items],
            "answer": [vectors.get(item.sample.answer) for item in items],
            "image": [window.images.get(place) for place in places],
        }
        embeddings, present = {}, {}
        for field, values in rows.items():
            embeddings[field] = np.zeros((len(items), self._width), np.float32)
            present[field] = np.array([value is not None for value in values])
            for index, value in enumerate(values):
                if value is not None:
                    embeddings[field][index] = value
        logprobs = [window.logprobs[place] for place in places]
        made = Features(
            ids=[item.sample.id for item in items],
            nll=np.array([-values.mean(dtype=np.float64) for values in logprobs]),
            embeddings=embeddings,
            present=present,
            n_tokens=np.array([len(values) for values in logprobs], np.int64),
        )
        return made, np.array([item.place for item in items], np.int64)


class _Window:
    """Collects what the batches of a window give. Nothing waits for the device before `close`.

    Attributes:
        logprobs: place in the window -> (n,) float32 log-probabilities of the answer's tokens.
        images: place in the window -> (D,) float32 mean of the vision features.
        texts: place among the window's texts -> (D,) float32 embedding.
    """

    def __init__(self, adapter: Adapter) -> None:
        self.logprobs: dict[int, NDArray[np.float32]] = {}
        self.images: dict[int, NDArray[np.float32]] = {}
        self.texts: list[NDArray[np.float32]] = []
        self._adapter = adapter
        self._states: list[tuple[Any, Any]] = []  # of the answer tokens still to be scored, and the tokens
        self._values: list[Any] = []
        self._counts: list[tuple[int, int]] = []  # place and number of answer tokens, in the order of the states
        # Not the batches themselves: each would hold on to its pixels until the window ends.
        self._image_means: list[tuple[list[int], list[int], Any]] = []  # members, their image sets, the means
        self._text_means: list[tuple[list[int], Any]] = []

    def score(self, batch: Batch) -> None:
        """One pass over rows: vision features, hidden states of the answers."""
        adapter = self._adapter
        vision = adapter.vision(batch)
        means = None if vision is None else adapter.image_means(batch, vision)
        if adapter.head is None:
            self._values.append(adapter.logprobs(adapter.logits(batch, vision), batch.targets))
        else:
            self._states.append((adapter.states(batch, vision), batch.targets))
        # From here on nothing fails: a batch that does not fit leaves nothing behind.
        self._counts += zip(batch.members, batch.counts, strict=True)
        if means is not None:
            self._image_means.append((batch.members, batch.sets, means))

    def embed(self, batch: Batch) -> None:
        """One pass over rows of texts."""
        self._text_means.append((batch.members, self._adapter.text_means(batch)))

    def close(self, end: WindowEnd, model: Model) -> None:
        """Brings everything to the CPU.

        Raises:
            ModelError: a log-probability is not finite.
        """
        import torch

        with torch.inference_mode():
            self.score_states()
            values = torch.cat(self._values).cpu().numpy() if self._values else np.empty(0, np.float32)
        start = 0
        for place, count in self._counts:
            self.logprobs[place] = values[start : start + count]
            start += count
        for place, logprobs in sorted(self.logprobs.items()):
            if not np.isfinite(logprobs).all():
                sample = end.items[place].sample
                raise ModelError(
                    f"{model.name} in {model.dtype} gives a log-probability that is not finite",
                    where=sample.place or f"sample {sample.id}",
                    fix="load the model with dtype bfloat16 or float32",
                )
        for members, sets, means in self._image_means:
            rows = means.cpu().numpy()
            self.images.update((place, rows[number]) for place, number in zip(members, sets, strict=True))
        embedded: dict[int, NDArray[np.float32]] = {}
        for members, means in self._text_means:
            embedded.update(zip(members, means.cpu().numpy(), strict=True))
        self.texts = [embedded[place] for place in range(len(end.texts))]

    def score_states(self, least: int = 1) -> None:
        """Multiplies the states that wait by the output layer, if they are so many."""
        import torch

        if sum(len(targets) for _, targets in self._states) >= least:
            with torch.inference_mode():
                states, targets = (torch.cat(parts) for parts in zip(*self._states, strict=True))
                self._values += self._logprobs(states, targets)
            self._states = []

    def _logprobs(self, states: Any, targets: Any) -> list[Any]:
        """Log-probabilities, in as many parts as memory asks for."""
        try:
            return [self._adapter.logprobs(states, targets)]
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error) or len(targets) < 2:
                raise
        middle = len(targets) // 2
        return [*self._logprobs(states[:middle], targets[:middle]), *self._logprobs(states[middle:], targets[middle:])]


def _joined(parts: list[tuple[Features, NDArray[np.int64]]]) -> tuple[Features, NDArray[np.int64]]:
    """The windows of a cell as one."""
    if len(parts) == 1:
        return parts[0]
    every = [features for features, _ in parts]
    whole = Features(
        ids=[name for features in every for name in features.ids],
        nll=np.concatenate([features.nll for features in every]),
        embeddings={name: np.concatenate([features.embeddings[name] for features in every]) for name in FIELDS},
        present={name: np.concatenate([features.present[name] for features in every]) for name in FIELDS},
        n_tokens=np.concatenate([features.n_tokens for features in every if features.n_tokens is not None]),
    )
    return whole, np.concatenate([places for _, places in parts])


def _out_of_memory(error: BaseException) -> bool:
    import torch

    allocation = "can't allocate memory" in str(error)  # the CPU's allocator raises a plain RuntimeError
    workspace = "CUBLAS_STATUS_ALLOC_FAILED" in str(error)  # and so does cuBLAS
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or allocation or workspace


def _refuse(problem: Problem) -> None:
    place = f"{problem.file} row {problem.row}" if problem.row else problem.file
    raise DataError(problem.message, where=place or f"sample {problem.id}", fix=problem.fix)
