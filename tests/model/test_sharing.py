# ruff: noqa: E402 (torch and transformers are optional)
"""Samples that begin alike are computed once, and give what each gives alone."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_models
from PIL import Image

from dataprophet.data.images.sources import BytesImage, LazyImages
from dataprophet.data.sample import Conversation, Sample, Turn
from dataprophet.model import batching

family = pytest.mark.parametrize("family", tiny_models.FAMILIES)
QUESTIONS = ["what color is it?", "what color was it?", "how many circles are there?", "and?", "is it left of the cat?"]
ANSWERS = ["the red square", "blue", "one two three", "no", "yes it is"]


def pictures(count: int) -> list[Image.Image]:
    generator = np.random.default_rng(5)
    sizes = [(28, 28), (30, 60), (56, 28)]
    shapes = [(*sizes[index % 3], 3) for index in range(count)]
    return [Image.fromarray(generator.integers(0, 255, shape, dtype=np.uint8)) for shape in shapes]


def five_questions(count: int) -> list[Sample]:
    """Five questions on each of some images, those of an image not next to each other."""
    images = pictures(count)
    return [
        Sample(f"{number}-{place}", [image], question, answer)
        for place, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True))
        for number, image in enumerate(images)
    ]


class Recorder:
    """What goes into a model: tokens of the rows, and images of the vision tower."""

    def __init__(self, model, monkeypatch) -> None:
        self.tokens = self.images = 0
        adapter = model._adapter
        states, means, vision = adapter.states, adapter.text_means, adapter.vision

        def count(run):
            def counted(batch, *rest):
                self.tokens += int(batch.lengths.sum())
                return run(batch, *rest)

            return counted

        def see(batch):
            self.images += len(batch.image_tokens)
            return vision(batch)

        monkeypatch.setattr(adapter, "states", count(states))
        monkeypatch.setattr(adapter, "text_means", count(means))
        monkeypatch.setattr(adapter, "vision", see)


def by_id(parts):
    return {name: (part, index) for part in parts for index, name in enumerate(part.ids)}


def assert_equal(found, expected, tolerance):
    found, expected = by_id(found), by_id(expected)
    assert list(found) == list(expected)
    for name, (part, index) in found.items():
        other, place = expected[name]
        assert part.n_tokens[index] == other.n_tokens[place]
        assert abs(part.nll[index] - other.nll[place]) <= tolerance, name
        for field, rows in part.embeddings.items():
            np.testing.assert_allclose(
                rows[index], other.embeddings[field][place], rtol=0, atol=tolerance, err_msg=f"{name} {field}"
            )


@family
def test_five_questions_on_an_image(family, tiny_model, monkeypatch):
    shared, alone = tiny_model(family), tiny_model(family, share=False)
    assert (shared.sharing, alone.sharing) == ("images" if family == "paligemma" else "prefix", "nothing")
    samples = five_questions(6)
    little, much = Recorder(shared, monkeypatch), Recorder(alone, monkeypatch)
    assert_equal(shared.features(samples), alone.features(samples), 2e-6)
    assert (little.images, much.images) == (6, 30)
    assert little.tokens < (1.01 if family == "paligemma" else 0.7) * much.tokens


@family
def test_turns_of_a_conversation(family, tiny_model, monkeypatch):
    shared, alone = tiny_model(family), tiny_model(family, share=False)
    first, second = pictures(2)
    turns = [
        Turn(question, answer, (0,) if place == 0 else ())
        for place, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True))
    ]
    turns.append(Turn("and this one?", "a dog", (4,)))  # a further image: another set of images
    sources = tuple(BytesImage(png(image)) for image in (first, second))
    samples = list(Conversation("c", sources, tuple(turns)).samples())
    little, much = Recorder(shared, monkeypatch), Recorder(alone, monkeypatch)
    assert_equal(shared.features(samples), alone.features(samples), 2e-6)
    assert (little.images, much.images) == (2, 6)
    if family != "paligemma":
        assert little.tokens < 0.55 * much.tokens


def png(image: Image.Image) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


@family
def test_where_prefixes_part_before_the_image(family, tiny_model):
    """Its features then stand in a row several times."""
    [image] = pictures(1)
    samples = [
        Sample(str(place), [image], f"{word} look: ?", "red", image_offsets=(len(word) + 6,))
        for place, word in enumerate(["now", "then", "now and then"])
    ]
    assert_equal(tiny_model(family).features(samples), tiny_model(family, share=False).features(samples), 2e-6)


@family
def test_rows_split_where_they_grow_long(family, tiny_model, monkeypatch):
    samples = five_questions(2)
    expected = list(tiny_model(family, share=False).features(samples))
    for limit in (1, 60, 120):
        monkeypatch.setattr(batching, "ROW_TOKENS", limit)
        monkeypatch.setattr(batching, "TEXT_ROW_TOKENS", limit)
        assert_equal(tiny_model(family).features(samples), expected, 2e-6)


@pytest.mark.parametrize("family", ["internvl", "qwen2_5_vl", "gemma3"])
def test_eager_attention(family, tiny_folder, tiny_model):
    from transformers import AutoModelForImageTextToText

    from dataprophet.model import from_transformers
    from dataprophet.model.processor import load_processor

    folder = tiny_folder(family)
    network = AutoModelForImageTextToText.from_pretrained(folder, dtype="float32", attn_implementation="eager")
    model = from_transformers(network, load_processor(str(folder), network.config))
    assert model.sharing == "prefix"
    samples = five_questions(3)
    assert_equal(model.features(samples), tiny_model(family, share=False).features(samples), 3e-6)


def test_a_model_that_leaks_between_branches_shares_images_alone(tiny_folder, monkeypatch):
    from dataprophet import load_model
    from dataprophet.model.adapter import Adapter

    original = Adapter._tree_mask
    monkeypatch.setattr(Adapter, "_tree_mask", lambda self, batch, ends: original(self, batch, ends + 5))
    assert load_model(str(tiny_folder("llava")), device="cpu").sharing == "images"


def test_a_leak_that_half_precision_would_hide(tiny_folder, monkeypatch):
    """A row's last texts see one token more than they should: 0.02 nat, as much as bfloat16 itself."""
    from dataprophet import load_model
    from dataprophet.model.adapter import Adapter

    original = Adapter._tree_mask
    monkeypatch.setattr(Adapter, "_tree_mask", lambda self, batch, nodes: original(self, leaky(batch), nodes))

    def leaky(batch):
        return dataclasses.replace(batch, ends=batch.ends + (batch.ends == batch.ends.amin()))

    assert load_model(str(tiny_folder("llava")), device="cpu", dtype="bfloat16").sharing == "images"


