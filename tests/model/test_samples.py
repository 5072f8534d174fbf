# ruff: noqa: E402 (torch and transformers are optional)
"""Samples through a model: what is left out and why, order, windows, memory bounds, dtypes."""

from __future__ import annotations

import logging
import sys
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sample_files import png

from dataprophet import load_model, profile
from dataprophet.data.images.sources import BytesImage, LazyImages
from dataprophet.data.sample import Sample, Turn
from dataprophet.errors import DataError
from dataprophet.model import reader
from dataprophet.model.batching import Size, plan
from dataprophet.model.prefetch import Workers
from dataprophet.model.rows import Batch

IMAGE = Image.new("RGB", (28, 28), (20, 130, 30))


class Broken:
    """Images that cannot be decoded, as the data layer reports them."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __iter__(self):
        raise self.error


def run(model, samples):
    problems = []
    parts = list(model.features(samples, on_problem=problems.append))
    return [name for part in parts for name in part.ids], problems, parts


BAD = {
    "empty_answer": Sample("bad", [IMAGE], "what?", " \n", place="data.json row 7"),
    "image_count": Sample("bad", [IMAGE], "what?", "red", image_offsets=(0, 0), place="data.json row 7"),
    "undecodable_image": Sample(
        "bad",
        Broken(DataError("not an image", where="cat.png", fix="replace it")),
        "what?",
        "red",
        image_offsets=(0,),
        place="data.json row 7",
    ),
    "too_long": Sample("bad", [IMAGE], "what? " * 3000, "red", place="data.json row 7"),
}


@pytest.mark.parametrize("code", BAD)
def test_a_bad_sample_is_left_out_and_reported(code, tiny_model):
    model = tiny_model("llava")
    good = [Sample(str(index), [IMAGE], f"what is {index}?", "red") for index in range(3)]
    names, problems, parts = run(model, [good[0], BAD[code], *good[1:]])
    assert names == ["0", "1", "2"]
    [problem] = problems
    assert (problem.code, problem.file, problem.row, problem.id) == (code, "data.json", 7, "bad")
    assert problem.fix
    assert "\n" not in str(problem)
    _, _, expected = run(model, good)
    np.testing.assert_allclose(parts[0].nll, expected[0].nll, rtol=0, atol=2e-6)
    with pytest.raises(DataError, match=r"data\.json row 7"):
        list(model.features([BAD[code]]))
    with pytest.raises(DataError, match=r"data\.json row 7"):
        model.logprobs([good[0], BAD[code]])


def test_a_pillow_error_is_an_undecodable_image(tiny_model):
    bad = Sample("bad", Broken(OSError("broken data stream")), "what?", "red", image_offsets=(0,))
    names, [problem], _ = run(tiny_model("llava"), [bad])
    assert names == []
    assert problem.code == "undecodable_image"
    assert "broken data stream" in problem.message


def test_an_image_that_is_an_array_is_reported(tiny_model):
    bad = Sample("bad", [np.zeros((9, 9, 3), np.uint8)], "what?", "red")  # type: ignore[list-item]
    names, [problem], _ = run(tiny_model("llava"), [bad])
    assert names == []
    assert "an image is a ndarray; give PIL images" in str(problem)


def test_an_image_that_the_processor_refuses_costs_only_its_own_sample(tiny_model):
    line = Image.new("RGB", (2000, 2))  # wider than 200 times its height
    samples = [Sample(str(i), [line if i == 2 else IMAGE], "what?", "red") for i in range(5)]
    names, [problem], _ = run(tiny_model("qwen2_5_vl"), samples)
    assert names == ["0", "1", "3", "4"]
    assert (problem.code, problem.id) == ("unprocessable", "2")


def test_a_prefix_model_takes_no_text_alone(tiny_model):
    names, [problem], _ = run(tiny_model("paligemma"), [Sample("a", [], "what?", "red")])
    assert (names, problem.code) == ([], "no_image")


def test_the_longest_sample_is_taken_whole(tiny_model, monkeypatch):
    model = tiny_model("llava")
    sample = Sample("a", [IMAGE], "how many circles are there?", "one two three")
    [encoded], _ = model._encoder.group([model._encoder.chat.render(sample)], sample.images)
    length = len(encoded)
    monkeypatch.setattr(model._batcher, "max_tokens", length)
    assert run(model, [sample])[0] == ["a"]
    monkeypatch.setattr(model._batcher, "max_tokens", length - 1)
    names, [problem], _ = run(model, [sample])
    assert (names, problem.code) == ([], "too_long")
    assert str(length) in problem.message


def test_a_long_sample_is_reported_once(monkeypatch, caplog):
    """By the profile, and not by transformers, too, which warns of a text that is longer than the model takes."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    caplog.set_level(logging.WARNING, "transformers")
    samples = [Sample("long", [], "x" * 5000, "a"), Sample("b", [], "x", "a")]
    assert profile(samples, load_model("demo", device="cpu")).problems.summary() == "1 left out: 1 too_long"
    assert not caplog.records


