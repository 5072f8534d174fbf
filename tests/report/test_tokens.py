"""The probability of each token of an answer: the model's own, with the text that the token stands for."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("altair")

from PIL import Image
from report_folders import write_run

from dataprophet import Sample, load_model
from dataprophet.report.build import build
from dataprophet.report.inputs import read_inputs
from dataprophet.report.palette import STEPS
from dataprophet.report.samples import Gallery

ANSWERS = ("two", "I see green bar three, purple bar five.", "zwei ß 漢字 é 🙂")


@pytest.fixture(scope="module")
def model():
    return load_model("demo", device="cpu", dtype="float32")


def sample(answer):
    return Sample("a", [Image.new("RGB", (40, 40), (200, 30, 30))], "How many shapes are there?", answer)


@pytest.mark.parametrize("answer", ANSWERS)
def test_tokens_spell_the_answer_and_have_the_models_probabilities(model, answer):
    tokens = model.token_logprobs(sample(answer))
    assert "".join(text for text, _ in tokens).strip() == answer
    assert [log for _, log in tokens] == model.logprobs([sample(answer)])[0].tolist()


@pytest.mark.parametrize("family", ["qwen2_vl", "paligemma"])
def test_tokens_of_other_tokenizers_spell_the_answer(tiny_model, family):
    tokens = tiny_model(family).token_logprobs(sample("red or blue"))
    assert "".join(text for text, _ in tokens).strip() == "red or blue"


def test_cards_are_coloured_by_the_probability(model):
    gallery = Gallery(model)
    cards = [gallery.card(sample(answer), "") for answer in (*ANSWERS, "x" * 700)]
    gallery.colour(cards)
    assert not cards[-1].tokens  # of a shortened answer only a part would be shown
    assert all(card.thumbnail.startswith("data:image/webp;base64,") for card in cards)
    for card in cards[:-1]:
        assert "".join(text for text, *_ in card.tokens).strip() == card.answer
        assert all(0 <= step < STEPS for _, step, _ in card.tokens)
    steps = [step for _, step, told in sorted((token for card in cards for token in card.tokens), key=_likely)]
    assert steps == sorted(steps)
    assert len(set(steps)) > 2


def test_another_model_than_that_of_the_profiles_is_told(model, tmp_path):
    made = build(read_inputs(write_run(tmp_path / "run")), model)
    assert made.warnings[-1] == "tokens are coloured by demo, which is not the model of the profiles"
    assert any(card.tokens for item in made.values["diversity"]["items"] for card in item["cards"])


def _likely(token):
    return -float(token[2]), token[1]
