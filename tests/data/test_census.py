"""Marks of image files: which bytes count, how they add up, and those that earlier versions left."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sample_files import png

import dataprophet as dp
from dataprophet.data.identity.census import RULE, Census, added, as_text, rule_of
from dataprophet.data.identity.compare import identity_of
from dataprophet.data.sample import Conversation
from dataprophet.data.validate import validate
from dataprophet.errors import DataError

Mark = Callable[[bytes, str], str]
KIB = 1 << 10


@pytest.fixture
def mark(tmp_path: Path) -> Mark:
    """The mark of a dataset of one image with these bytes, by a rule."""
    (tmp_path / "x.jsonl").write_text('{"image": "a.png", "question": "q", "answer": "a"}\n')

    def of(data: bytes, rule: str = RULE) -> str:
        (tmp_path / "a.png").write_bytes(data)
        census = Census(rule=rule)
        for row in census.watching(dp.open_dataset(tmp_path / "x.jsonl")).rows():
            assert isinstance(row, Conversation)
        return as_text(census.images, census.rule)

    return of


@pytest.mark.parametrize(
    ("size", "place", "counts"),
    [
        (100 * KIB, -1, True),
        (1024 * KIB, 300 * KIB, True),
        (4096 * KIB, 0, True),
        (4096 * KIB, 2048 * KIB, True),
        (4096 * KIB, -1, True),
        (4096 * KIB, 1024 * KIB, False),  # between head and middle
    ],
)
def test_the_bytes_that_count(size: int, place: int, counts: bool, mark: Mark) -> None:
    data = bytearray(png((1, 2, 3), (8, 8)) + os.urandom(size))[:size]
    before, old = mark(bytes(data)), mark(bytes(data), "")
    data[place] ^= 1
    assert (mark(bytes(data)) != before) == counts
    assert (mark(bytes(data), "") != old) == (place == 0)
    assert mark(bytes(data[:-1])) != before
    assert (rule_of(before), rule_of(old)) == (RULE, "")


def test_marks_of_one_rule_add_up() -> None:
    assert added(["w" + "f" * 16, "w" + "0" * 15 + "3"]) == "w" + "0" * 15 + "2"
    assert added(["f" * 16, "0" * 15 + "3"]) == "0" * 15 + "2"
    assert added(["f" * 16, "w" + "f" * 16]) == added(["w" + "f" * 16, ""]) == added([]) == ""


@pytest.mark.parametrize("rule", ["", RULE])
def test_an_earlier_mark_is_compared_by_its_own_rule(rule: str, mark: Mark, tmp_path: Path) -> None:
    def read(rule: str) -> tuple[Census, dp.Dataset]:
        census, dataset = Census(rule=rule), dp.open_dataset(tmp_path / "x.jsonl")
        assert len(list(census.watching(dataset).rows())) == 1
        return census, dataset

    mark(png((1, 2, 3), (8, 8)), rule)
    census, dataset = read(rule)
    (known,) = identity_of(dataset, census)
    assert rule_of(known.images) == rule
    known.require_rows(read(rule_of(known.images))[0], dataset, "x")
    mark(png((9, 9, 9), (8, 8)), rule)
    with pytest.raises(DataError, match="its images are not those that it was profiled with"):
        known.require_rows(read(rule_of(known.images))[0], dataset, "x")


def test_turns_are_those_that_are_scored_and_a_profile_that_counted_all_is_still_of_its_data(tmp_path: Path) -> None:
    user, answer = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    messages = [user, {**answer, "loss": False}, user, answer]
    (tmp_path / "x.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    dataset, census = dp.open_dataset(tmp_path / "x.jsonl"), Census()
    assert len(list(census.watching(dataset).rows())) == 1
    assert census.tally.turns == 1 == validate(dataset).held.turns
    (known,) = identity_of(dataset, census)
    earlier = replace(known, counts={**known.counts, "turns": 2})
    earlier.require_rows(census, dataset, "x")
    with pytest.raises(DataError, match="was profiled on 1 of 2 rows with 0 images"):
        replace(known, counts={**known.counts, "rows": 2}).require_rows(census, dataset, "x")
