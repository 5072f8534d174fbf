"""The lab's learners: rows of several questions against sequences of their own, training, and runs from end to end."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transfer import evidence, presets, report, run, stages
from transfer.learner import Training
from transfer.pretrained import language, projector, tower
from transfer.pretrained.drawing import Part
from transfer.transformers_learner import TransformersLearner

from dataprophet.demo.datasets import write_datasets
from dataprophet.model.load import DEMO_FOLDER


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with random weights and the demo's tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    folder, tokenizer = tmp_path_factory.mktemp("decoder"), AutoTokenizer.from_pretrained(DEMO_FOLDER)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_row_of_questions_is_the_same_as_a_sequence_each(decoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr(language, "SPLIT", 1)
    tokens, upper = language.Tokens(decoder), language.Upper(decoder).eval()
    lower = language.Lower(decoder, language.Projector(32).state_dict())
    questions = [("What color is it?", "red"), ("Where?", "top left corner"), ("How tall is the blue bar?", "7")]
    layout = tokens.layout(questions, image=False)
    batch = language.Batch.of([layout, tokens.layout(questions[:1], image=False)])
    (states, shorter) = lower.states(tokens, [layout, tokens.layout(questions[:1], image=False)], None)
    batch.states = torch.stack(
        [states, torch.nn.functional.pad(shorter, (0, 0, 0, len(states) - len(shorter)))]
    ).float()
    with torch.inference_mode():
        right, logprob = language.scored(*upper(batch))
    assert logprob[3] == pytest.approx(logprob[0], abs=0.02)  # bfloat16
    model = AutoModelForCausalLM.from_pretrained(decoder, dtype=torch.float32)
    for number, (question, answer) in enumerate(questions):
        prompt = tokens.head + tokens.encode(question) + tokens.reply
        ids = torch.tensor([prompt + tokens.encode(answer)])
        with torch.inference_mode():
            logits = model(ids).logits[0, len(prompt) - 1 : -1]
        wanted = ids[0, len(prompt) :]
        own = torch.log_softmax(logits, -1).gather(1, wanted[:, None]).mean()
        assert logprob[number] == pytest.approx(float(own), abs=0.15)
        assert right[number] in (float((logits.argmax(-1) == wanted).all()), 0.0)


def test_the_picture_stands_between_the_head_and_the_questions(decoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "SPLIT", 1)
    tokens, made = language.Tokens(decoder), language.Projector(32)
    lower = language.Lower(decoder, made.state_dict())
    layout, maps = tokens.layout([("a", "b")]), torch.randn(2, 16, tower.WIDTH)
    first, second = lower.states(tokens, [layout, layout], maps)
    start = len(tokens.head)
    assert torch.equal(first[:start], second[:start])
    assert not torch.equal(first[start], second[start])
    assert not torch.equal(first[-1], second[-1])


def test_the_tower_has_a_token_for_each_cell() -> None:
    network, pixels = tower.Tower().eval(), torch.zeros(2, 3, 128, 128)
    pixels[1, :, 96:, 96:] = 1
    with torch.inference_mode():
        found = network(pixels)
    assert found.shape == (2, tower.GRID**2, tower.WIDTH)
    differ = (found[0] - found[1]).abs()[:, : 40 * 16].sum(1)  # stride 8: a few pixels beyond the cell at most
    assert int(differ.argmax()) == 15
    assert differ[0] < 1e-3 * differ[15]


def test_a_cells_target_is_the_words_of_what_it_shows() -> None:
    words = {
        word: torch.nn.functional.one_hot(torch.tensor(place), 8).float()
        for place, word in enumerate(("top", "middle", "bottom", "left", "center", "right", "nothing", "red"))
    }
    found = projector.targets([Part((0, 0, 32, 32), ("red",))], words.__getitem__)
    assert found[0].tolist() == pytest.approx([0.5, 0, 0, 0.5, 0, 0, 0, 1], abs=1e-5)
    assert found[15].tolist() == [0, 0, 0.5, 0, 0, 0.5, 1, 0]


def _learner(tmp_path: Path, **changes) -> tuple[TransformersLearner, str]:
    written = write_datasets(tmp_path / "data", n_source=24, n_target=8)
    path = {each.spec.name: str(each.path) for each in written.sources}["signs"]
    opened = presets.partial(presets._opened, {"signs": path}, {"signs": path})
    return TransformersLearner("demo", opened, {"signs": path}, Training(1e-3, 2.0, 8), **changes), "signs"


@pytest.mark.parametrize("lora", [0, 4])
def test_training_is_of_what_is_scored_and_can_be_undone(lora: int, tmp_path: Path) -> None:
    learner, name = _learner(tmp_path, lora=lora, gradient=4)
    learner.reset()
    before = learner.evaluate(name, "test0")
    scored = np.array([float(each.mean()) for each in learner._model.logprobs(learner.samples(name, "test0"))])
    np.testing.assert_allclose(before.logprob, scored, atol=1e-5)
    losses = learner.train(name, 0)
    after = learner.evaluate(name, "test0")
    assert np.mean(after.logprob) > np.mean(before.logprob)
    assert len(losses) == 4
    assert learner.train(name, 0) == losses  # from the base again, to the last bit
    measured = learner.measure(name, "test0")
    np.testing.assert_allclose(-measured.nll, before.logprob, atol=1e-5)
    assert measured.blind_nll.mean() > measured.nll.mean()
    assert np.linalg.norm(measured.gradient) > 0
    (whole,), each = learner.gradients(name, "test0", 1), list(learner.gradients(name, "test0"))
    np.testing.assert_allclose(np.mean(each, 0), whole, atol=1e-4 * np.abs(whole).max())
    rows = [(name, "train", place) for place in (3, 5, 7, 11, 13, 17, 19, 23)]
    assert learner.train_rows(rows, 0) == learner.train_rows(rows, 0) != learner.train_rows(rows[:-1], 0)


def test_the_average_of_base_and_trained_weights_is_tested(tmp_path: Path) -> None:
    learner, name = _learner(tmp_path)
    learner.reset()
    base = {name: weight.detach().clone() for name, weight in learner._trained.items()}
    learner.train(name, 0)
    trained = {name: weight.detach().clone() for name, weight in learner._trained.items()}
    learner.training = replace(learner.training, average=0.25)
    learner.train(name, 0)
    for key, weight in learner._trained.items():
        torch.testing.assert_close(weight, 0.75 * base[key] + 0.25 * trained[key], rtol=0, atol=1e-6)
    assert any(not torch.equal(base[key], trained[key]) for key in base)


@pytest.mark.slow
def test_the_miniature_runs_resumes_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "results.json"
    words = ["run.py", "--preset", "miniature", "--smoke", "--processes", "1", "--out", str(out)]
    told = []
    for cache in ("one", "one", "two"):
        monkeypatch.setattr(sys, "argv", [*words, "--cache", str(tmp_path / cache)])
        assert run.main() == 0
        told.append(json.loads(out.read_text()))
    first, resumed, again = (each["bases"]["first"] for each in told)
    assert first == resumed  # with the time that training took
    assert {**first, "fine_tuning_cpu_s": 0} == {**again, "fine_tuning_cpu_s": 0}
    found = first["agreement"]["all"]["off the diagonal"]["right"]
    assert {"M as published", "gradient cosine (backward)", "multimodal gain"} <= found["predictors"].keys()
    gains = {what: np.array(each) for what, each in first["gains"].items()}
    assert gains["right"].shape == (2, 4, 4)
    np.testing.assert_allclose(gains["won"] + gains["kept"], gains["right"], atol=2e-5)
    assert gains["won"].min() >= 0 >= gains["kept"].max()
    assert min(np.abs(gains[what]).max() for what in ("won", "kept")) > 0
    assert "of the gains off the diagonal are losses" in evidence.forgetting(told[0], first)


@pytest.mark.slow
def test_a_custom_lab_from_files(tmp_path: Path) -> None:
    written = write_datasets(tmp_path / "data", n_source=16, n_target=8)
    paths = {each.spec.name: str(each.path) for each in (*written.sources[:2], *written.targets[:2])}
    sources, targets = list(paths)[:2], list(paths)[2:]
    arguments = presets.argparse.Namespace(
        model="demo",
        source=[f"{name}={paths[name]}" for name in sources],
        target=[f"{name}={paths[name]}" for name in targets],
        task=[f"{sources[0]}=count"],
        rate=1e-3,
        epochs=1.0,
        rows=8,
        lora=2,
        average=1.0,
        device="cpu",
        seeds=1,
    )
    lab = presets.custom(arguments)
    found = stages.run(lab, tmp_path / "cache")["base"]
    assert found.gains("logprob").shape == (1, 2, 2)
    assert np.abs(found.gains("logprob")).min() > 0
    told = report.told(lab, {"base": found})
    assert {"base all", "base gains", "setting"} == evidence.blocks(told).keys()  # no dataset is source and target
    assert replace(lab, seeds=(0, 1)).tasks == {sources[0]: "count", sources[1]: sources[1], **{t: t for t in targets}}
