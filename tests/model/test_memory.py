# ruff: noqa: E402 (torch and transformers are optional)
"""Memory of the device that runs out: budgets are halved, samples that do not fit are left out, nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from PIL import Image

from dataprophet import load_model
from dataprophet.data.sample import Sample
from dataprophet.errors import DataError, ModelError
from dataprophet.model import reader

IMAGE = Image.new("RGB", (28, 28), (20, 130, 30))


def run(model, samples):
    problems = []
    parts = list(model.features(samples, on_problem=problems.append))
    return [name for part in parts for name in part.ids], problems, parts


def few_tokens(model, monkeypatch, limit, error):
    """A device on which a pass over more than so many tokens does not fit. Gives the sizes that were tried."""
    states, means, sizes = model._adapter.states, model._adapter.text_means, []

    def small(run):
        def limited(batch, *rest):
            sizes.append(batch.ids.numel())
            if batch.ids.numel() > limit:
                raise error
            return run(batch, *rest)

        return limited

    monkeypatch.setattr(model._adapter, "states", small(states))
    monkeypatch.setattr(model._adapter, "text_means", small(means))
    monkeypatch.setattr(model, "batch_tokens", model.batch_tokens)  # set back afterwards
    return sizes


NO_MEMORY = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory"),
    "cpu": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
}


@pytest.mark.parametrize("kind", NO_MEMORY)
def test_one_sample_that_does_not_fit_into_memory_is_left_out(kind, tiny_model, monkeypatch):
    model = tiny_model("llava")
    samples = [Sample(str(i), [IMAGE], "what?" if i != 1 else "what? " * 60, "red") for i in range(3)]
    long_text = Sample("text", [IMAGE], "what?", "red " * 40)
    expected = dict(zip("02", model.logprobs([samples[0], samples[2]]), strict=True))
    few_tokens(model, monkeypatch, 40, NO_MEMORY[kind])
    names, problems, [part] = run(model, [*samples, long_text])
    assert names == ["0", "2"]
    np.testing.assert_allclose(part.nll, [-expected[name].mean() for name in names], atol=2e-6)
    assert [(problem.id, problem.code) for problem in problems] == [("1", "out_of_memory"), ("text", "out_of_memory")]
    assert "does not fit into the memory of cpu" in problems[0].message
    with pytest.raises(DataError, match=r"sample 1: .* does not fit into the memory of cpu"):
        model.logprobs(samples)


def test_a_text_that_does_not_fit_into_memory(tiny_model, monkeypatch):
    model = tiny_model("llava")
    means = model._adapter.text_means

    def small(batch):
        if batch.ids.numel() > 60:
            raise NO_MEMORY["cuda"]
        return means(batch)

    monkeypatch.setattr(model._adapter, "text_means", small)
    monkeypatch.setattr(model, "batch_tokens", model.batch_tokens)
    names, [problem], _ = run(model, [Sample(str(i), [IMAGE], "what?" * (1 + i % 2 * 40), "red") for i in range(2)])
    assert (names, problem.id, problem.code) == (["0"], "1", "out_of_memory")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", NO_MEMORY)
def test_out_of_memory_halves_the_budget_and_loses_nothing(kind, workers, tiny_model, monkeypatch):
    model = tiny_model("llava", workers=workers)
    monkeypatch.setattr(reader, "WINDOW_SAMPLES", 16)
    pictures = [Image.new("RGB", (28, 28), (index, 130, 30)) for index in range(8)]
    samples = [Sample(str(i), [pictures[i % 8]], f"what is {i}?", "red" * (1 + i % 3)) for i in range(40)]
    expected = list(model.features(samples))
    sizes = few_tokens(model, monkeypatch, 200, NO_MEMORY[kind])
    found = list(model.features(samples))
    assert [part.ids for part in found] == [part.ids for part in expected]
    for part, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(part.nll, other.nll, atol=2e-6)
        for name, rows in part.embeddings.items():
            np.testing.assert_allclose(rows, other.embeddings[name], atol=2e-6)
    assert model.batch_tokens <= 200
    assert max(sizes) > 200
    assert max(sizes[len(sizes) // 2 :]) <= 200  # the later windows are planned for what fits


NO_ROOM = """
import resource, sys
import numpy as np
from PIL import Image
from dataprophet import Sample, load_model

