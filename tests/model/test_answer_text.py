# ruff: noqa: E402 (torch and transformers are optional)
"""The tokens that are scored spell the answer, white space and control tokens included, or the row is refused."""

from __future__ import annotations

import datetime
import json
import shutil
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import text_tokenizers
from PIL import Image

from dataprophet import load_model
from dataprophet.data.sample import Sample, Turn
from dataprophet.model.load import DEMO_FOLDER
from dataprophet.model.processor import with_exact_offsets
from dataprophet.model.tokens import Spelling, tail_mask

PICTURE = Image.radial_gradient("L").resize((64, 48)).convert("RGB")
ANSWERS = [
    *("red", " red", "red ", "  two  words", "- a\n    - b\n        - c", "\n\nx", "猫", "😀 é", "e\u0301t\u00e9"),
    *("Red Square", "x\u00a0y", "\ufb01sh", "\t1", "(1, 2)", "don't .", "▁a", "a\n", " \n "),
]
# What each kind cannot spell: white space that is made another or dropped, and what is written for a space.
REFUSED = {
    "bytes, NFKC": {"x\u00a0y"},
    "bytes, stripped": {answer for answer in ANSWERS if answer != answer.strip()},
    "llama": {"▁a"},
    "metaspace": {"▁a"},
    "gemma": {"▁a"},
    "unigram": set(ANSWERS) - {"red", " red", "red ", "\ufb01sh"},
    "word pieces": set(ANSWERS) - {"red", " red", "Red Square", "e\u0301t\u00e9"},
}


@pytest.mark.parametrize("kind", text_tokenizers.KINDS)
@pytest.mark.parametrize("before", ["</s>", "x: ", "</s>a\n"])
def test_what_each_kind_of_tokenizer_spells(kind, before):
    backend = text_tokenizers.KINDS[kind]()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    with_exact_offsets(SimpleNamespace(tokenizer=tokenizer), "test")
    spelling, refused = Spelling(tokenizer), set()
    for answer in ANSWERS:
        encoded = tokenizer(before + answer, return_offsets_mapping=True, add_special_tokens=False)
        mask = tail_mask(np.array(encoded["offset_mapping"]).reshape(-1, 2), len(answer))
        ids = np.array(encoded["input_ids"])[mask].tolist()
        if not spelling.holds(ids, answer, before):
            refused.add(answer)
        elif kind in ("bytes", "bytes, trimmed"):  # where tokens are bytes, they are all there
            assert tokenizer.decode(ids, clean_up_tokenization_spaces=False).endswith(answer)
        first = tokenizer.decode(ids[:1], clean_up_tokenization_spaces=False).strip()
        for wrong in ([ids[1:]] if first else []) + [ids[:-1], [*ids, ids[-1]], [ids[0], *ids]]:
            if answer.strip() and not answer.startswith(" "):  # a token lost or added is found
                assert not spelling.holds(wrong, answer, before)
    expected = REFUSED.get(kind, set())
    assert refused == expected if before == "</s>" else refused <= expected


def test_the_unicode_form_of_a_tokenizer_is_no_fault_but_another_text_is():
    backend = text_tokenizers.KINDS["bytes, NFC"]()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend)
    spelling = Spelling(tokenizer)
    for text in ("e\u0301t\u00e9", unicodedata.normalize("NFD", "Ünïcödé")):
        assert spelling.holds(tokenizer(text)["input_ids"], text, "")
        assert not spelling.holds(tokenizer(f"{text}e")["input_ids"], text, "")


def edited(folder: Path, **changes: object) -> Path:
    """A copy of the demo's model whose tokenizer.json has other parts."""
    made = Path(shutil.copytree(DEMO_FOLDER, folder))
    document = json.loads((made / "tokenizer.json").read_text())
    for name, change in changes.items():
        document[name] = change(document[name]) if callable(change) else change
    (made / "tokenizer.json").write_text(json.dumps(document))
    return made


def ask(answer: str, question: str = "How many red squares are there?", **more: object) -> Sample:
    return Sample("1", [PICTURE], question, answer, **more)


def refusals(model, samples: list[Sample]) -> list[str]:
    """The codes of those that are left out."""
    problems = []
    list(model.features(samples, on_problem=problems.append))
    return [problem.code for problem in problems]


