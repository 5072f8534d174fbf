"""Start-up checks on made-up samples: that a model scores what it is asked to score, before any data is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dataprophet.data.sample import Sample
from dataprophet.errors import ModelError
from dataprophet.model.rows import Row, assemble
from dataprophet.model.tokens import Encoded, ImageSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from dataprophet.model.chat import Rendered
    from dataprophet.model.model import Model

_TOLERANCE = {"float32": 1e-4, "float64": 1e-6}  # nats; half precision rounds logits, so more there
_HALF = 0.25
_KERNEL = 1e-3
_FIX = "this model cannot be scored as it is; use one of the families the manual names, or float32"
_FUSED_FIX = "load it with fused=False (--plain-head), which uses the model's own logits"


def _synthetic() -> list[Sample]:
    from PIL import Image

    image = Image.radial_gradient("L").resize((64, 48)).convert("RGB")
    return [
        Sample(id="self-check", images=[image], question="What is shown?", answer="A grey circle, 3 steps wide"),
        Sample(id="self-check", images=[image], question="What is it like? Say more.", answer="Round, grey"),
    ]


def self_check(model: Model) -> None:
    """Runs the checks on made-up samples.

    1. The answer mask covers the answer: its tokens spell it.
    2. The vision features are as many as the image tokens.
    3. Log-probabilities from hidden states equal those of a plain forward pass over the pixels with full logits, and
       within 1e-3 those of plain torch on the same hidden states in float32.
    4. Causality: another last answer token leaves the log-probabilities before it as they were.
    5. The text embedding is finite.
    6. A sample that takes over another's tokens has those that it has when it is encoded whole. Where not, none does.
    7. Two questions on one image in one row give what each gives alone. Where they do not, samples will share no more
       than the vision features, and the model is not refused.

    Raises:
        ModelError: one of the first five fails; the others only cost time.
    """
    import torch

    samples = _synthetic()
    rendered = [model._encoder.chat.render(sample) for sample in samples]
    adapter = model._adapter
    found, images = model._encoder.group(rendered, samples[0].images, adapter.image_token_id)
    encoded = []
    for result in found:
        if isinstance(result, Exception):
            raise result
        adapter.place(result, images)
        encoded.append(result)
    with torch.inference_mode():
        _check_span(model, encoded[0], rendered[0].answer)
        alone = [_logprobs(model, [item], images) for item in encoded]
        plain = _plain_logprobs(model, encoded[0], images)
        what = "fused log-probabilities" if adapter.head is not None else "log-probabilities of gathered rows"
        _compare(model, alone[0], plain, f"{what} differ from plain ones", _FUSED_FIX if adapter.head else _FIX)
        _check_kernel(model, encoded[0], images, alone[0])
        changed = _logprobs(model, [_other_end(encoded[0])], images)
        _compare(model, changed[:-1], alone[0][:-1], "an answer token sees the tokens behind it", _FIX)
        text = Row.pack([0], model._encoder.texts([model._encoder.chat.text(samples[0].question)]))
        means = adapter.text_means(adapter.to_device(assemble([text], adapter.image_token_id, content=True)))
        if not bool(means.isfinite().all()):
            raise ModelError("its text embedding is not finite", where=model.name, fix="use dtype float32 or bfloat16")
        _try_splicing(model, rendered, samples[0].images, encoded)
        adapter.branches = adapter.branches and _shares_prefixes(model, encoded, images, torch.cat(alone))


def _try_splicing(model: Model, rendered: list[Rendered], images: Sequence[Image], whole: list[Encoded]) -> None:
    encoder = model._encoder
    if encoder.chat.uses_suffix:
        return
    encoder.splices = True
    try:
        found, _ = encoder.group(rendered, images, model._adapter.image_token_id)
    except Exception:  # a processor or tokenizer that takes none of the options
        encoder.splices = False
        return
    encoder.splices = all(
        isinstance(item, Encoded)
        and np.array_equal(item.ids, other.ids)
        and np.array_equal(item.mask, other.mask)
        and all(np.array_equal(kinds, other.kinds[name]) for name, kinds in item.kinds.items())
        for item, other in zip(found, whole, strict=True)
    )


def _shares_prefixes(model: Model, encoded: list[Encoded], images: ImageSet | None, alone: Any) -> bool:
    try:
        together = _logprobs(model, encoded, images)
    except Exception:  # whatever a model raises that takes no mask but its own
        return False
    return bool((together - alone).abs().amax() <= _TOLERANCE.get(model.dtype, _HALF))  # False for NaN


def _logprobs(model: Model, encoded: list[Encoded], images: ImageSet | None) -> Any:
    """Of samples in one row, as they are scored."""
    adapter = model._adapter
    row = Row.pack(range(len(encoded)), encoded, images)
    batch = adapter.to_device(assemble([row], adapter.image_token_id))
    vision = adapter.vision(batch)
    states = adapter.logits(batch, vision) if adapter.head is None else adapter.states(batch, vision)
    return adapter.logprobs(states, batch.targets)


def _plain_logprobs(model: Model, encoded: Encoded, images: ImageSet | None) -> Any:
    """Of one sample, from the model's own forward pass over the pixels and its logits at every position."""
    import torch

    adapter = model._adapter
    batch = adapter.to_device(assemble([Row.pack([0], [encoded], images)], adapter.image_token_id))
    inputs = {"input_ids": batch.ids, "attention_mask": torch.ones_like(batch.ids), **batch.kinds, **batch.pixels}
    logits = adapter.model(**inputs, use_cache=False, return_dict=True).logits[0, :-1].float()
    values = logits.log_softmax(-1).gather(-1, batch.ids[0, 1:, None])[:, 0]
    return values[batch.spots]


