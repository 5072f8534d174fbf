"""Start-up checks on one made-up sample: that a model scores what it is asked to score, before any data is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataprophet.data.sample import Sample
from dataprophet.errors import ModelError
from dataprophet.model.encode import Batch

if TYPE_CHECKING:
    from dataprophet.model.scorer import Model

_TOLERANCE = {"float32": 1e-4, "float64": 1e-6}  # nats; half precision rounds logits, so more there
_FIX = "this model cannot be scored as it is; use one of the families the manual names, or float32"


def _synthetic() -> Sample:
    from PIL import Image

    image = Image.radial_gradient("L").resize((64, 48)).convert("RGB")
    return Sample(id="self-check", images=[image], question="What is shown?", answer="A grey circle, 3 steps wide")


def self_check(model: Model) -> None:
    """Runs the checks.

    1. The answer mask covers the answer: its tokens spell it.
    2. The vision features are as many as the image tokens.
    3. Gathered log-probabilities equal those of a plain forward pass over the pixels with full logits.
    4. Causality: another last answer token leaves the log-probabilities before it as they were.
    5. The text embedding is finite.

    Raises:
        ModelError: one of them fails.
    """
    import torch

    sample = _synthetic()
    rendered = model._encoder.chat.render(sample)
    adapter = model._adapter
    tolerance = _TOLERANCE.get(model.dtype, 0.25)
    with torch.inference_mode():
        batch = adapter.to_device(model._encoder.samples([rendered], [sample.images]))
        _check_span(model, batch, rendered.answer)
        vision = adapter.vision(batch)
        adapter.image_means(batch, vision)
        gathered = adapter.logprobs(batch, vision)[0]
        full = _full_logprobs(adapter.model, batch)
        _compare(model, gathered, full, tolerance, "log-probabilities of gathered rows differ from full logits")
        probe = batch.inputs["input_ids"].clone()
        last = int(batch.answer[0].nonzero()[-1])
        first = int(batch.answer[0].nonzero()[0])
        probe[0, last] = probe[0, first] if probe[0, first] != probe[0, last] else probe[0, first + 1]
        changed = adapter.logprobs(Batch({**batch.inputs, "input_ids": probe}, batch.answer), vision)[0]
        _compare(model, changed[:-1], gathered[:-1], tolerance, "an answer token sees the tokens behind it")
        text = adapter.to_device(model._encoder.texts([model._encoder.chat.text(sample.question)]))
        if not bool(adapter.text_means(text).isfinite().all()):
            raise ModelError("its text embedding is not finite", where=model.name, fix="use dtype float32 or bfloat16")


def _check_span(model: Model, batch: Batch, answer: str) -> None:
    tokenizer = model._encoder.tokenizer
    ids = batch.inputs["input_ids"][batch.answer].tolist()
    spelled = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if "".join(spelled.split()) != "".join(answer.split()):
        raise ModelError(
            f"its answer tokens spell {spelled!r} instead of {answer!r}",
            where=model.name,
            fix="its tokenizer gives wrong character offsets; update the tokenizer files",
        )


def _full_logprobs(model: Any, batch: Batch) -> Any:
    logits = model(**batch.inputs, use_cache=False, return_dict=True).logits[0, :-1].float()
    values = logits.log_softmax(-1).gather(-1, batch.inputs["input_ids"][0, 1:, None])[:, 0]
    return values[batch.answer[0, 1:]]


def _compare(model: Model, found: Any, expected: Any, tolerance: float, what: str) -> None:
    error = float((found - expected).abs().amax()) if len(found) else 0.0
    if not error <= tolerance:  # also true for NaN
        raise ModelError(f"{what} by {error:.3g} nats in {model.dtype}", where=model.name, fix=_FIX)
