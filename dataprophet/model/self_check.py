"""Start-up checks on made-up samples: that a model scores what it is asked to score, before any data is read.

`load` runs them. What they find beside errors, they set on the batcher, the adapter and the encoder: what samples may
share.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dataprophet.data.sample import Sample
from dataprophet.errors import DataProphetError, ModelError, ModelWarning, first_line
from dataprophet.model.adapter import Vision
from dataprophet.model.chat import Rendered
from dataprophet.model.float32 import in_float32
from dataprophet.model.model import Model
from dataprophet.model.rows import Batch, Row, assemble
from dataprophet.model.tokens import Encoded, ImageSet

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_WIDE = {"float32": 1e-4, "float64": 1e-6}  # nats; half precision is checked in float32, too
_HALF = 0.25  # in half precision itself, which rounds logits
_KERNEL = 1e-3
_ASKED = {"What is shown?": "A grey circle, 3 steps wide", "What is it like? Say more.": "Round, grey"}
_LATER = ("And what is shown there, in these?", "Another one, wide")
_SIZES = ((200, 50), (50, 200), (400, 120), (700, 700), (1300, 500))  # tried until one fills other tokens
_FIX = "this model cannot be scored as it is; use one of the families the manual names, or float32"
_FUSED_FIX = "load it with fused=False, which uses the model's own logits"


class _Group(NamedTuple):
    """Samples with the same images, as they are encoded."""

    encoded: list[Encoded]
    images: ImageSet | None


def self_check(model: Model) -> None:
    """Runs the checks on made-up samples, in float32 whatever the model's precision.

    1. The answer mask covers the answer: its tokens spell it.
    2. The vision features are as many as the image tokens.
    3. Log-probabilities from hidden states equal those of a plain forward pass over the pixels with full logits, and
       within 1e-3 those of plain torch on the same hidden states in float32.
    4. Causality: another last answer token, and more behind it, leave the log-probabilities before it as they were.
    5. The text embedding is finite.
    6. A sample that takes over another's tokens has those that it has when it is encoded whole. Where not, none does.
    7. Two questions on one picture and a third one on two pictures, one of which has another size, give in one batch
       what each gives alone, and so do two texts. What samples share is the most with which they do: a row, or the
       vision features, or nothing; and one call of the vision tower, or one for each image set. Where samples differ
       even then, each is a batch of its own. Where the padding of shorter rows changes nothing without a mask, it gets
       none.

    Where the model does not run in float32, it is checked as it is, and samples share no row and no call.

    Raises:
        ModelError: one of them fails; the sixth only costs time.
    """
    import torch
    from PIL import Image

    picture = Image.radial_gradient("L").resize((64, 48)).convert("RGB")
    encoder, adapter = model._encoder, model._adapter
    samples = [Sample("self-check", [picture], question, answer) for question, answer in _ASKED.items()]
    rendered = [encoder.chat.render(sample) for sample in samples]
    first = _encoded(model, samples)
    with torch.no_grad():
        _check_span(model, first.encoded[0], rendered[0])
        groups = [first, _other_images(model, picture)]
        try:
            with in_float32(adapter):
                tolerance = _WIDE.get(model.dtype, _WIDE["float32"])
                _check_passes(model, first, tolerance)
                _share(model, groups, tolerance, exact=True)
        except DataProphetError:
            raise
        except Exception as error:  # too large for the memory, or made for one precision alone
            if model.dtype in _WIDE:
                raise
            _tell(model, f"it does not run in float32 ({first_line(error)}), in which sharing would be checked: slower")
            _check_passes(model, first, _HALF)
            _share(model, groups, _HALF, exact=False)
        _check_precision(model, first)
        if not encoder.chat.uses_suffix:
            encoder.splices = True  # for the check of it
            encoder.splices = _works(lambda: all(map(_same, _encoded(model, samples).encoded, first.encoded)))


def _encoded(model: Model, samples: Sequence[Sample]) -> _Group:
    pictures = list(samples[0].images)
    found, images = model._encoder.group([model._encoder.chat.render(sample) for sample in samples], pictures)
    for error in (item for item in found if isinstance(item, Exception)):
        what = f"its processor refuses a question on a picture ({first_line(error)})"
        raise ModelError(what, where=model.name, fix=_FIX) from error
    whole = [item for item in found if isinstance(item, Encoded)]
    for item in whole:
        model._adapter.set_positions(item, images)
    return _Group(whole, images)


def _other_images(model: Model, picture: Picture) -> _Group:
    """A sample with a picture of another size, which fills other tokens where sizes matter, and with the first one."""
    from PIL import Image

    tokens = model._encoder.image_tokens
    usual = tokens(picture.height, picture.width)
    wide = next((size for size in _SIZES if tokens(size[1], size[0]) != usual), _SIZES[0])
    other = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).point(lambda value: 255 - value // 2).resize(wide)
    try:
        return _encoded(model, [Sample("self-check", [other, picture], *_LATER)])
    except Exception:  # some families take one picture a sample
        return _encoded(model, [Sample("self-check", [other], *_LATER)])


def _check_passes(model: Model, group: _Group, tolerance: float) -> None:
    """The model against its own plain pass, and against the same answer with another end."""
    import torch

    adapter, encoded = model._adapter, group.encoded[0]

    def scored(item: Encoded) -> tuple[Batch, Any]:
        batch = _batch(model, [Row.pack([0], [item], group.images)])
        return batch, _logprobs(model, batch, adapter.vision(batch))

    batch, alone = scored(encoded)
    plain = _plain(model, batch)
    # Cohere's models of images leave out the scale that their configuration names, and HyperCLOVA's invert it.
    if head := adapter.head:
        for scale in (1.0, 1.0 / head.scale):
            if not torch.allclose(alone, plain, rtol=0, atol=tolerance):
                head.scale = scale
                batch, alone = scored(encoded)
    what = "fused log-probabilities" if adapter.head else "log-probabilities of gathered rows"
    fix = _FUSED_FIX if adapter.head else _FIX
    _compare(model, (alone, plain), f"{what} differ from plain ones", fix, tolerance)
    _, changed = scored(_other_end(encoded))
    _compare(model, (changed[:-1], alone[:-1]), "an answer token sees the tokens behind it", _FIX, tolerance)


def _check_precision(model: Model, group: _Group) -> None:
    """As it will run: the output layer's product against plain torch, and that nothing overflows."""
    from dataprophet.ops import torch_ops

    adapter = model._adapter
    batch = _batch(model, [Row.pack([0], group.encoded[:1], group.images)])
    vision = adapter.vision(batch)
    if adapter.head is None:
        found = adapter.logprobs(adapter.logits(batch, vision), batch.targets)
    else:
        states = adapter.states(batch, vision)
        found = adapter.head.logprobs(states, batch.targets)
        expected = adapter.head.logprobs(states, batch.targets, torch_ops.linear_logprobs)
        what = "fused log-probabilities differ from those of plain torch"
        _compare(model, (found, expected), what, _FUSED_FIX, _KERNEL)
    means = _text_means(model, [model._encoder.texts(list(_ASKED)[:1])])
    for what, values in (("log-probability", found), ("text embedding", means)):
        if not bool(values.isfinite().all()):
            raise ModelError(f"its {what} is not finite", where=model.name, fix="use dtype float32 or bfloat16")