def _check_kernel(model: Model, encoded: Encoded, images: ImageSet | None, found: Any) -> None:
    """In half precision the model's own logits are too coarse to tell whether the kernel is right."""
    from dataprophet.ops import torch_ops

    adapter = model._adapter
    if adapter.head is None:
        return
    batch = adapter.to_device(assemble([Row.pack([0], [encoded], images)], adapter.image_token_id))
    states = adapter.states(batch, adapter.vision(batch))
    expected = adapter.head.logprobs(states, batch.targets, torch_ops.linear_logprobs)
    _compare(
        model,
        found,
        expected,
        "fused log-probabilities differ from those of plain torch",
        _FUSED_FIX,
        tolerance=_KERNEL,
    )


def _other_end(encoded: Encoded) -> Encoded:
    """The same tokens with another last answer token."""
    ids, answer = encoded.ids.copy(), np.flatnonzero(encoded.mask)
    first, last = answer[0], answer[-1]
    ids[last] = ids[first] if ids[first] != ids[last] else ids[first + 1]
    return Encoded(ids, encoded.mask, encoded.kinds, encoded.positions)


def _check_span(model: Model, encoded: Encoded, answer: str) -> None:
    tokenizer = model._encoder.tokenizer
    ids = encoded.ids[encoded.mask].tolist()
    spelled = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if "".join(spelled.split()) != "".join(answer.split()):
        raise ModelError(
            f"its answer tokens spell {spelled!r} instead of {answer!r}",
            where=model.name,
            fix="its tokenizer gives wrong character offsets; update the tokenizer files",
        )


def _compare(model: Model, found: Any, expected: Any, what: str, fix: str, *, tolerance: float | None = None) -> None:
    tolerance = _TOLERANCE.get(model.dtype, _HALF) if tolerance is None else tolerance
    error = float((found - expected).abs().amax()) if len(found) else 0.0
    if not error <= tolerance:  # also true for NaN
        raise ModelError(f"{what} by {error:.3g} nats in {model.dtype}", where=model.name, fix=fix)