@pytest.fixture(scope="module")
def demo():
    return load_model("demo", device="cpu")


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
ROBERTA = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True}
CUTS = {
    "offsets without white space": {"post_processor": lambda old: {"type": "Sequence", "processors": [BYTES, old]}},
    "the same of RoBERTa": {"post_processor": {**ROBERTA, "add_prefix_space": False}},
    "a length": {"truncation": {"direction": "Right", "max_length": 12, "strategy": "LongestFirst", "stride": 0}},
    "a length from the left": {
        "truncation": {"direction": "Left", "max_length": 12, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            **{"strategy": {"Fixed": 64}, "direction": "Left", "pad_to_multiple_of": None},
            **{"pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"},
        },
    },
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_tokenizer_that_was_saved_with_cuts_scores_as_one_without(cut, demo, tmp_path):
    model = load_model(str(edited(tmp_path / "model", **CUTS[cut])), device="cpu", template=template_with_start())
    plain = load_model("demo", device="cpu", template=template_with_start())
    samples = [ask(answer) for answer in ANSWERS if answer.strip()]
    for sample, found, expected in zip(samples, model.logprobs(samples), plain.logprobs(samples), strict=True):
        assert len(found) == len(expected), sample.answer
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "answer", ["cafe\u0301", "e\u0302\u0301", unicodedata.normalize("NFD", "\ud55c"), "u\u0308 e\u0301"]
)
@pytest.mark.parametrize("before", ["", "\n"])
def test_an_answer_whose_end_the_tokenizer_composes_scores_its_own_tokens(answer, before, tmp_path):
    """No token holds the mark behind a letter that NFC makes one with it: the template's token is not one more."""
    folder = edited(tmp_path / "model", normalizer={"type": "NFC"})
    template = (DEMO_FOLDER / "chat_template.jinja").read_text().replace("<assistant>", f"<assistant>{before}")
    model = load_model(str(folder), device="cpu", template=template)
    composed = unicodedata.normalize("NFC", answer)
    found, expected = model.logprobs([ask(answer), ask(composed)])
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(composed, add_special_tokens=False)["input_ids"]
    assert len(found) == len(expected) == len(tokens)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    (features,) = model.features([ask(answer), ask(composed)])
    np.testing.assert_allclose(*np.asarray(features.embeddings["answer"]), atol=1e-5)


def template_with_start() -> str:
    """The demo's template behind a start token of its own, so that no post-processor writes another."""
    return "<s>" + (DEMO_FOLDER / "chat_template.jinja").read_text()


def with_white_space_swallowed(side: str):
    def change(tokens: list[dict]) -> list[dict]:
        return [{**token, side: True} if token["content"] == "<assistant>" else token for token in tokens]

    return change


def test_white_space_that_a_control_token_swallows_is_not_lost_silently(demo, tmp_path):
    folder = edited(tmp_path / "model", added_tokens=with_white_space_swallowed("rstrip"))
    model = load_model(str(folder), device="cpu")
    assert refusals(model, [ask("three"), ask(" three"), ask("\n- a"), ask("a ")]) == ["text_mismatch"] * 2
    for answer in ("three", "a "):
        np.testing.assert_allclose(model.logprobs([ask(answer)])[0], demo.logprobs([ask(answer)])[0], atol=1e-5)


def test_an_answer_of_letters_that_the_tokenizer_does_not_know_is_refused(demo, tmp_path):
    def forget(model: dict) -> dict:
        kept = {piece: number for piece, number in model["vocab"].items() if piece != "q"}
        merges = [pair for pair in model["merges"] if "q" not in "".join(pair)]
        return {**model, "vocab": {p: n for p, n in kept.items() if "q" not in p}, "merges": merges}

    model = load_model(str(edited(tmp_path / "model", model=forget)), device="cpu")
    assert refusals(model, [ask("three"), ask("squares"), ask("circles")]) == ["text_mismatch"]


def boxed(folder: Path, **more: object) -> Path:
    """The demo's model with grounding tokens, as InternVL and Qwen-VL have them."""
    shutil.copytree(DEMO_FOLDER, folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = ["<ref>", "</ref>", "<box>", "</box>", "<|quad|>"]
    tokenizer.add_tokens([transformers.AddedToken(token, special=True, **more) for token in tokens])
    network = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network.resize_token_embeddings(len(tokenizer))
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def trained(model, prompt: str, answer: str) -> np.ndarray:
    """Log-probabilities of an answer's tokens as training computes them: the text as it stands, full logits."""
    processor, network = model._encoder.processor, model._adapter.model
    whole = processor(text=[prompt + answer], images=[[PICTURE]], return_tensors="pt")
    count = processor(text=[prompt], images=[[PICTURE]], return_tensors="pt")["input_ids"].shape[1]
    ids = whole["input_ids"]
    with torch.no_grad():
        logprobs = network(**whole).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])
    return logprobs[count - 1 :, 0].numpy()