def test_texts_are_checked_too(tiny_folder, monkeypatch):
    from dataprophet import load_model
    from dataprophet.model.adapter import Adapter

    original = Adapter.text_means
    monkeypatch.setattr(
        Adapter, "text_means", lambda self, batch: original(self, batch) * (1 if batch.ends is None else 1.001)
    )
    assert load_model(str(tiny_folder("llava")), device="cpu").sharing == "images"


@pytest.mark.parametrize("named", [True, False])
def test_linear_attention_shares_no_row(named, tiny_folder, monkeypatch):
    """By the kinds of its layers; and where these have names that say nothing, by the check, in bfloat16 too."""
    from dataprophet import load_model
    from dataprophet.model import adapter

    if not named:
        monkeypatch.setattr(adapter, "_LAYERS", {*adapter._LAYERS, "linear_attention"})
    folder, samples = str(tiny_folder("qwen3_5")), five_questions(3)
    half, exact = (load_model(folder, device="cpu", dtype=dtype) for dtype in ("bfloat16", "float32"))
    assert (half.sharing, exact.sharing) == ("images", "images")
    [found], [expected] = half.features(samples), exact.features(samples)
    for field, rows in found.embeddings.items():
        other = expected.embeddings[field]
        cosines = (rows * other).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(other, axis=1)
        assert cosines.min() > 0.99, field  # of bfloat16: 0.998 on AMX; 0.51 where a row is shared
    assert_equal(exact.features(samples), load_model(folder, device="cpu", share=False).features(samples), 2e-6)


