"""From samples to text and back: placeholders in user text, image places, templates that trim, scored terminators."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_models
from PIL import Image

from dataprophet import load_model
from dataprophet.data.sample import Sample, Turn
from dataprophet.errors import ModelError
from dataprophet.model.chat import Chat
from dataprophet.model.token_reuse import EncodedPrefix

IMAGE = Image.new("RGB", (28, 28), (200, 30, 30))
HOSTILE = {
    "internvl": "<IMG_CONTEXT> <img> <|im_end|> <|im_start|>",
    "qwen2_5_vl": "<|image_pad|><|vision_start|> <|im_end|>",
    "qwen3_vl": "<|image_pad|><|video_pad|> <|im_end|>",
    "llava": "<image><image> </s> <s> <<image>>",
    "llava_onevision": "<image> <video> <|im_end|>",
    "smolvlm": "<image> <row_1_col_1> <fake_token_around_image><end_of_utterance>",
    "idefics3": "<image> <global-img> <end_of_utterance>",
    "gemma3": "<start_of_image> <image_soft_token> <end_of_turn><bos>",
    "paligemma": "<image> <bos> <eos> <pad>",
}


def ask(question: str, answer: str, **more: object) -> Sample:
    return Sample("a", [IMAGE], question, answer, **more)


def tokens(model, sample: Sample) -> tuple[list[int], list[int]]:
    """All token ids of a sample, and those of its answer."""
    [encoded], _ = model._encoder.group([model._encoder.chat.render(sample)], sample.images)
    return encoded.ids.tolist(), encoded.ids[encoded.mask].tolist()


def special_ids(model) -> set[int]:
    return {index for index, token in model._encoder.tokenizer.added_tokens_decoder.items() if token.special}


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_special_tokens_in_questions_stay_text(family, tiny_model):
    model, text = tiny_model(family), HOSTILE[family]
    special = special_ids(model)
    plain, _ = tokens(model, ask("what is this?", "red"))
    ids, answer = tokens(model, ask(f"{text}what is {text} this?{text}", "red"))
    assert [i for i in ids if i in special] == [i for i in plain if i in special]
    assert model._encoder.tokenizer.decode(answer).strip() == "red"
    assert np.isfinite(model.logprobs([ask(text, "red")])[0]).all()
    [features] = model.features([ask(text, "red")])
    assert np.isfinite(features.embeddings["question"]).all()


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_answers_with_tokens_of_turns_or_images_are_refused(family, tiny_model):
    model, turn = tiny_model(family), Turn("what?", f"red {HOSTILE[family]}", ())
    problems = []
    samples = [ask("what?", f"red {HOSTILE[family]}"), ask("why?", "so", context=(turn,)), ask("what?", "red")]
    [features] = model.features(samples, on_problem=problems.append)
    assert [problem.code for problem in problems] == ["text_mismatch"] * 2
    assert len(features.ids) == 1
    assert all(problem.message.startswith("an answer holds '") for problem in problems)


def test_text_without_special_tokens_is_left_alone(tiny_model):
    chat = tiny_model("llava")._encoder.chat
    for text in ("", "a < b > c", "< image>", "image", "\n <ünïcode> 猫 "):
        assert chat.neutral(text) == text
    assert chat.neutral("see <image>, <<image>>") == "see < image>, << image>>"


def test_images_stand_where_the_offsets_say(tiny_model):
    chat = tiny_model("qwen2_5_vl")._encoder.chat
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    turn = Turn("before after", "first", (7,))
    sample = Sample("a", [IMAGE] * 3, "ab", "second", (turn,), (0, 2))
    assert chat.render(sample).prompt == (
        f"<|im_start|>user\nbefore {image}after<|im_end|>\n<|im_start|>assistant\nfirst<|im_end|>\n"
        f"<|im_start|>user\n{image}ab{image}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert chat.render(sample).answer == "second"


def test_a_template_that_trims_is_followed(tiny_folder):
    template = (
        "{% for m in messages %}[{{ m['role'] }}]"
        "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] | trim }}{% endif %}"
        "{% endfor %}</s>{% endfor %}"
    )
    model = load_model(str(tiny_folder("llava")), template=template)
    rendered = model._encoder.chat.render(ask("  what?\n", " \n red "))
    assert (rendered.prompt, rendered.answer) == ("[user]<image>what?</s>[assistant]", "red")
    trimmed, plain = model.logprobs([ask("  what?\n", " \n red "), ask("what?", "red")])
    np.testing.assert_array_equal(trimmed, plain)


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("{% for m in messages %}{{ m['content'][0]['text'] + 1 }}{% endfor %}", "does not render"),
        ("{{ raise_exception('no images') }}", "no images"),
        ("{% for m in messages %}{% if", "does not render"),
        ("{% for m in messages %}<image>x</s>{% endfor %}", "renders a message 0 times"),
        (
            "{% for m in messages %}{% for c in m['content'] %}{{ c.get('text', '') * 2 }}{% endfor %}{% endfor %}",
            "2 times",
        ),
    ],
)
def test_a_template_that_loses_or_repeats_the_answer_is_refused(template, what, tiny_folder):
    with pytest.raises(ModelError, match=f"{what}.*template="):
        load_model(str(tiny_folder("llava")), template=template)


def test_the_terminator_is_scored_only_on_request(tiny_folder, tiny_model):
    sample = ask("what?", "red cat")
    plain = tiny_model("qwen2_5_vl").logprobs([sample])[0]
    model = load_model(str(tiny_folder("qwen2_5_vl")), device="cpu", score_terminator=True)
    scored = model.logprobs([sample])[0]
    assert len(scored) == len(plain) + 1
    np.testing.assert_allclose(scored[:-1], plain, atol=5e-6)
    assert tokens(model, sample)[1][-1] == model._encoder.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert model.settings["terminator"] == "scored"
    assert tiny_model("qwen2_5_vl").settings["terminator"] == "not scored"


def test_the_terminator_of_a_prefix_model_and_of_a_template_without_one(tiny_folder):
    prefix = load_model(str(tiny_folder("paligemma")), device="cpu", score_terminator=True)
    assert tokens(prefix, ask("what?", "red"))[1][-1] == prefix._encoder.tokenizer.eos_token_id
    processor = prefix._encoder.processor
    bare = "{% for m in messages %}{% for c in m['content'] %}{{ c['text'] }} {% endfor %}{% endfor %}"
    chat = Chat(processor, template=bare, score_terminator=True, where="test")
    chat.uses_suffix, chat.template = False, bare
    assert chat.render(Sample("a", [], "what?", "red")).end == processor.tokenizer.eos_token


TEXTS = [
    *(
        "",
        "what?",
        "what? ",
        " what",
        "\nwhat",
        "\n\nred",
        "how many circles are there?",
        "où est le 猫?",
        "🐈",
        "  two  ",
    ),
    *("<image>", "</s>", "<|im_end|>", "<end_of_image>", "USER:", "\u2581what", "\u00a0", "e\u0301t\u00e9", "\r\n"),
]


@pytest.mark.parametrize("family", [name for name in tiny_models.FAMILIES if name != "paligemma"])
def test_tokens_taken_over_are_those_of_a_sample_encoded_whole(family, tiny_model, monkeypatch):
    model = tiny_model(family)
    encoder, images = model._encoder, [IMAGE]
    assert encoder.splices  # found to be right when the model was loaded
    asked = [ask(question, answer) for question, answer in itertools.product(TEXTS, ["red", " a\nb ", "é"])]
    turn = Turn("what is it?", "a cat", (0,))
    asked += [Sample("a", images, text, "red", (turn,), ()) for text in TEXTS]
    asked += [Sample("a", images, f"before {text}", "red", image_offsets=(7,)) for text in TEXTS]
    rendered = [encoder.chat.render(sample) for sample in asked]
    cuts = []
    original = EncodedPrefix.joined
    monkeypatch.setattr(EncodedPrefix, "joined", lambda *args: cuts.append(1) or original(*args))
    together, _ = encoder.group(rendered, images)
    assert len(cuts) > 0.7 * len(asked)
    for item, reused in zip(rendered, together, strict=True):
        [whole], _ = encoder.group([item], images)
        assert reused.ids.tolist() == whole.ids.tolist(), item.text
        assert reused.mask.tolist() == whole.mask.tolist(), item.text
        for name, kinds in whole.types.items():
            assert reused.types[name].tolist() == kinds.tolist()


def test_a_tokenizer_that_depends_on_what_stands_before_takes_nothing_over(tiny_folder, monkeypatch):
    original = EncodedPrefix.joined

    def otherwise(self, token, ids, offsets, tail):
        return original(self, token, [*ids[:-1], ids[-1] + 1], offsets, tail)

    monkeypatch.setattr(EncodedPrefix, "joined", otherwise)
    assert not load_model(str(tiny_folder("llava")), device="cpu")._encoder.splices
