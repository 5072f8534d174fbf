# ruff: noqa: E402 (torch and transformers are optional)
"""What bench_model_pass stands on: true sizes, true counts of operations, and peers that find what ours finds."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

PUBLISHED = {  # parameters, as the models' files hold them
    "InternVL3-2B": 2_088_957_440,
    "Qwen2.5-VL-3B": 3_754_622_976,
    "SmolVLM-256M": 256_484_928,
    "LLaVA-1.5-7B": 7_063_427_072,
}
named = pytest.mark.parametrize("name", PUBLISHED)


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch):
    for folder in ("benchmarks", "benchmarks/model"):
        monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / folder))


@named
def test_sizes_are_the_published_ones(name):
    import architectures

    config = architectures.architecture(name).config
    with torch.device("meta"):
        network = transformers.AutoModelForImageTextToText.from_config(config)
    assert sum(weight.numel() for weight in network.parameters()) == PUBLISHED[name]


@named
def test_samples_are_of_about_600_tokens_with_5_in_the_answer(name):
    import architectures
    import baselines
    import model_data

    built = architectures.architecture(name, scaled=True)
    peer = baselines.Peer(torch.nn.Identity(), built.processor)
    samples = model_data.samples(built.image_sizes, len(built.image_sizes))
    encoded = [peer.encode([sample]) for sample in samples]
    assert 550 < np.mean([inputs["input_ids"].shape[1] for inputs, _ in encoded]) < 670
    assert {count for _, (count,) in encoded} == {model_data.ANSWER_WORDS}
    assert built.config.get_text_config().vocab_size == 151_936


@named
def test_operations_are_those_that_torch_counts(name):
    import architectures
    import baselines
    import model_data
    import model_flops

    built = architectures.architecture(name, scaled=True)
    network = built.network("cpu", "float32")
    peer = baselines.Peer(network, built.processor)
    (sample,) = model_data.samples(built.image_sizes[1:], 1)
    inputs, _ = peer.encode([sample])
    ids = {key: inputs[key] for key in ("input_ids", "attention_mask")}
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as vision:
            peer.vision(inputs)
        with FlopCounterMode(display=False) as decoder:
            peer.hidden(ids)
    text = built.config.get_text_config()
    length = ids["input_ids"].shape[1]
    hidden = text.num_hidden_layers * 4 * text.hidden_size * (length**2 - length * (length + 1) / 2)  # masked products
    unused = 0
    if name == "LLaVA-1.5-7B":  # the last layer of the tower, whose output nobody reads
        width, rows = built.config.vision_config.hidden_size, 577
        unused = 2 * rows * (4 * width**2 + 2 * width * 256) + 4 * rows**2 * width
    assert vision.get_total_flops() - unused == pytest.approx(model_flops.vision_flops(built.config, inputs), rel=1e-3)
    assert decoder.get_total_flops() - hidden == pytest.approx(model_flops.decoder_flops(text, 0, length), rel=1e-3)


def test_work_of_questions_about_one_image_is_counted_once():
    import architectures
    import baselines
    import model_data
    import model_flops

    built = architectures.architecture("InternVL3-2B", scaled=True)
    peer = baselines.Peer(torch.nn.Identity(), built.processor)
    several = model_data.samples(built.image_sizes, 1, questions=3)
    works = [model_flops.features_work(built.config, [sample], peer) for sample in several]
    work = model_flops.features_work(built.config, several, peer)
    assert work.tokens == sum(alone.tokens for alone in works)
    assert work.answer_tokens == 15
    assert work.flops["vision"] == works[0].flops["vision"]
    for part in ("texts", "head"):
        assert work.flops[part] == pytest.approx(sum(alone.flops[part] for alone in works))
    assert works[0].flops["decoder"] < work.flops["decoder"] < 2 * works[0].flops["decoder"]


def test_peers_find_what_ours_finds():
    import architectures
    import baselines
    import bench_model_pass
    import model_data

    from dataprophet.model import from_transformers
    from dataprophet.ops.timing import Way

    built = architectures.architecture("InternVL3-2B", scaled=True)
    network = built.network("cpu", "float32")
    model = from_transformers(network, built.processor, fingerprint="random weights", check=False)
    samples = model_data.samples(built.image_sizes[:1], 2)
    loop = baselines.ObviousLoop(network, built.processor)
    ways = [Way("ours", lambda: bench_model_pass.features(model, samples)), Way("obvious loop", lambda: loop(samples))]
    for rows in (False, True):
        batch = baselines.PaddedBatch(network, built.processor, samples, 2, answer_rows=rows)
        ways.append(Way(f"answer_rows={rows}", batch))
    bench_model_pass.agree(ways, "float32")
    assert all(way.error < 1e-5 for way in ways)
    assert np.std(ways[1].run()[0]) > 0.01  # a model that says the same of every answer would prove nothing
    ways[0].run = lambda: (np.zeros(2), ways[1].run()[1])
    with pytest.raises(AssertionError, match=re.escape("ours: nll differs by")):
        bench_model_pass.agree(ways, "float32")


def test_share_of_the_head_is_measured():
    import bench_model_pass
    from PIL import Image

    from dataprophet import load_model
    from dataprophet.data.sample import Sample
    from dataprophet.model.head import Head

    plain = Head.logprobs
    samples = [Sample("a", [Image.new("RGB", (32, 32))], "what?", "red")]
    assert 0 < bench_model_pass.head_share(load_model("demo", device="cpu"), samples) < 1
    assert Head.logprobs is plain
