"""The model as the rest of the package sees it: samples in, features or log-probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dataprophet.data.decode import to_rgb
from dataprophet.data.sample import Problem, Sample
from dataprophet.errors import DataError, DataProphetError, ModelError
from dataprophet.features import Features
from dataprophet.model.adapter import Adapter
from dataprophet.model.budget import WINDOW_PIXELS, WINDOW_SAMPLES, Cost, plan
from dataprophet.model.chat import Rendered
from dataprophet.model.encode import Batch, Encoder
from dataprophet.model.processor import first_line

if TYPE_CHECKING:
    from PIL.Image import Image

_LOGITS = 1 << 28  # elements of logits per batch: 1 GiB in float32


@dataclass(slots=True)
class _Item:
    """A sample that passed every check, ready to be encoded."""

    sample: Sample
    images: list[Image]
    rendered: Rendered
    cost: Cost


@dataclass(slots=True)
class _Scored:
    """What the forward passes say about one sample."""

    logprobs: NDArray[np.float32]
    image: NDArray[np.float32] | None


class Model:
    """A frozen multimodal language model. Made by `load_model`.

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
        batch_tokens: bound on the padded tokens of a batch.
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
    ) -> None:
        self.name = name
        self.device = str(adapter.device)
        self.dtype = str(adapter.dtype).removeprefix("torch.")
        self.fingerprint = fingerprint
        self.settings = dict(settings)
        self.max_tokens = max_tokens
        self.batch_tokens = batch_tokens
        self._adapter, self._encoder = adapter, encoder
        text_config = adapter.model.config.get_text_config()
        self._width: int = text_config.hidden_size
        self._max_answer_tokens = max(1, _LOGITS // int(text_config.vocab_size))

    def __repr__(self) -> str:
        return f"Model({self.name!r}, device={self.device!r}, dtype={self.dtype!r})"

    def features(
        self,
        samples: Iterable[Sample],
        *,
        on_problem: Callable[[Problem], None] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Features]:
        """Features of samples, in the order of the input, some hundreds at a time.

        Every usable sample comes out exactly once. A sample that cannot be used is left out, never cut short, and
        reported with a code: ``empty_answer``, ``undecodable_image``, ``image_count``, ``no_image``, ``too_long`` or
        ``unprocessable``. Numbers differ between batches and orders by float rounding only (about 1e-6 in float32).

        Args:
            samples: read once, a bounded window at a time.
            on_problem: called for each sample left out. Without it they raise.
            progress: called after each window with the number of samples read so far.

        Raises:
            DataError: a sample cannot be used and there is no ``on_problem``.
            ModelError: the model gives a log-probability that is not finite, or one sample does not fit into memory.
        """
        report = on_problem or _refuse
        done = 0
        for items, taken in self._windows(samples, report):
            scored = self._score(items, report, images=True)
            kept = [(item, result) for item, result in zip(items, scored, strict=True) if result is not None]
            if kept:
                yield self._features([item for item, _ in kept], [result for _, result in kept])
            done += taken
            if progress is not None:
                progress(done)

    def logprobs(self, samples: Iterable[Sample]) -> list[NDArray[np.float32]]:
        """For each sample, the natural-log probability of each of its answer tokens, (n_tokens,) float32.

        Raises:
            DataError: a sample cannot be used.
        """
        values: list[NDArray[np.float32]] = []
        for items, _ in self._windows(samples, _refuse):
            scored = self._score(items, _refuse, images=False)
            values.extend(result.logprobs for result in scored if result is not None)
        return values

    def _windows(
        self, samples: Iterable[Sample], report: Callable[[Problem], None]
    ) -> Iterator[tuple[list[_Item], int]]:
        """Usable samples in windows, each with the number of samples it took from the input."""
        items: list[_Item] = []
        taken = pixels = 0
        for sample in samples:
            taken += 1
            item = self._prepare(sample, report)
            if item is not None:
                items.append(item)
                pixels += sum(image.width * image.height for image in item.images)
            if taken == WINDOW_SAMPLES or pixels >= WINDOW_PIXELS:
                yield items, taken
                items, taken, pixels = [], 0, 0
        if taken:
            yield items, taken

    def _prepare(self, sample: Sample, report: Callable[[Problem], None]) -> _Item | None:
        """Decodes and renders a sample, or reports why it cannot be used."""
        if not sample.answer.strip():
            report(_problem(sample, "empty_answer", "the answer is empty", "fill it in or remove the row"))
            return None
        expected = sum(len(turn.image_offsets) for turn in sample.turns())
        if expected != len(sample.images):
            what = f"{len(sample.images)} images for {expected} places in the text"
            report(_problem(sample, "image_count", what, "give one image for each place"))
            return None
        try:
            images = [_rgb(image) for image in sample.images]
        except (OSError, ValueError, SyntaxError, MemoryError) as error:  # what image decoders raise
            report(_undecodable(sample, error))
            return None
        if not images and self._encoder.chat.uses_suffix:
            report(_problem(sample, "no_image", "this model takes no text without an image", "use another model"))
            return None
        rendered = self._encoder.chat.render(sample)
        places = rendered.prompt.count(self._encoder.chat.image_token)
        if places != len(images):
            what = f"the chat template renders {places} of {len(images)} images"
            report(_problem(sample, "image_count", what, "pass a template= that takes several images per message"))
            return None
        if not rendered.answer:
            report(
                _problem(sample, "empty_answer", "the chat template leaves no answer", "fill it in or remove the row")
            )
            return None
        prompt, answer = self._encoder.text_lengths([rendered.prompt, rendered.answer + rendered.end])
        tokens = prompt + answer + sum(self._encoder.image_tokens(image) for image in images)
        return _Item(sample, images, rendered, Cost(tokens, answer, bool(images)))

    def _score(
        self, items: Sequence[_Item], report: Callable[[Problem], None], *, images: bool
    ) -> list[_Scored | None]:
        """Log-probabilities and, if asked for, image embeddings; None for samples reported on the way."""
        results: list[_Scored | None] = [None] * len(items)
        batches = plan(
            [item.cost for item in items], max_tokens=self.batch_tokens, max_answer_tokens=self._max_answer_tokens
        )
        for indices in batches:
            for index, scored in self._score_batch(items, indices, report, images=images):
                results[index] = scored
        return results

    def _score_batch(
        self, items: Sequence[_Item], indices: list[int], report: Callable[[Problem], None], *, images: bool
    ) -> list[tuple[int, _Scored]]:
        import torch

        def halves() -> list[tuple[int, _Scored]]:
            middle = len(indices) // 2
            parts = (indices[:middle], indices[middle:])
            return [pair for part in parts for pair in self._score_batch(items, part, report, images=images)]

        try:
            batch = self._encode([items[index] for index in indices])
        except (ValueError, TypeError, IndexError, RuntimeError) as error:  # a processor refuses one of the images
            if len(indices) > 1:
                return halves()
            what = f"the model's processor refuses it ({first_line(error)})"
            report(_problem(items[indices[0]].sample, "unprocessable", what, "replace the image or remove the row"))
            return []
        lengths = batch.lengths()
        good = [index for index, length in zip(indices, lengths, strict=True) if length <= self.max_tokens]
        if len(good) < len(indices):
            for index, length in zip(indices, lengths, strict=True):
                if length > self.max_tokens:
                    what = f"it takes {length} tokens, the model at most {self.max_tokens}"
                    report(
                        _problem(items[index].sample, "too_long", what, "shorten it or use a model with more context")
                    )
            return self._score_batch(items, good, report, images=images) if good else []
        try:
            scored = self._forward(batch, images=images)
        except torch.OutOfMemoryError as error:
            if len(indices) == 1:
                raise ModelError(
                    f"one sample of {lengths[0]} tokens does not fit into the memory of {self.device}",
                    where=self.name,
                    fix="use a smaller dtype, a smaller model or another device",
                ) from error
            scored = None
        if scored is None:  # outside the handler, whose traceback holds on to the memory
            return halves()
        for index, result in zip(indices, scored, strict=True):
            if not np.isfinite(result.logprobs).all():
                sample = items[index].sample
                raise ModelError(
                    f"{self.name} in {self.dtype} gives a log-probability that is not finite",
                    where=sample.place or f"sample {sample.id}",
                    fix="load the model with dtype bfloat16 or float32",
                )
        return list(zip(indices, scored, strict=True))

    def _forward(self, batch: Batch, *, images: bool) -> list[_Scored]:
        import torch

        with torch.inference_mode():
            on_device = self._adapter.to_device(batch)
            vision = self._adapter.vision(on_device)
            logprobs = self._adapter.logprobs(on_device, vision)
            means = None if vision is None or not images else self._adapter.image_means(on_device, vision).cpu().numpy()
            values = [value.cpu().numpy() for value in logprobs]
        return [_Scored(value, None if means is None else means[row]) for row, value in enumerate(values)]

    def _encode(self, items: Sequence[_Item]) -> Batch:
        return self._encoder.samples([item.rendered for item in items], [item.images for item in items])

    def _features(self, items: Sequence[_Item], scored: Sequence[_Scored]) -> Features:
        embeddings: dict[str, NDArray[np.float32]] = {}
        present: dict[str, NDArray[np.bool_]] = {}
        texts = {
            "question": [item.sample.question for item in items],
            "answer": [item.sample.answer for item in items],
        }
        vectors = self._embed({text for field in texts.values() for text in field if text.strip()})
        rows: dict[str, list[NDArray[np.float32] | None]] = {
            field: [vectors.get(text) for text in values] for field, values in texts.items()
        }
        rows["image"] = [result.image for result in scored]
        for field, values in rows.items():
            embeddings[field] = np.zeros((len(items), self._width), np.float32)
            present[field] = np.array([value is not None for value in values])
            for index, value in enumerate(values):
                if value is not None:
                    embeddings[field][index] = value
        return Features(
            ids=[item.sample.id for item in items],
            nll=np.array([-result.logprobs.mean(dtype=np.float64) for result in scored]),
            embeddings=embeddings,
            present=present,
            n_tokens=np.array([len(result.logprobs) for result in scored], np.int64),
        )

    def _embed(self, texts: set[str]) -> dict[str, NDArray[np.float32]]:
        """Embedding of each text; equal texts of a window are embedded once."""
        import torch

        unique = sorted(texts)
        if not unique:
            return {}
        rendered = [self._encoder.chat.text(text) for text in unique]
        lengths = self._encoder.text_lengths([item.prompt + item.answer for item in rendered])
        vectors: dict[str, NDArray[np.float32]] = {}
        for indices in plan([Cost(length) for length in lengths], max_tokens=self.batch_tokens):
            with torch.inference_mode():
                batch = self._adapter.to_device(self._encoder.texts([rendered[index] for index in indices]))
                means = self._adapter.text_means(batch).cpu().numpy()
            vectors.update((unique[index], mean) for index, mean in zip(indices, means, strict=True))
        return vectors


def _rgb(image: Image) -> Image:
    if not hasattr(image, "load"):
        raise DataError(f"an image is a {type(image).__name__}", fix="give PIL images, such as Image.fromarray(pixels)")
    image.load()
    return image if image.mode == "RGB" else to_rgb(image)


def _undecodable(sample: Sample, error: Exception) -> Problem:
    if isinstance(error, DataProphetError):
        what = f"{error.where}: {error.what}" if error.where else error.what
        return _problem(sample, "undecodable_image", what, error.fix or "replace the file or remove the row")
    what = f"an image does not decode ({first_line(error)})"
    return _problem(sample, "undecodable_image", what, "replace the file or remove the row")


def _problem(sample: Sample, code: str, message: str, fix: str) -> Problem:
    file, _, row = sample.place.rpartition(" row ")
    known = row.isdigit()
    return Problem(code, message, fix, file=file if known else sample.place, row=int(row) if known else 0, id=sample.id)


def _refuse(problem: Problem) -> None:
    place = f"{problem.file} row {problem.row}" if problem.row else problem.file
    raise DataError(problem.message, where=place or f"sample {problem.id}", fix=problem.fix)