def test_nothing_is_assumed_without_the_checks(tiny_folder):
    from dataprophet import load_model

    model = load_model(str(tiny_folder("llava")), device="cpu", check=False)
    assert (model.sharing, model._adapter.joins_images) == ("images", False)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pictures_that_do_not_go_through_the_tower_together(dtype, tiny_folder, tiny_model, monkeypatch):
    """As in Molmo2, where each sample would see the first picture: then the tower is called for each sample."""
    from transformers import LlavaModel

    from dataprophet import load_model
    from dataprophet.errors import ModelWarning

    samples, original = five_questions(3), LlavaModel.get_image_features
    expected = tiny_model("llava").logprobs(samples)

    @functools.wraps(original)
    def first_alone(self, *args, **options):
        output = original(self, *args, **options)
        output.pooler_output = [output.pooler_output[0]] * len(output.pooler_output)
        return output

    monkeypatch.setattr(LlavaModel, "get_image_features", first_alone)
    with pytest.warns(ModelWarning, match="does not take the pictures of several samples together") as told:
        model = load_model(str(tiny_folder("llava")), device="cpu", dtype=dtype)
    assert len(told) == 1
    assert (model.sharing, model._adapter.joins_images) == ("prefix", False)
    tolerance = 2e-6 if dtype == "float32" else 0.1
    for values, others in zip(model.logprobs(samples), expected, strict=True):
        np.testing.assert_allclose(values, others, rtol=0, atol=tolerance)


def test_samples_that_change_each_other_in_a_batch_go_alone(tiny_folder, tiny_model, monkeypatch):
    from transformers import LlamaModel

    from dataprophet import load_model
    from dataprophet.errors import ModelWarning

    samples, original = five_questions(3), LlamaModel.forward
    [expected] = tiny_model("llava").features(samples)

    @functools.wraps(original)
    def mixed(self, *args, **options):
        output = original(self, *args, **options)
        output.last_hidden_state = output.last_hidden_state.lerp(output.last_hidden_state[:1], 0.1)
        return output

    monkeypatch.setattr(LlamaModel, "forward", mixed)
    with pytest.warns(ModelWarning, match="samples in one batch change each other .*: a batch for each sample"):
        model = load_model(str(tiny_folder("llava")), device="cpu")
    assert model.sharing == "nothing"
    [found] = model.features(samples)
    assert found.ids == expected.ids
    np.testing.assert_allclose(found.nll, expected.nll, rtol=0, atol=2e-6)
    for field, values in found.embeddings.items():
        np.testing.assert_allclose(values, expected.embeddings[field], rtol=0, atol=2e-5)


def test_the_checks_leave_the_weights_as_they_were(tiny_folder):
    from transformers import AutoModelForImageTextToText

    from dataprophet import load_model

    folder = tiny_folder("qwen2_5_vl")
    network = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.bfloat16)
    checked = load_model(str(folder), device="cpu", dtype="bfloat16")._adapter.model
    assert checked.dtype == torch.bfloat16
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(checked.state_dict()[name], weight, rtol=0, atol=0)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in checked.modules())


@pytest.mark.parametrize("family", ["internvl", "qwen3_vl", "llava"])
def test_half_precision(family, tiny_folder):
    from dataprophet import load_model

    samples = five_questions(6)
    shared, alone = (
        load_model(str(tiny_folder(family)), device="cpu", dtype="bfloat16", share=share) for share in (True, False)
    )
    for found, expected in zip(shared.logprobs(samples), alone.logprobs(samples), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.05)