def _share(model: Model, groups: list[_Group], tolerance: float, *, exact: bool) -> None:
    """Sets the most that samples can share with the numbers that they have alone."""
    import torch

    adapter, batcher = model._adapter, model._batcher
    texts = model._encoder.texts([*_ASKED, _LATER[0]])
    single = [([encoded], group.images) for group in groups for encoded in group.encoded]

    def apart() -> list[Any]:
        parts = zip(*(_measured(model, [Row.pack([0], *pair)]) for pair in single), strict=True)
        return [*map(torch.cat, parts), torch.cat([_text_means(model, [[text]]) for text in texts])]

    expected, failures = apart(), ["its layers pick the keys that they see"]
    rows = {
        "prefix": [Row.pack(range(len(group.encoded)), *group) for group in groups],
        "images": [Row.pack([0], *pair) for pair in single],
        "nothing": [Row.pack([0], encoded, images and replace(images)) for encoded, images in single],
    }

    def difference(level: str) -> str:
        """What is wrong with the numbers of a batch that shares so much; empty where nothing is."""
        one_row = [texts] if level == "prefix" else [[text] for text in texts]
        try:
            alone = level == "alone"
            found = apart() if alone else [*_measured(model, rows[level]), _text_means(model, one_row)]
        except Exception as error:  # whatever a vision tower raises that does not take such a batch
            return first_line(error)
        # Embeddings against their largest number, with which rounding grows.
        sizes = [1.0 if values.ndim == 1 else float(values.abs().amax()) for values in expected]
        errors = [float((a - b).abs().amax()) / size for a, b, size in zip(found, expected, sizes, strict=True)]
        return "" if all(error <= tolerance for error in errors) else f"off by {max(errors):.2g}"  # NaN is not below

    branches = exact and adapter.masks and not model._encoder.chat.uses_suffix
    levels = [*(["prefix"] if branches else []), *([] if adapter.picks else ["images", "nothing"]), "alone"]
    for level, adapter.joins_images in itertools.product(levels, (True, False) if exact else (False,)):
        if not (wrong := difference(level)):
            break
        failures.append(wrong)
    else:
        raise ModelError(f"it gives other numbers each time ({wrong})", where=model.name, fix=_FIX)
    adapter.branches = level == "prefix"
    if exact and level != "alone":  # a sample in each row, of several lengths
        adapter.masks_padding = False
        adapter.masks_padding = bool(difference("images" if level == "prefix" else level))
    batcher.share = batcher.share and level in ("prefix", "images")
    batcher.mixes = level != "alone"
    if not batcher.mixes:
        _tell(model, f"samples in one batch change each other ({failures[-1]}): a batch for each sample, slower")
    if exact and not adapter.joins_images:
        _tell(model, "its vision tower does not take the pictures of several samples together: a call for each sample")