def test_grounding_tokens_of_answers_are_those_of_training(tmp_path):
    model = load_model(str(boxed(tmp_path / "model")), device="cpu")
    answers = ["<box>[[12, 30, 44, 61]]</box>", "the <ref>left one</ref><box>[[1, 2]]</box>.", "<|quad|>", "a <box> b"]
    for answer in answers:
        expected = trained(model, "<user><image>Where?<assistant>", answer)
        np.testing.assert_allclose(model.logprobs([ask(answer, "Where?")])[0], expected, atol=1e-5)
        turn = Turn("Where?", answer, (0,))  # as context, too
        [found] = model.logprobs([Sample("1", [PICTURE], "Sure?", "yes", (turn,), ())])
        expected = trained(model, f"<user><image>Where?<assistant>{answer}</s><user>Sure?<assistant>", "yes")
        np.testing.assert_allclose(found, expected, atol=1e-5)
    # in questions they are broken by a space, as before
    prompt = model._encoder.chat.render(ask("yes", "<ref>that</ref>?")).prompt
    assert prompt == "<user><image>< ref>that< /ref>?<assistant>"
    assert (
        refusals(model, [ask("<box></s>"), ask("<image>"), ask("<user>hello"), ask("<box>")]) == ["text_mismatch"] * 3
    )


def test_the_terminator_is_scored_behind_a_grounding_token(tmp_path):
    model = load_model(str(boxed(tmp_path / "model")), device="cpu", score_terminator=True)
    expected = trained(model, "<user><image>Where?<assistant>", "<box>[[1]]</box></s>")
    np.testing.assert_allclose(model.logprobs([ask("<box>[[1]]</box>", "Where?")])[0], expected, atol=1e-5)


STRINGS = (
    "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
)
# parts of the user, but an assistant that is text (PaddleOCR)
MIXED = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<assistant>' + m['content'] + '</s>' }}{% else %}"
    "<user>{% for c in m['content'] %}{{ '<image>' if c['type'] == 'image' else c['text'] }}{% endfor %}"
    "{% endif %}{% endfor %}"
)
PRINTED = STRINGS.replace("' + m['role'] + '>' + m['content'] }}", "' ~ m['role'] ~ '>' ~ m['content'] }}")


@pytest.mark.parametrize("template", [STRINGS, MIXED, PRINTED], ids=["strings", "mixed", "printed"])
def test_templates_of_strings_get_strings(template, demo):
    model = load_model("demo", device="cpu", template=template)
    turns = (Turn("What is it?", 'It\'s\n"red".', (0,)),)
    samples = [ask("three"), Sample("2", [PICTURE], "Sure?", "yes", turns, ()), Sample("3", [], "Why?", "so")]
    samples.append(Sample("4", [PICTURE] * 2, "left or right?", "left", (), (4, 8)))
    for sample, found, expected in zip(samples, model.logprobs(samples), demo.logprobs(samples), strict=True):
        assert model._encoder.chat.render(sample) == demo._encoder.chat.render(sample)
        np.testing.assert_allclose(found, expected, atol=1e-5)


CLOCK = "{% set today = strftime_now('%Y-%m-%d') %}{{ 'Today: ' + today + strftime_now(' %-d %B %y, %A %H:%M %%') }}\n"


def test_a_template_that_asks_for_the_time_is_told_the_same_one_every_day(monkeypatch):
    from transformers.utils import chat_template_utils

    template = CLOCK + (DEMO_FOLDER / "chat_template.jinja").read_text()
    model = load_model("demo", device="cpu", template=template)
    prompt = model._encoder.chat.render(ask("three")).prompt
    assert prompt.startswith("Today: 2024-07-26 26 July 24, Friday 12:00 %\n<user>")
    assert model.settings["clock"] == "2024-07-26 12:00:00"

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 1, 2, 3, 4, 5)

    monkeypatch.setattr(chat_template_utils, "datetime", Later)
    later = load_model("demo", device="cpu", template=template)
    assert later._encoder.chat.render(ask("three")).prompt == prompt
    assert later.settings == model.settings
    assert "clock" not in load_model("demo", device="cpu", check=False).settings


def test_the_settings_tell_what_templates_render_not_only_how_they_are_written(tmp_path):
    folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "model"))
    template = "{{ bos_token }}" + (folder / "chat_template.jinja").read_text()
    plain = load_model(str(folder), device="cpu", check=False, template=template)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"bos_token": "<pad>"}))
    other = load_model(str(folder), device="cpu", check=False, template=template)
    assert plain.settings["template"] != other.settings["template"]


def test_a_template_that_changes_answers_gives_refused_rows_and_one_that_trims_does_not():
    template = (
        (DEMO_FOLDER / "chat_template.jinja").read_text().replace("{{ part['text'] }}", "{{ part['text'] | CHANGE }}")
    )
    model = load_model("demo", device="cpu", template=template.replace("CHANGE", "replace('zz', 'z')"))
    assert refusals(model, [ask("fuzzy"), ask("three"), ask(" zz")]) == ["text_mismatch"] * 2
    trimming = load_model("demo", device="cpu", template=template.replace("CHANGE", "trim"))
    assert refusals(trimming, [ask(" three\n")]) == []


def test_half_of_a_surrogate_pair_is_refused(demo):
    problems = [ask("\ud83d"), ask("three", "\ud83d"), ask("three")]
    assert refusals(demo, problems) == ["bad_encoding"] * 2