def test_lazy_images_are_decoded_once_and_grouped_by_their_source(tiny_model, monkeypatch):
    loads = []
    original = BytesImage.load
    monkeypatch.setattr(BytesImage, "load", lambda self, *limit: loads.append(self.where) or original(self, *limit))
    data = png(pictures(1)[0])
    samples = [
        Sample(str(place), LazyImages((BytesImage(data, f"copy {place}"),)), question, "red")
        for place, question in enumerate(QUESTIONS)
    ]
    model = tiny_model("llava")
    recorder = Recorder(model, monkeypatch)
    [features] = model.features(samples)
    assert features.ids == list("01234")
    assert loads == ["copy 0"]
    assert recorder.images == 1


@family
def test_another_picture_gives_another_score(family, tiny_model):
    """Else none of these tests would show where features stand."""
    model = tiny_model(family)
    first, second = model.logprobs(
        [Sample(str(i), [image], "what?", "red") for i, image in enumerate(pictures(4)[::3])]
    )
    assert abs(first - second).max() > 1e-3


def test_a_sliding_window_of_all_layers(tiny_folder, tmp_path):
    """Mistral has one, and no kinds of layers."""
    import json
    import shutil

    from dataprophet import load_model

    folder = shutil.copytree(tiny_folder("llava"), tmp_path / "mistral")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"model_type": "mistral", "sliding_window": 24, "head_dim": 8}
    (folder / "config.json").write_text(json.dumps(config))
    shared, alone = (load_model(str(folder), device="cpu", share=share) for share in (True, False))
    assert shared.sharing == "prefix"
    samples = [
        Sample(f"{number}-{place}", [image], f"{question} " * 6, answer)
        for number, image in enumerate(pictures(3))
        for place, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True))
    ]
    assert_equal(shared.features(samples), alone.features(samples), 2e-6)


@pytest.mark.parametrize("workers", [0, 4])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_lazily_opened_picture_in_several_samples(kind, workers, tiny_model):
    from io import BytesIO

    def opened(image):
        buffer = BytesIO()
        image.resize((500, 400)).save(buffer, format=kind)
        return Image.open(buffer)

    model, expected = tiny_model("llava", workers=workers), None
    for _ in range(3):
        a, b = (opened(image) for image in pictures(2))
        sets = ([a], [a, b], [b], [b, a], [a, a])
        found = model.logprobs([Sample(str(i), images, "what?", "red") for i, images in enumerate(sets)])
        expected = expected or found
        for values, others in zip(found, expected, strict=True):
            np.testing.assert_array_equal(values, others)


def test_images_behind_the_question_count_in_each_branch(tiny_model, monkeypatch):
    model, [image] = tiny_model("llava"), pictures(1)
    sizes, states = [], model._adapter.states
    monkeypatch.setattr(
        model._adapter, "states", lambda b, *rest: sizes.append(int(b.lengths.max())) or states(b, *rest)
    )
    model.logprobs([Sample(str(i), [image], f"what {i}?", "red", image_offsets=(6,)) for i in range(150)])
    assert max(sizes) <= 1100


@family
def test_padding_is_masked_only_where_tokens_see_it(family, tiny_model):
    """PaliGemma's tokens see those behind them up to the end of the prompt."""
    assert tiny_model(family)._adapter.masks_padding == (family == "paligemma")


@pytest.mark.gpu
@family
def test_on_cuda(family, tiny_folder, tiny_model):
    """The same numbers as on the CPU, with threads that work ahead and batches in pinned memory."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from dataprophet import load_model

    samples, folder = five_questions(6), str(tiny_folder(family))
    model = load_model(folder, device="cuda", dtype="float32")
    assert (model.sharing, model.workers > 0) == (tiny_model(family).sharing, True)
    assert_equal(model.features(samples), tiny_model(family, share=False).features(samples), 2e-4)
    half = load_model(folder, device="cuda", dtype="bfloat16").logprobs(samples)
    for found, expected in zip(half, tiny_model(family).logprobs(samples), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.1)