def test_order_and_bounded_windows(tiny_model, monkeypatch):
    model = tiny_model("llava")
    monkeypatch.setattr(reader, "WINDOW_SAMPLES", 4)
    read = []

    def stream():
        for index in range(10):
            read.append(index)
            yield Sample(str(index), [IMAGE], "what? " * (10 - index), "red" if index % 2 else "one two")

    seen, progress = [], []
    for part in model.features(stream(), progress=progress.append):
        assert len(read) - len(seen) <= 4 + 1  # a window, and the sample that it has no room for
        seen += part.ids
    assert seen == [str(index) for index in range(10)]
    assert progress == [4, 8, 10]


def test_a_window_closes_on_pixels(tiny_model, monkeypatch):
    monkeypatch.setattr(reader, "WINDOW_PIXELS", 3 * 28 * 28)
    samples = [Sample(str(index), [IMAGE.copy()], "what?", "red") for index in range(7)]
    assert [len(part.ids) for part in tiny_model("llava").features(samples)] == [3, 3, 1]
    samples = [Sample(str(index), [IMAGE], "what?", "red") for index in range(7)]  # the same picture is held once
    assert [len(part.ids) for part in tiny_model("llava").features(samples)] == [7]


def test_a_question_without_text_has_no_question_embedding(tiny_model):
    [features] = tiny_model("llava").features([Sample("a", [IMAGE], " ", "red"), Sample("b", [IMAGE], "what?", "red")])
    assert features.present["question"].tolist() == [False, True]
    assert not features.embeddings["question"][0].any()
    assert features.embeddings["question"][1].any()
    assert features.embeddings["question"].dtype == np.float32
    assert features.nll.dtype == np.float64


def test_nothing_in_nothing_out(tiny_model):
    assert list(tiny_model("llava").features([])) == []
    assert tiny_model("llava").logprobs([]) == []


def test_image_modes_other_than_rgb(tiny_model):
    model = tiny_model("llava")
    images = [IMAGE, IMAGE.convert("RGBA"), IMAGE.quantize()]
    grey = Image.new("L", (28, 28), 90)
    values = model.logprobs([Sample(str(i), [image], "what?", "red") for i, image in enumerate([*images, grey])])
    for other in values[1:3]:
        np.testing.assert_allclose(other, values[0], atol=2e-6)
    assert abs(values[3] - values[0]).max() > 1e-5


def test_the_context_counts_for_the_score_and_not_for_the_question_embedding(tiny_model):
    model = tiny_model("internvl")
    alone = Sample("a", [IMAGE], "and now?", "red", image_offsets=(0,))
    later = Sample("b", [IMAGE], "and now?", "red", (Turn("what is it?", "blue", (0,)),), ())
    [features] = model.features([alone, later])
    assert abs(features.nll[0] - features.nll[1]) > 1e-4
    np.testing.assert_array_equal(features.embeddings["question"][0], features.embeddings["question"][1])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_dtypes(dtype, tiny_folder, tiny_model):
    model = load_model(str(tiny_folder("llava")), device="cpu", dtype=dtype)
    assert model.dtype == model.settings["dtype"] == dtype
    sample = Sample("a", [IMAGE], "how many circles?", "one two three")
    [found], [expected] = model.logprobs([sample]), tiny_model("llava").logprobs([sample])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 if dtype == "float64" else 0.1)


def test_a_result_that_is_not_finite_names_the_sample(tiny_model):
    model = tiny_model("llava", fused=False)
    head = model._adapter.model.get_output_embeddings()
    hook = head.register_forward_hook(lambda _, args, output: output.fill_(float("nan")))
    try:
        with pytest.raises(DataError, match=r"data\.json row 3: .*float32.*not finite"):
            model.logprobs([Sample("a", [IMAGE], "what?", "red", place="data.json row 3")])
    finally:
        hook.remove()


