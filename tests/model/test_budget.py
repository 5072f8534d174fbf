"""The budget of memory: what is too large for it is refused by name, and nothing else depends on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from sample_files import png

from dataprophet import load_model
from dataprophet.data.images.sources import BytesImage, LazyImages
from dataprophet.data.sample import Sample, Turn
from dataprophet.errors import ModelError
from dataprophet.model.memory import LEAST, USUAL, Budget
from dataprophet.model.prefetch import Room

SIDE = 40
PICTURES = [BytesImage(png((shade, 90, 30), (SIDE, SIDE))) for shade in range(8)]


def sample(name: str, *pictures: int, question: str = "what?") -> Sample:
    return Sample(name, LazyImages(tuple(PICTURES[number] for number in pictures)), question, "red")


def run(model: Any, samples: list[Sample]) -> tuple[list[str], dict[str, str], np.ndarray[Any, Any]]:
    problems: list[Any] = []
    parts = list(model.features(samples, on_problem=problems.append))
    names, nll = [name for part in parts for name in part.ids], np.concatenate([part.nll for part in parts])
    return names, {problem.id: problem.code for problem in problems}, nll


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sample_with_too_many_pixels_is_refused_alone(
    tiny_model: Any, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("internvl", workers=workers)
    samples = [sample("a", 0), sample("large", 0, 1, 2), sample("b", 1), sample("c", 2), sample("twice", 3, 3, 3, 3)]
    usual = run(model, [samples[0], *samples[2:]])
    budget = Budget(8 * 2 * SIDE * SIDE)  # two pictures
    assert budget.sample_pixels == 2 * SIDE * SIDE
    monkeypatch.setattr(model._batcher, "budget", budget)
    names, refused, nll = run(model, samples)
    assert refused == {"large": "out_of_memory"}
    assert names == usual[0] == ["a", "b", "c", "twice"]
    assert nll.tolist() == usual[2].tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_numbers_do_not_depend_on_the_budget(tiny_model: Any, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("internvl", workers=workers)
    monkeypatch.setattr("dataprophet.model.reader.WINDOW_PIXELS", 5 * SIDE * SIDE)
    samples = [sample(str(number), number % 8, number * 3 % 8) for number in range(40)]
    usual = run(model, samples)
    monkeypatch.setattr(model._batcher, "budget", Budget(8 * 2 * SIDE * SIDE))  # no picture is kept, or decoded ahead
    assert run(model, samples)[2].tolist() == usual[2].tolist()


def test_a_text_that_is_too_long_is_not_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("demo", device="cpu")
    seen, plain = [], model._encoder.text_ids
    monkeypatch.setattr(model._encoder, "text_ids", lambda texts: seen.extend(map(len, texts)) or plain(texts))
    texts = {"long": "word " * 2_000_000, "half": "\udfff" * 10_000, "plain": "what?"}
    names, refused, _ = run(model, [sample(name, 0, question=text) for name, text in texts.items()])
    assert names == ["plain"]
    assert refused == {"long": "too_long", "half": "bad_encoding"}
    assert sum(seen) < 200_000


def test_a_conversation_of_very_many_turns_is_not_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("demo", device="cpu")
    seen, plain = [], model._encoder.text_ids
    monkeypatch.setattr(model._encoder, "text_ids", lambda texts: seen.extend(texts) or plain(texts))
    turns = (Turn("what?", "a rather reddish colour"),) * model._batcher.max_tokens
    long = Sample("long", [], "what?", "red", context=turns)
    assert run(model, [sample("plain", 0), long])[:2] == (["plain"], {"long": "too_long"})
    assert len(seen) < 10


def test_a_text_beyond_the_budget_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("demo", device="cpu")
    monkeypatch.setattr(model._batcher, "max_tokens", 1 << 30)
    monkeypatch.setattr(model._batcher, "budget", Budget(1 << 20))
    names, refused, _ = run(model, [sample("a", question="word " * 1000), sample("b", question="what?")])
    assert (names, refused) == (["b"], {"a": "out_of_memory"})


def test_room_is_bounded_and_given_back() -> None:
    room = Room(10)
    assert [room.take(1, 3), room.take(1, 2), room.scarce, room.take(2, 6), room.take(3, 5)] == [True] * 2 + [
        False,
        False,
        True,
    ]
    assert room.scarce
    room.leave(1)
    assert [room.scarce, room.take(2, 6), room.take(4, 5)] == [False, False, True]


@pytest.mark.parametrize(("given", "size"), [("4G", USUAL), ("1.5 GiB", 3 << 29), (LEAST, LEAST), ("2048m", 2 << 30)])
def test_sizes(given: Any, size: int) -> None:
    assert Budget.of(given).memory == size


@pytest.mark.parametrize("given", ["", "4", "many", "-4G", "0.5G", "4X", None])
def test_what_is_no_size_is_refused(given: Any) -> None:
    with pytest.raises(ModelError, match=r"memory is .*give 1G or more"):
        Budget.of(given)
