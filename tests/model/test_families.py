# ruff: noqa: E402 (torch and transformers are optional)
"""Every family against plain transformers: full logits of each sample alone, spans found by decoding, its own loss."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_models
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from dataprophet.data.sample import Sample, Turn

family = pytest.mark.parametrize("family", tiny_models.FAMILIES)
TOLERANCE = 5e-6


def picture(height: int, width: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def make_samples(family: str) -> list[Sample]:
    small, wide, tall = picture(28, 28, 0), picture(30, 60, 1), picture(56, 28, 2)
    samples = [
        Sample("plain", [small], "what color is it?", "the red square"),
        Sample("wide", [wide], "what is on the left? " * 6, "a blue one"),
        Sample("unicode", [tall], "où est le 猫?", "là-bas 🐈 ü, 猫"),
        Sample("newline", [small], "list them", "\none\ntwo"),
        Sample("space", [small], "and?", "  two cats "),
        Sample("repeated", [small], "is it red or is it blue? red", "red"),
        Sample("two images", [small, wide], "first and second: same?", "no", image_offsets=(0, 9)),
        Sample("three images", [tall, small, small], "how many?", "three"),
        Sample("turns", [small, tall], "and this one?", "a dog", (Turn("what is it?", "a cat", (0,)),), (4,)),
        Sample("later", [wide], "how many?", "two", (Turn("what?", "two dogs", (0,)), Turn("sure?", "two", ())), ()),
        Sample("long answer", [small], "tell", "one two three four five " * 8 + "end"),
    ]
    if family != "paligemma":  # which takes no text without an image
        samples.append(Sample("no image", [], "how many circles are there?", "five"))
        samples.append(Sample("no image, turns", [], "sure?", "yes", (Turn("is it red?", "no", ()),)))
    return samples


def reference(model, sample: Sample) -> tuple[np.ndarray, float]:
    """Log-probabilities of the answer from full logits, in float64, and transformers' own loss, of one sample alone."""
    processor, network = model._encoder.processor, model._adapter.model
    turns = sample.turns()
    if model._encoder.chat.uses_suffix:
        history = "".join(f"{turn.question}\n{turn.answer}\n" for turn in turns[:-1])
        text = "<image>" * len(sample.images) + history + sample.question
        inputs = processor(text=[text], images=[sample.images], suffix=[sample.answer], return_tensors="pt")
        scored = (inputs.pop("labels")[0] != -100).nonzero()[:-1, 0].tolist()  # the last is the end of sequence
    else:
        messages = []
        for turn in turns:
            cuts = [0, *turn.image_offsets]
            content = []
            for start, end in zip(cuts, [*turn.image_offsets, len(turn.question)], strict=True):
                if start < end:
                    content.append({"type": "text", "text": turn.question[start:end]})
                if len(content) < 2 * len(cuts) and end != len(turn.question):
                    content.append({"type": "image"})
            messages.append({"role": "user", "content": content})
            messages.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
        text = processor.apply_chat_template(messages, tokenize=False)
        bos = processor.tokenizer.bos_token
        extra = {"add_special_tokens": False} if bos and text.startswith(bos) else {}
        images = [list(sample.images)] if sample.images else None
        inputs = processor(text=[text], images=images, return_tensors="pt", **extra)
        scored = spelled(processor.tokenizer, inputs["input_ids"][0].tolist(), sample.answer, text)
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[0, scored] = inputs["input_ids"][0, scored]
    with torch.inference_mode():
        output = network(**inputs, labels=labels, use_cache=False)
    logprobs = output.logits[0].double().log_softmax(-1)
    values = [float(logprobs[position - 1, inputs["input_ids"][0, position]]) for position in scored]
    return np.array(values), float(output.loss)


def spelled(tokenizer, ids: list[int], answer: str, text: str) -> list[int]:
    """Positions of the shortest run of tokens, the last in the text, that spells the answer."""

    def decode(part: list[int]) -> str:
        return tokenizer.decode(part, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    tail = answer + text[text.rindex(answer) + len(answer) :]
    start = max(index for index in range(len(ids)) if tail in decode(ids[index:]))
    end = min(index for index in range(start, len(ids) + 1) if answer in decode(ids[start:index]))
    return list(range(start, end))


WAYS = {"shared": {}, "alone": {"share": False}, "plain head": {"fused": False}, "ahead": {"workers": 2}}


@family
@pytest.mark.parametrize("way", WAYS)
def test_logprobs_equal_full_logits_and_loss(family, way, tiny_model):
    model = tiny_model(family, **WAYS[way])
    samples = make_samples(family)
    found = model.logprobs(samples)
    assert len(found) == len(samples)
    for sample, values in zip(samples, found, strict=True):
        expected, loss = reference(model, sample)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected, rtol=0, atol=TOLERANCE, err_msg=sample.id)
        assert abs(-values.mean(dtype=np.float64) - loss) <= TOLERANCE, sample.id
    assert np.concatenate(found).std() > 0.05  # a model that says the same of every token would prove nothing


@family
def test_later_answer_tokens_do_not_change_earlier_ones(family, tiny_model):
    model = tiny_model(family)
    image = picture(30, 60, 3)
    answers = [f"one two three four five{end}" for end in (" cat", " dog", " 猫 and a very long rest of the answer")]
    first, *others = model.logprobs([Sample(end, [image], "how many?", end) for end in answers])
    for other in others:
        np.testing.assert_allclose(other[:5], first[:5], rtol=0, atol=TOLERANCE)
        assert abs(other[-1] - first[-1]) > 1e-4