def _works(check: Callable[[], bool]) -> bool:
    """What a check finds; False for whatever a processor raises that takes no such option."""
    try:
        return check()
    except Exception:
        return False


def _same(found: Encoded, other: Encoded) -> bool:
    return (
        np.array_equal(found.ids, other.ids)
        and np.array_equal(found.mask, other.mask)
        and all(np.array_equal(types, other.types[name]) for name, types in found.types.items())
    )


def _batch(model: Model, rows: Sequence[Row], *, texts: bool = False) -> Batch:
    adapter = model._adapter
    return adapter.to_device(assemble(rows, texts=texts, join_images=adapter.joins_images))


def _logprobs(model: Model, batch: Batch, vision: Vision | None) -> Any:
    """Log-probabilities (n,) from a batch's states, the output layer's product in plain torch."""
    from dataprophet.ops import torch_ops

    adapter = model._adapter
    if adapter.head is None:
        return adapter.logprobs(adapter.logits(batch, vision), batch.targets)
    return adapter.head.logprobs(adapter.states(batch, vision), batch.targets, torch_ops.linear_logprobs)


def _measured(model: Model, rows: Sequence[Row]) -> list[Any]:
    """Log-probabilities of samples (n,), and the image embedding of each (M, D)."""
    batch = _batch(model, rows)
    vision = model._adapter.vision(batch)
    assert vision is not None  # these have images
    return [_logprobs(model, batch, vision), model._adapter.image_means(batch, vision)[batch.sets]]


def _text_means(model: Model, rows: Sequence[list[Encoded]]) -> Any:
    packed = [Row.pack(range(len(row)), row) for row in rows]
    return model._adapter.text_means(_batch(model, packed, texts=True))


def _plain(model: Model, batch: Batch) -> Any:
    """Log-probabilities of one sample, from the model's own pass over the pixels and its logits at every position."""
    import torch

    [pixels] = batch.pixels
    inputs = {"input_ids": batch.ids, "attention_mask": torch.ones_like(batch.ids), **batch.types, **pixels}
    logits = model._adapter.model(**inputs, use_cache=False, return_dict=True).logits[0, :-1].float()
    return logits.log_softmax(-1).gather(-1, batch.ids[0, 1:, None])[:, 0][batch.spots]


def _other_end(encoded: Encoded) -> Encoded:
    """The same tokens with another last answer token, and the answer's tokens once more behind it."""
    ids, answer = encoded.ids.copy(), np.flatnonzero(encoded.mask)
    first, last = answer[0], answer[-1]
    ids[last] = ids[first] if ids[first] != ids[last] else ids[first + 1]
    more, positions = (0, len(answer)), encoded.positions
    if positions is not None:
        positions = np.concatenate([positions, positions[:, -1:] + 1 + np.arange(len(answer))], 1)
    types = {name: np.pad(values, more, "edge") for name, values in encoded.types.items()}
    ids = np.concatenate([ids, encoded.ids[answer]])
    return Encoded(ids, np.pad(encoded.mask, more), types, positions)


def _check_span(model: Model, encoded: Encoded, chat: Rendered) -> None:
    if not model._encoder.spells(encoded, chat):
        spelled = model._encoder.tokenizer.decode(encoded.ids[encoded.mask].tolist())
        what = f"its answer tokens spell {spelled!r} instead of {chat.answer + chat.end!r}"
        raise ModelError(what, where=model.name, fix="use the tokenizer files that belong to this model")


def _compare(model: Model, pair: tuple[Any, Any], what: str, fix: str, tolerance: float) -> None:
    found, expected = pair
    error = float((found - expected).abs().amax()) if len(found) else 0.0
    if math.isnan(error):
        fix = "use dtype float32 or bfloat16; where it is that already, its weights are damaged"
        raise ModelError("it gives numbers that are not finite", where=model.name, fix=fix)
    if error > tolerance:
        dtype = str(model._adapter.dtype).removeprefix("torch.")
        raise ModelError(f"{what} by {error:.3g} nats in {dtype}", where=model.name, fix=fix)


def _tell(model: Model, what: str) -> None:
    warnings.warn(ModelWarning(f"{model.name}: {what}"), stacklevel=2)
