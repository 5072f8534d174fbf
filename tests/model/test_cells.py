"""`Model.cells`: what comes of a cell depends on that cell alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image

from dataprophet import Sample
from dataprophet.features.features import FIELDS

FAMILY = "internvl"


def sample(number, images=1):
    rng = np.random.default_rng(number)
    pictures = [Image.fromarray(rng.integers(0, 255, (20, 24, 3), np.uint8)) for _ in range(images)]
    return Sample(f"s{number}", pictures, f"What is number {number % 5}?", "it is " + "so " * (number % 4 + 1))


def cells(sizes):
    numbers = iter(range(sum(sizes)))
    return [[sample(next(numbers)) for _ in range(size)] for size in sizes]


def same(a, b):
    assert a.features.ids == b.features.ids
    assert a.places.tolist() == b.places.tolist()
    assert a.problems == b.problems
    assert np.array_equal(a.features.nll, b.features.nll)
    assert np.array_equal(a.features.n_tokens, b.features.n_tokens)
    for name in FIELDS:
        assert np.array_equal(a.features.embeddings[name], b.features.embeddings[name])
        assert np.array_equal(a.features.present[name], b.features.present[name])


@pytest.fixture(params=[3, 1000], ids=["several windows a cell", "a window a cell"])
def windows(request, monkeypatch):
    monkeypatch.setattr("dataprophet.model.reader.WINDOW_SAMPLES", request.param)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cell_gives_the_same_bits_alone_and_among_others(tiny_model, windows, workers):
    alone, stream = tiny_model(FAMILY), tiny_model(FAMILY, workers=workers)
    given = cells([7, 0, 1, 6, 3])
    found = list(stream.cells(given))
    assert [len(part.features.ids) for part in found] == [7, 0, 1, 6, 3]
    for cell, part in zip(given, found, strict=True):
        (single,) = alone.cells([cell])
        same(single, part)
    for part, later in zip(found[2:], stream.cells(given[2:]), strict=True):
        same(part, later)


def test_what_is_refused_keeps_its_place(tiny_model, windows):
    given = cells([4, 5])
    given[0][1] = Sample("empty", [], "Q?", " ")
    given[1][0] = Sample("no answer", [], "Q?", "")
    given[1][3] = Sample("counts", [], "Q?", "A", image_offsets=(0,))
    first, second = tiny_model(FAMILY).cells(given)
    assert first.places.tolist() == [0, 2, 3]
    assert [(place, problem.code) for place, problem in first.problems] == [(1, "empty_answer")]
    assert second.places.tolist() == [1, 2, 4]
    assert [(place, problem.code) for place, problem in second.problems] == [(0, "empty_answer"), (3, "image_count")]


def test_one_cell_is_what_features_gives(tiny_model, windows):
    (cell,) = cells([8])
    (found,) = tiny_model(FAMILY).cells([cell])
    parts = list(tiny_model(FAMILY).features(cell))
    assert np.array_equal(np.concatenate([part.nll for part in parts]), found.features.nll)


def test_cells_are_read_ahead_while_the_gate_is_closed(tiny_model):
    read = threading.Event()

    def given():
        yield [sample(0)]
        read.set()
        yield [sample(1)]

    gate = threading.Lock()
    model = tiny_model(FAMILY, workers=1)
    with gate:
        thread = threading.Thread(target=lambda: list(model.cells(given(), gate=gate)))
        thread.start()
        assert read.wait(30)
        assert thread.is_alive()
    thread.join(30)
    assert not thread.is_alive()
    assert not gate.locked()