model = load_model(sys.argv[1], device="cpu", batch_tokens=1024)
pictures = [Image.new("RGB", (28, 28), (index, 130, 30)) for index in range(250)]
samples = [Sample(str(i), [pictures[i % 250]], f"what is {i}?" * 8, "red" * (1 + i % 3)) for i in range(1000)]
expected = list(model.features(samples))
model.batch_tokens = 1_000_000
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 80 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
found = list(model.features(samples))
for part, other in zip(found, expected, strict=True):
    assert part.ids == other.ids
    np.testing.assert_allclose(part.nll, other.nll, atol=2e-6)
print("halved" if model.batch_tokens < 1_000_000 else "all of it fits")
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the memory of a process as Linux does")
def test_memory_that_really_runs_out(tiny_folder):
    run = subprocess.run(
        [sys.executable, "-c", NO_ROOM, str(tiny_folder("llava"))],
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "halved\n", run.stderr


def test_the_budget_is_halved_by_what_was_tried_alone(tiny_model, monkeypatch):
    model = tiny_model("llava")
    samples = [Sample(str(i), [IMAGE.copy()], "what? " * (1 + i % 9), "red") for i in range(60)]
    monkeypatch.setattr(model, "batch_tokens", 400)
    tries, states = [], model._adapter.states

    def once(batch, *rest):
        tries.append(batch.ids.numel())
        if len(tries) == 1:
            raise NO_MEMORY["cpu"]
        return states(batch, *rest)

    monkeypatch.setattr(model._adapter, "states", once)
    model.logprobs(samples)
    assert model.batch_tokens == tries[0] // 2


def test_an_output_layer_that_does_not_fit_takes_fewer_tokens(tiny_model, monkeypatch):
    model = tiny_model("llava")
    samples = [Sample(str(i), [IMAGE], f"what is {i}?", "red one two") for i in range(9)]
    expected, original = model.logprobs(samples), model._adapter.logprobs

    def small(states, targets):
        if len(targets) > 5:
            raise NO_MEMORY["cuda"]
        return original(states, targets)

    monkeypatch.setattr(model._adapter, "logprobs", small)
    budget = model.batch_tokens
    for found, values in zip(model.logprobs(samples), expected, strict=True):
        np.testing.assert_array_equal(found, values)
    assert model.batch_tokens == budget


def test_the_texts_of_a_sample_that_is_left_out_are_not_embedded(tiny_model, monkeypatch):
    model = tiny_model("llava")
    widths, means = [], model._adapter.text_means
    monkeypatch.setattr(model._adapter, "text_means", lambda batch: widths.append(batch.ids.shape[1]) or means(batch))
    long = Sample("bad", [IMAGE], "what? " * 3000, "red")
    names, [problem], _ = run(model, [Sample("a", [IMAGE], "what?", "red"), long])
    assert (names, problem.code) == (["a"], "too_long")
    assert max(widths) < 100


def test_an_answer_with_nothing_before_it_is_left_out(tiny_folder):
    part = "{% if c['type'] == 'image' %}<IMG_CONTEXT>{% else %}{{ c['text'] }}{% endif %}"
    template = "{% for m in messages %}{% for c in m['content'] %}" + part + "{% endfor %}{% endfor %}"
    model = load_model(str(tiny_folder("internvl")), device="cpu", template=template, check=False)
    names, [problem], _ = run(model, [Sample("a", [], "", "red square"), Sample("b", [], "what?", "red square")])
    assert names == ["b"]
    assert "no token stands before its answer" in problem.message


def test_a_sample_at_which_the_model_fails_is_left_out(tiny_model, monkeypatch):
    model = tiny_model("llava")
    few_tokens(model, monkeypatch, 300, RuntimeError("shapes do not match"))
    samples = [Sample(str(i), [IMAGE], "what?" if i != 1 else "what? " * 300, "red") for i in range(3)]
    budget = model.batch_tokens
    names, [problem], _ = run(model, samples)
    assert (names, problem.id, problem.code, model.batch_tokens) == (["0", "2"], "1", "unprocessable", budget)
    assert "shapes do not match" in problem.message


def test_a_device_that_fails_ends_the_run_on_one_line(tiny_model, monkeypatch):
    model = tiny_model("llava")
    few_tokens(model, monkeypatch, 0, RuntimeError("CUDA error: an illegal memory access was encountered\nmore"))
    with pytest.raises(ModelError, match=r"cpu fails \(CUDA error: an illegal memory access was encountered\)"):
        model.logprobs([Sample("a", [IMAGE], "what?", "red")])
