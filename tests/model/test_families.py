# ruff: noqa: E402 (torch and transformers are optional)
"""Every family against plain transformers: full logits of each sample alone, spans found by decoding, its own loss."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_models
from family_check import ORDERS, check
from family_reference import TOLERANCE, make_samples, picture, reference, spelled
from torch.utils._python_dispatch import TorchDispatchMode

from dataprophet.data.sample import Sample
from dataprophet.errors import ModelError

family = pytest.mark.parametrize("family", tiny_models.FAMILIES)

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


MINICPM = {"minicpm_ocr", "minicpmv4_6", "minicpmv4_7"}
SHARES_IMAGES = {"qwen3_5", "qwen3_5_moe", "gemma3n", "gemma4", "gemma4_unified", "molmo2", "lfm2_vl", "lfm3_vl"}
SHARES_IMAGES |= {"inkling_mm_model", "inkling2", "unlimited_ocr", "nemotron_h_omni", *MINICPM}
PICKS_KEYS = {"dots3_note", "glm5_next", "qwen4_exp", "minimax_m3_vl", "mistral_large4"}
CALLS_FOR_EACH = {"molmo2", "perception_lm", "emu3", *MINICPM}
REFUSED = {
    "chameleon": "its answer tokens spell",  # its processor writes a token behind them
    "got_ocr2": "Nested images are only supported",
    "llama4": "gives no features as the text model takes them",
    "blip-2": "puts all images before the text",
    "instructblip": "puts all images before the text",
    "diffusion_gemma": "writes answers by diffusion",
    "shieldgemma2": "asks its own questions",
    "fuyu": "refuses a question on a picture",
    "pp_chart2table": "no token that stands for an image",
}


@pytest.mark.parametrize("family", tiny_models.MORE_FAMILIES)
def test_further_families_are_right_or_refused(family, tmp_path):
    """In float32 and bfloat16, all samples together and each alone."""
    later = family in tiny_models.LATER_FAMILIES or tiny_models.needs_torchvision(family)
    if later and importlib.util.find_spec("torchvision") is None:
        pytest.skip(f"{family} is tried with torchvision, by make families")
    folder = tiny_models.write(family, tmp_path / family)
    if family in REFUSED:
        with pytest.raises(ModelError, match=REFUSED[family]):
            check(family, folder)
        return
    found = check(family, folder)
    assert len(found.samples) >= 7
    assert found.exact <= TOLERANCE
    assert found.half <= ORDERS * found.plain
    sharing = "nothing" if family in PICKS_KEYS else "images" if family in SHARES_IMAGES else "prefix"
    assert found.model.sharing == sharing
    assert found.model._adapter.joins_images == (family not in CALLS_FOR_EACH)
