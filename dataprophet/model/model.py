"""The model as the rest of the package sees it: samples in, features or log-probabilities out.

Profiling, scoring, planning and selection call it; `load` makes it. It knows no files, folders or profiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.data.images.decode import to_rgb
from dataprophet.data.sample import Problem, Sample
from dataprophet.errors import DataError, DataProphetError, ModelError, first_line
from dataprophet.features.features import FIELDS, Features
from dataprophet.model.batching import Batcher
from dataprophet.model.prefetch import Workers, ahead
from dataprophet.model.reader import CellEnd, Refused, Window, with_cell_ends
from dataprophet.model.results import Failure, Results, Scored, out_of_memory
from dataprophet.model.rows import Batch

_AHEAD = 5  # batches and ends of windows: behind the last batch of a window come its texts and its end, which are quick


@dataclass
class CellFeatures:
    """What came of the samples of a cell.

    Attributes:
        features: of its usable samples, in order.
        places: (n,) int64 place of each of them among the cell's samples.
        problems: place and problem of each of the others, in order.
    """

    features: Features
    places: NDArray[np.int64]
    problems: Sequence[tuple[int, Problem]]


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
        batches: how many have been computed.
        memory: bytes that reading, decoding and tokenising may take.
    """

    def __init__(
        self, batcher: Batcher, *, fingerprint: str, settings: dict[str, str], batch_tokens: int, workers: int
    ) -> None:
        self._batcher, self._adapter, self._encoder = batcher, batcher.adapter, batcher.encoder
        self.name, self.fingerprint, self.settings = self._adapter.where, fingerprint, settings
        self.device, self.dtype = str(self._adapter.device), settings["dtype"]
        self.max_tokens, self.batch_tokens, self.workers = batcher.max_tokens, batch_tokens, workers
        self.splits = self.batches = 0
        self.memory = batcher.budget.memory
        self._width: int = self._adapter.model.config.get_text_config().hidden_size

    def __repr__(self) -> str:
        return f"Model({self.name!r}, device={self.device!r}, dtype={self.dtype!r})"

    @property
    def sharing(self) -> str:
        """What samples with the same images share: ``prefix`` (all that they begin with), ``images``, or ``nothing``.

        Only the time depends on it. Where attention sees the whole prompt at once (PaliGemma), where it takes no mask
        (FlashAttention), or where the start-up checks found a difference, only the vision features are shared.
        """
        return "nothing" if not self._batcher.share else "prefix" if self._adapter.branches else "images"

    def features(
        self,
        samples: Iterable[Sample],
        *,
        on_problem: Callable[[Problem], None] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Features]:
        """Features of samples, in the order of the input, up to a thousand at a time.

        Every usable sample comes out exactly once. A sample that cannot be used is left out, never cut short, and
        reported with a code: ``empty_answer``, ``undecodable_image``, ``image_count``, ``no_image``, ``too_long``,
        ``text_mismatch``, ``bad_encoding``, ``unprocessable``, or on the device ``not_finite`` or ``out_of_memory``.
        Numbers differ between batches and orders by float rounding only (about 1e-6 in float32).

        Samples with the same images, such as the turns of a conversation or rows that name the same file, are computed
        together where they stand within a window of a thousand samples; see `sharing`.

        Args:
            samples: read once, a bounded window at a time; with ``workers``, in a thread of their own.
            on_problem: called for each sample left out. Without it they raise.
            progress: called after each window with the number of samples read so far.

        Raises:
            DataError: a sample cannot be used and there is no ``on_problem``.
            ModelError: the device fails.
        """
        done = 0
        for window, scored in self._windows(samples, lambda refused: (on_problem or _raise)(refused.problem)):
            if scored:
                yield self._features(scored)
            done += window.taken
            if progress is not None:
                progress(done)

    def cells(
        self,
        cells: Iterable[Iterable[Sample]],
        *,
        gate: AbstractContextManager[Any] | None = None,
        details: bool = False,
    ) -> Iterator[CellFeatures]:
        """Features of cells of samples, such as the rows of a part of a file.

        Batches do not go beyond a cell, so what comes of it depends on no other: the same bits for a cell alone, in a
        stream of cells, or with more threads. With ``workers``, the next cells are read and decoded meanwhile.

        Args:
            cells: read once, in a thread of their own with ``workers``.
            gate: entered before the first batch goes to the device, when reading ahead has begun, and left at the end.
            details: fill ``mean_rank`` and ``mean_entropy`` of the features, which costs a second product with the
                output layer.

        Raises:
            ModelError: as ``features``.
        """
        rows: list[Scored] = []
        refused: list[Refused] = []
        for window, scored in self._windows(with_cell_ends(cells), refused.append, gate=gate, details=details):
            rows += scored
            if window.ends_cell:
                places = np.array([row.place for row in rows], np.int64)
                features = self._features(rows, details=details)
                yield CellFeatures(features, places, sorted(refused, key=lambda pair: pair[0]))
                rows.clear()
                refused.clear()

    def logprobs(self, samples: Iterable[Sample]) -> list[NDArray[np.float32]]:
        """For each sample, the natural-log probability of each of its answer tokens, (n_tokens,) float32.

        Raises:
            DataError: a sample cannot be used.
        """
        windows = self._windows(samples, lambda refused: _raise(refused.problem), texts=False)
        return [row.logprobs for _, scored in windows for row in scored]

    def token_logprobs(self, sample: Sample) -> list[tuple[str, float]]:
        """Text and natural-log probability of each token of a sample's answer.

        Raises:
            DataError: the sample cannot be used.
        """
        (logprobs,) = self.logprobs([sample])
        rendered = self._encoder.chat.render(sample)
        (encoded,), _ = self._encoder.group([rendered], [to_rgb(image) for image in sample.images])
        assert not isinstance(encoded, Exception)  # it was scored
        return list(zip(self._encoder.words(encoded), logprobs.tolist(), strict=True))

    def _windows(
        self,
        samples: Iterable[Sample | CellEnd],
        report: Callable[[Refused], None],
        *,
        texts: bool = True,
        details: bool = False,
        gate: AbstractContextManager[Any] | None = None,
    ) -> Iterator[tuple[Window, list[Scored]]]:
        """Runs the batches of each window, and gives what they give."""
        results = Results(self._adapter, self.dtype, details=details)
        with Workers(self.workers) as workers:
            work = self._batcher.work(samples, lambda: self.batch_tokens, workers, texts=texts)
            with ahead(work, _AHEAD if self.workers else 0) as units, gate or nullcontext():
                for unit in units:
                    if isinstance(unit, Refused):
                        report(unit)
                    elif isinstance(unit, Batch):
                        self._run(unit, results)
                        results.score_states()
                    else:
                        yield unit, self._closed(unit, results, report, texts=texts, details=details)
                        results = Results(self._adapter, self.dtype, details=details)

    def _closed(
        self, window: Window, results: Results, report: Callable[[Refused], None], *, texts: bool, details: bool
    ) -> list[Scored]:
        """The usable samples of a window, and a report of the others."""
        scored, failed = results.close(window)
        for item in (window.items[index] for index in failed):
            assert item.problem is not None  # it failed
            # One that is not finite spoils all that stand in its row: each is tried alone.
            if len(window.items) > 1 and item.problem.code == "not_finite":
                tried = self._windows([item.sample], lambda _: None, texts=texts, details=details)
                alone = [row for _, rows in tried for row in rows]
                scored += [row._replace(place=item.place) for row in alone]
                if alone:
                    continue
            report(Refused(item.place, item.problem))
        return sorted(scored, key=lambda row: row.place)

    def _run(self, batch: Batch, results: Results) -> None:
        """Runs a batch, in as many parts as memory asks for. What does not fit halves the budget from then on."""
        waiting = [batch]  # not by recursion, which would hold on to the pixels of every part that did not fit
        while waiting:
            part = waiting.pop()
            tokens, several = part.ids.numel(), len(part.members) > 1
            # One that was planned before the budget was halved, and is larger than it now, is not tried.
            if not (several and part.budget > self.batch_tokens and tokens > self.batch_tokens):
                failure = self._failure(part, results)
                self.batches += 1
                if failure is None:
                    continue
                if not several:
                    results.lose(part, failure)
                    continue
                if failure.code == "out_of_memory":
                    # Half of what was tried, which may be less than the budget: that is what is known not to fit.
                    self.batch_tokens = max(1, min(self.batch_tokens, tokens // 2))
                    self.splits += 1
            waiting += reversed(part.halves(self.batch_tokens))

    def _failure(self, part: Batch, results: Results) -> Failure | None:
        """Runs a batch, and says why it gave nothing. The error is gone by then, and what it holds on to with it.

        Raises:
            ModelError: the device itself failed, and would with any other batch.
        """
        import torch

        try:
            with torch.inference_mode():
                results.add(self._adapter.to_device(part))
        except (RuntimeError, MemoryError, ValueError, TypeError, IndexError) as error:
            if out_of_memory(error):
                what = f"a sample of {part.ids.numel()} tokens does not fit into the memory of {self.device}"
                fix = "use a smaller dtype, a smaller model or another device, or remove the row"
                return Failure("out_of_memory", what, fix)
            reason = error.what if isinstance(error, DataProphetError) else first_line(error)
            if "CUDA" in reason or "cuDNN" in reason:
                raise ModelError(f"{self.device} fails ({reason})", where=self.name, fix="run it again") from error
            return Failure("unprocessable", f"the model fails on it ({reason})", "remove the row")
        return None

    def _features(self, rows: Sequence[Scored], *, details: bool = False) -> Features:
        embeddings = {field: self._stacked([row.vectors[field] for row in rows]) for field in FIELDS}
        present = {field: np.array([row.vectors[field] is not None for row in rows], np.bool_) for field in FIELDS}
        means = np.array([row.details.mean(0, dtype=np.float64) for row in rows if details]).reshape(-1, 2)
        return Features(
            ids=[row.sample.id for row in rows],
            nll=np.array([-row.logprobs.mean(dtype=np.float64) for row in rows]),
            embeddings=embeddings,
            present=present,
            n_tokens=np.array([len(row.logprobs) for row in rows], np.int64),
            mean_rank=means[:, 0] if details else None,
            mean_entropy=means[:, 1] if details else None,
        )

    def _stacked(self, vectors: Sequence[Any]) -> Any:
        """(n, D) float32, zero where there is none: a tensor on the model's device, of the CPU an array."""
        import torch

        some = next((each for each in vectors if each is not None), None)
        if some is None:
            return np.zeros((len(vectors), self._width), np.float32)
        nothing = torch.zeros_like(some)
        rows = torch.stack([nothing if each is None else each for each in vectors])
        return rows if rows.is_cuda else rows.numpy()


def _raise(problem: Problem) -> None:
    place = f"{problem.file} row {problem.row}" if problem.row else problem.file
    raise DataError(problem.message, where=place or f"sample {problem.id}", fix=problem.fix)