class _Largest(TorchDispatchMode):
    """Elements of the largest tensor made whose last axis is the vocabulary."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary, self.elements = vocabulary, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if isinstance(output, torch.Tensor) and output.ndim and output.shape[-1] == self.vocabulary:
            self.elements = max(self.elements, output.numel())
        return output


@family
@pytest.mark.parametrize("fused", [True, False])
def test_logits_grow_with_answer_tokens_alone(family, fused, tiny_model):
    model = tiny_model(family, fused=fused)
    image, answer = picture(28, 28, 4), "one two three four five " * 10
    vocabulary = model._adapter.model.get_output_embeddings().weight.shape[0]
    for repeats in (1, 60):
        with _Largest(vocabulary) as largest:
            [values] = model.logprobs([Sample("a", [image], "how many circles are there? " * repeats, answer)])
        assert len(values) > 40
        assert largest.elements == (0 if fused else len(values) * vocabulary)


@family
def test_features_do_not_depend_on_batches_or_order(family, tiny_model, monkeypatch):
    model = tiny_model(family)
    samples = make_samples(family)
    together = by_id(model.features(samples))
    backwards = by_id(model.features(samples[::-1]))
    monkeypatch.setattr(model, "batch_tokens", 1)
    alone = by_id(part for sample in samples for part in model.features([sample]))
    assert list(together) == [sample.id for sample in samples]
    assert list(backwards) == [sample.id for sample in samples][::-1]
    for other in (backwards, alone):
        for name, values in together.items():
            for left, right in zip(values, other[name], strict=True):
                np.testing.assert_allclose(left, right, rtol=0, atol=2e-6, err_msg=name)


def by_id(parts) -> dict[str, list[np.ndarray]]:
    rows = {}
    for part in parts:
        for index, name in enumerate(part.ids):
            rows[name] = [part.nll[index], part.n_tokens[index]]
            rows[name] += [part.embeddings[field][index] for field in ("question", "answer", "image")]
    return rows


@family
def test_features_against_plain_forward_passes(family, tiny_model):
    model = tiny_model(family)
    samples = make_samples(family)
    [features] = model.features(samples)
    network, processor = model._adapter.model, model._encoder.processor
    logprobs = model.logprobs(samples)
    np.testing.assert_allclose(features.nll, [-values.mean(dtype=np.float64) for values in logprobs], atol=TOLERANCE)
    assert features.n_tokens.tolist() == [len(values) for values in logprobs]
    assert features.present["image"].tolist() == [bool(sample.images) for sample in samples]
    assert features.present["question"].all()
    assert not features.embeddings["image"][~features.present["image"]].any()
    for index, sample in enumerate(samples):
        for field, text in (("question", sample.question), ("answer", sample.answer)):
            expected = text_embedding(model, text)
            np.testing.assert_allclose(features.embeddings[field][index], expected, rtol=0, atol=2e-5)
        if sample.images:
            placeholder = model._encoder.chat.image_token * len(sample.images)
            inputs = processor(text=[placeholder], images=[list(sample.images)], return_tensors="pt")
            names = model._adapter._vision_parameters & set(inputs)
            with torch.inference_mode():
                rows = network.base_model.get_image_features(**{name: inputs[name] for name in names}).pooler_output
            parts = [rows] if torch.is_tensor(rows) else list(rows)
            rows = torch.cat([part.reshape(-1, part.shape[-1]) for part in parts])
            np.testing.assert_allclose(features.embeddings["image"][index], rows.mean(0), rtol=0, atol=2e-6)


def text_embedding(model, text: str) -> np.ndarray:
    """Mean hidden state of a text's own tokens in a user's message, from the whole model without an image."""
    processor, network = model._encoder.processor, model._adapter.model
    tokenizer = processor.tokenizer
    if model._encoder.chat.uses_suffix:
        rendered, stub = tokenizer.bos_token + text, tokenizer.bos_token
        inputs = tokenizer(rendered, return_tensors="pt", add_special_tokens=False)
        hidden = network.get_decoder()(**inputs, use_cache=False).last_hidden_state[0]
        return hidden[len(tokenizer(stub, add_special_tokens=False)["input_ids"]) :].detach().mean(0).numpy()
    message = {"role": "user", "content": [{"type": "text", "text": text}]}
    rendered = processor.apply_chat_template([message], tokenize=False)
    bos = tokenizer.bos_token
    extra = {"add_special_tokens": False} if bos and rendered.startswith(bos) else {}
    inputs = processor(text=[rendered], return_tensors="pt", **extra)
    scored = spelled(tokenizer, inputs["input_ids"][0].tolist(), text, rendered)
    with torch.inference_mode():
        hidden = network.base_model(**inputs, use_cache=False).last_hidden_state[0]
    return hidden[scored].mean(0).numpy()


@family
def test_one_vision_pass_serves_embedding_and_score(family, tiny_model, monkeypatch):
    model = tiny_model(family)
    calls = []
    base = model._adapter.base
    original = base.get_image_features
    monkeypatch.setattr(base, "get_image_features", lambda *a, **k: calls.append(1) or original(*a, **k), raising=False)
    samples = [Sample(str(index), [picture(28, 28, index)], "what?", "red") for index in range(3)]
    assert len(list(model.features(samples))) == 1
    assert calls == [1]
