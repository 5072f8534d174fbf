"""Start-up checks on made-up samples: that a model scores what it is asked to score, before any data is read.

`load` runs them. What they find beside errors, they set on the adapter and the encoder: what samples may share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dataprophet.data.sample import Sample
from dataprophet.errors import ModelError
from dataprophet.model.chat import Rendered
from dataprophet.model.model import Model
from dataprophet.model.rows import Batch, Row, assemble
from dataprophet.model.tokens import Encoded, ImageSet

_TOLERANCE = {"float32": 1e-4, "float64": 1e-6}  # nats; half precision rounds logits, so more there
_HALF = 0.25
_KERNEL = 1e-3
_ASKED = {"What is shown?": "A grey circle, 3 steps wide", "What is it like? Say more.": "Round, grey"}
_FIX = "this model cannot be scored as it is; use one of the families the manual names, or float32"
_FUSED_FIX = "load it with fused=False (--plain-head), which uses the model's own logits"


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
    from PIL import Image

    from dataprophet.ops import torch_ops

    adapter, encoder, head = model._adapter, model._encoder, model._adapter.head
    pictures = [Image.radial_gradient("L").resize((64, 48)).convert("RGB")]
    samples = [Sample("self-check", pictures, question, answer) for question, answer in _ASKED.items()]
    rendered = [encoder.chat.render(sample) for sample in samples]
    found, images = encoder.group(rendered, pictures)
    for error in (item for item in found if isinstance(item, Exception)):
        raise error
    whole = [item for item in found if isinstance(item, Encoded)]
    for item in whole:
        adapter.set_positions(item, images)
    with torch.inference_mode():
        _check_span(model, whole[0], rendered[0])
        (first, states), (second, others) = (_states(model, [item], images) for item in whole)
        alone = adapter.logprobs(states, first.targets)
        what = "fused log-probabilities" if head else "log-probabilities of gathered rows"
        _compare(model, alone, _plain(model, first), f"{what} differ from plain ones", _FUSED_FIX if head else _FIX)
        if head is not None:
            what = "fused log-probabilities differ from those of plain torch"
            expected = head.logprobs(states, first.targets, torch_ops.linear_logprobs)
            _compare(model, alone, expected, what, _FUSED_FIX, tolerance=_KERNEL)
        batch, changed = _states(model, [_other_end(whole[0])], images)
        earlier = adapter.logprobs(changed, batch.targets)[:-1]
        _compare(model, earlier, alone[:-1], "an answer token sees the tokens behind it", _FIX)
        text = assemble([Row.pack([0], encoder.texts(list(_ASKED)[:1]))], texts=True)
        if not bool(adapter.text_means(adapter.to_device(text)).isfinite().all()):
            raise ModelError("its text embedding is not finite", where=model.name, fix="use dtype float32 or bfloat16")

        def branches() -> bool:
            batch, states = _states(model, whole, images)
            expected = torch.cat([alone, adapter.logprobs(others, second.targets)])
            error = (adapter.logprobs(states, batch.targets) - expected).abs().amax()
            return bool(error <= _TOLERANCE.get(model.dtype, _HALF))  # False for NaN

        if not encoder.chat.uses_suffix:
            encoder.reuses_tokens = True  # for the check of it
            encoder.reuses_tokens = _works(lambda: all(map(_same, encoder.group(rendered, pictures)[0], whole)))
        adapter.branches = adapter.branches and _works(branches)


def _works(check: Callable[[], bool]) -> bool:
    """What a check finds; False for whatever a processor raises that takes no such option, or a model no such mask."""
    try:
        return check()
    except Exception:
        return False


def _same(found: Encoded | Exception, other: Encoded) -> bool:
    return (
        isinstance(found, Encoded)
        and np.array_equal(found.ids, other.ids)
        and np.array_equal(found.mask, other.mask)
        and all(np.array_equal(types, other.types[name]) for name, types in found.types.items())
    )


def _states(model: Model, encoded: list[Encoded], images: ImageSet | None) -> tuple[Batch, Any]:
    """Samples in one row, on the device; and the states that predict their answers, as they are scored."""
    adapter = model._adapter
    batch = adapter.to_device(assemble([Row.pack(range(len(encoded)), encoded, images)]))
    vision = adapter.vision(batch)
    return batch, adapter.logits(batch, vision) if adapter.head is None else adapter.states(batch, vision)


def _plain(model: Model, batch: Batch) -> Any:
    """Log-probabilities of one sample, from the model's own pass over the pixels and its logits at every position."""
    import torch

    inputs = {"input_ids": batch.ids, "attention_mask": torch.ones_like(batch.ids), **batch.types, **batch.pixels}
    logits = model._adapter.model(**inputs, use_cache=False, return_dict=True).logits[0, :-1].float()
    return logits.log_softmax(-1).gather(-1, batch.ids[0, 1:, None])[:, 0][batch.spots]


def _other_end(encoded: Encoded) -> Encoded:
    """The same tokens with another last answer token."""
    ids, answer = encoded.ids.copy(), np.flatnonzero(encoded.mask)
    first, last = answer[0], answer[-1]
    ids[last] = ids[first] if ids[first] != ids[last] else ids[first + 1]
    return Encoded(ids, encoded.mask, encoded.types, encoded.positions)


def _check_span(model: Model, encoded: Encoded, chat: Rendered) -> None:
    if not model._encoder.spells(encoded, chat):
        spelled = model._encoder.tokenizer.decode(encoded.ids[encoded.mask].tolist())
        what = f"its answer tokens spell {spelled!r} instead of {chat.answer + chat.end!r}"
        raise ModelError(what, where=model.name, fix="use the tokenizer files that belong to this model")


def _compare(model: Model, found: Any, expected: Any, what: str, fix: str, *, tolerance: float | None = None) -> None:
    tolerance = _TOLERANCE.get(model.dtype, _HALF) if tolerance is None else tolerance
    error = float((found - expected).abs().amax()) if len(found) else 0.0
    if not error <= tolerance:  # also true for NaN
        raise ModelError(f"{what} by {error:.3g} nats in {model.dtype}", where=model.name, fix=fix)