def test_a_sample_that_is_not_finite_leaves_the_others_as_they_are(tiny_folder, tiny_model):
    """In a row with it, they would be spoilt: nothing times NaN is NaN."""
    model = load_model(str(tiny_folder("llava")), device="cpu", batch_tokens=1024)
    broken = int(model._encoder.tokenizer("🐈", add_special_tokens=False)["input_ids"][-1])
    with torch.no_grad():
        model._adapter.model.get_input_embeddings().weight[broken] = float("nan")
    questions = {"a": "what?", "b": "what 🐈 is it?", "c": "and where?"}
    samples = [
        Sample(name, [IMAGE], question, "red one", place=f"x.json row {name}") for name, question in questions.items()
    ]
    samples.append(Sample("d", [IMAGE], "what?", "a 🐈 or so"))
    names, problems = run(model, samples)[:2]
    assert names == ["a", "c"]
    assert [(problem.id, problem.code) for problem in problems] == [("b", "not_finite"), ("d", "not_finite")]
    [expected] = tiny_model("llava").features([samples[0], samples[2]])
    [found] = model.features(samples, on_problem=lambda problem: None)
    np.testing.assert_allclose(found.nll, expected.nll, atol=2e-6)
    for field, rows in found.embeddings.items():
        np.testing.assert_allclose(rows, expected.embeddings[field], atol=2e-6)
    [cell] = model.cells([samples])
    assert cell.places.tolist() == [0, 2]
    assert [(place, problem.code) for place, problem in cell.problems] == [(1, "not_finite"), (3, "not_finite")]


@given(
    st.lists(st.builds(Size, st.integers(1, 50), st.integers(1, 3), st.integers(0, 9), st.booleans())),
    st.integers(1, 120),
    st.integers(1, 30) | st.just(sys.maxsize),
)
def test_batches_hold_every_row_once_within_the_budget(sizes, limit, answers):
    batches = plan(sizes, max_tokens=limit, max_answer_tokens=answers)
    assert sorted(index for batch in batches for index in batch) == list(range(len(sizes)))
    for batch in batches:
        together = [sizes[index] for index in batch]
        assert len({size.images for size in together}) == 1
        if len(together) > 1:
            assert sum(size.rows for size in together) * max(size.tokens for size in together) <= limit
            assert sum(size.answer_tokens for size in together) <= answers


def test_pixels_are_let_go_batch_by_batch(tiny_folder, monkeypatch):
    model = load_model(str(tiny_folder("llava")), device="cpu", batch_tokens=64, workers=0)
    vision, pixels, alive = model._adapter.vision, [], []

    def counted(batch):
        pixels.extend(weakref.ref(value) for values in batch.pixels for value in values.values())
        alive.append(sum(value() is not None for value in pixels))
        return vision(batch)

    monkeypatch.setattr(model._adapter, "vision", counted)
    samples = [Sample(f"s{i}", [Image.new("RGB", (28, 28), (i, i, i))], "what?", "red") for i in range(8)]
    assert run(model, samples)[0] == [sample.id for sample in samples]
    assert len(alive) > 3
    assert max(alive) == 1  # of a batch, not of the window


def test_a_sample_that_the_template_refuses_is_left_out(tiny_folder):
    plain = load_model(str(tiny_folder("internvl")), device="cpu")._encoder.chat.template
    template = "{% if 'seven' in messages | string %}{{ raise_exception('no seven') }}{% endif %}" + plain
    model = load_model(str(tiny_folder("internvl")), device="cpu", template=template)
    problems = []
    samples = [Sample(f"s{i}", [], "seven?" if i == 1 else "six?", "it is") for i in range(3)]
    found = list(model.features(samples, on_problem=problems.append))
    assert [name for part in found for name in part.ids] == ["s0", "s2"]
    assert [(problem.id, problem.code) for problem in problems] == [("s1", "unprocessable")]


def test_decoded_pictures_are_let_go_as_their_batches_are_made(tiny_model, monkeypatch):
    decoded, load = [], reader._load

    def loaded(picture, limit):
        found = load(picture, limit)
        decoded.extend(weakref.ref(image) for image in found)
        return found

    monkeypatch.setattr(reader, "_load", loaded)
    model = tiny_model("internvl")
    monkeypatch.setattr(model, "batch_tokens", 64)
    samples = [Sample(f"s{i}", LazyImages((BytesImage(png((i, i, i), (28, 28))),)), "what?", "red") for i in range(40)]
    alive = [
        sum(image() is not None for image in decoded)
        for unit in model._batcher.work(samples, lambda: 64, Workers(0), texts=False)
        if isinstance(unit, Batch)
    ]
    assert len(alive) > 10
    assert alive[-1] <= reader.RECENT_PICTURES + 2 < len(decoded) == 40
