"""The demo's scenes, questions and files: right answers, readable by open_dataset, the same bytes for a seed."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest

from dataprophet.data import open_dataset
from dataprophet.demo.datasets import SOURCES, TARGETS, make_items, write_datasets
from dataprophet.demo.questions import NUMBERS, PHRASINGS, TASKS, ask, describe, options_of, tasks_of
from dataprophet.demo.scenes import COLOURS, GLYPHS, KINDS, SIZE, STYLES, Scene, Thing, draw, make_scene
from dataprophet.errors import DataProphetError

ALL = SOURCES + TARGETS


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_datasets(tmp_path_factory.mktemp("demo") / "data", seed=3, n_source=60, n_target=30)


def digest(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_nine_sources_and_four_targets_in_many_formats(written):
    assert [len(SOURCES), len(TARGETS)] == [9, 4]
    assert len({spec.name for spec in ALL}) == 13
    opened = [open_dataset(entry.path) for entry in written.sources + written.targets]
    assert len({dataset.format for dataset in opened}) >= 7
    assert {dataset.name for dataset in opened} == {spec.name for spec in ALL}


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_every_dataset_is_read_back_whole(written, spec):
    entry = next(entry for entry in written.sources + written.targets if entry.spec is spec)
    dataset = open_dataset(entry.path)
    samples = list(dataset)
    assert dataset.problems.summary() == ""
    assert entry.samples == len(samples) == (60 if spec in SOURCES else 30)
    items = make_items(spec, 3, entry.samples)
    assert len(items) == entry.rows
    expected = [(item, index) for item in items for index in range(len(item.questions))]
    for sample, (item, index) in zip(samples, expected, strict=True):
        question = item.questions[index]
        assert sample.question.startswith(question.question)
        assert sample.answer == question.answer
        assert len(sample.context) == index
        assert len(sample.images) == len(item.scenes)
        for image, scene in zip(sample.images, item.scenes, strict=True):
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.asarray(draw(scene)))


def test_options_hold_the_answer_and_are_appended_by_the_reader(written):
    entry = next(entry for entry in written.targets if entry.spec.options)
    places = set()
    for sample in open_dataset(entry.path):
        lines = sample.question.split("\n")
        assert [line[:3] for line in lines[1:]] == ["A. ", "B. ", "C. ", "D. "]
        places.add([line[3:] for line in lines[1:]].index(sample.answer))
    assert len(places) == 4


def test_variety_has_rows_without_a_picture_and_with_two_and_several_turns():
    spec = next(spec for spec in SOURCES if spec.variety)
    items = make_items(spec, 0, 300)
    assert {len(item.scenes) for item in items} == {0, 1, 2}
    assert {len(item.questions) for item in items} == {1, 2, 3}
    for item in items:
        if len(item.scenes) == 2:
            words = item.questions[0].question.removesuffix(".").split()[-2:]
            assert item.questions[0].bare == ("yes" if any(named(scene, words) for scene in item.scenes) else "no")


def test_styles_take_turns_and_one_row_in_so_many_has_other_answers():
    charts = next(spec for spec in SOURCES if len(spec.styles) > 1)
    assert [item.scenes[0].style for item in make_items(charts, 0, 6)] == [*charts.styles, *charts.styles]
    spec = next(spec for spec in SOURCES if spec.wrong)
    items = make_items(spec, 0, 2 * spec.wrong + 1)
    wrong = [item.questions[0].bare != describe(item.scenes[0]) for item in items]
    assert [place for place, each in enumerate(wrong) if each] == [0, spec.wrong, 2 * spec.wrong]


def test_same_seed_same_bytes_and_another_seed_others(tmp_path):
    first = digest(write_datasets(tmp_path / "a", seed=1, n_source=12, n_target=6).folder)
    second = digest(write_datasets(tmp_path / "b", seed=1, n_source=12, n_target=6).folder)
    other = digest(write_datasets(tmp_path / "c", seed=2, n_source=12, n_target=6).folder)
    assert first == second
    for spec in ALL:
        files = [name for name in first if name.startswith(f"{spec.name}/") and not name.endswith("dataset_info.json")]
        assert any(first[name] != other.get(name) for name in files)


def test_more_samples_only_append_rows():
    for spec in ALL:
        few, many = make_items(spec, 0, 20), make_items(spec, 0, 40)
        assert many[: len(few) - 1] == few[:-1]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    keep = tmp_path / "data" / "mine.txt"
    keep.parent.mkdir()
    keep.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(DataProphetError):
            write_datasets(keep.parent, n_source=2, n_target=2, overwrite=overwrite)
    assert keep.read_text() == "mine"
    ours = tmp_path / "ours"
    write_datasets(ours, seed=1, n_source=2, n_target=2)
    before = digest(ours)
    write_datasets(ours, seed=2, n_source=2, n_target=2, overwrite=True)
    assert digest(ours) != before


# Right answers, computed anew from the words of the plain question and the description of the scene.


def named(scene, words):
    """Things that match every colour, shape and place among the words."""
    properties = [word for word in words if word in COLOURS or word in {"circle", "square", "triangle", "cross"}]
    return [t for t in scene.things if all(word in (t.colour, t.shape) for word in properties)]


def right_answer(task, question, scene):
    words = question.rstrip("?").split()
    if task == "count":
        return NUMBERS[sum(1 for _ in scene.things)]
    if task in ("colour", "shape"):
        if "at" in words:
            (thing,) = (t for t in scene.things if question.endswith(f"at the {t.where}?"))
        else:
            (thing,) = named(scene, words)
        return thing.colour if task == "colour" else thing.shape
    if task == "position":
        (thing,) = named(scene, words)
        return ("top ", "bottom ")[thing.row] + ("left", "right")[thing.column]
    if task == "relation":
        (first,), (second,) = named(scene, words[2:4]), named(scene, words[-2:])
        holds = {
            "above": first.row < second.row,
            "below": first.row > second.row,
            "left": first.column < second.column,
            "right": first.column > second.column,
        }
        return "yes" if holds[words[4]] else "no"
    if task == "exist":
        return "yes" if named(scene, words) else "no"
    if task == "read":
        return {"say": scene.text, "first": scene.text[0], "last": scene.text[-1]}[
            "say" if "say" in words else words[3]
        ]
    bars = dict(scene.bars)
    if task == "height":
        return NUMBERS[bars[words[4]]]
    return max((words[4], words[6]), key=bars.__getitem__)


@pytest.mark.parametrize("task", [task for task, kind in TASKS.items() if kind in KINDS])
def test_answers_follow_from_the_scene(task):
    rng = random.Random(task)
    answers = set()
    asked = 0
    while asked < 300:
        scene = make_scene(rng, TASKS[task], rng.choice(STYLES))
        found = ask(rng, scene, task, "plain")
        if found is None:
            continue
        asked += 1
        assert found.task == task
        assert found.answer == found.bare == right_answer(task, found.question, scene)
        answers.add(found.answer)
    assert len(answers) >= {"relation": 2, "exist": 2}.get(task, 4)


def test_yes_and_no_are_balanced():
    for task in ("relation", "exist"):
        rng = random.Random(0)
        found = [ask(rng, make_scene(rng, "shapes", "plain"), task, "terse") for _ in range(2000)]
        answers = [question.bare for question in found if question]
        assert 0.45 < answers.count("yes") / len(answers) < 0.55


def test_descriptions_name_everything():
    shapes = Scene("shapes", "plain", 0, things=(Thing(0, 1, "red", "cross"), Thing(1, 0, "blue", "circle")))
    sign = Scene("sign", "dark", 0, text="A7", ink="green")
    bars = Scene("bars", "noise", 0, bars=(("red", 5), ("purple", 1)))
    found = [ask(random.Random(0), scene, "describe", "plain").answer for scene in (shapes, sign, bars)]
    assert found == ["top right red cross, bottom left blue circle", "green text A7", "red bar five, purple bar one"]


def test_words_need_no_picture():
    rng = random.Random(0)
    for _ in range(200):
        found = ask(rng, None, "words", "plain")
        words = found.question.rstrip("?").split()
        if "plus" in words:
            assert NUMBERS.index(found.answer) == NUMBERS.index(words[2]) + NUMBERS.index(words[4])
        else:
            assert found.answer != words[-1]
    with pytest.raises(ValueError, match="needs a scene"):
        ask(rng, None, "count", "plain")


def test_phrasings_differ_and_keep_the_bare_answer():
    for kind in KINDS:
        scene = make_scene(random.Random(1), kind, "plain")
        for task in tasks_of(kind):
            found = [ask(random.Random(5), scene, task, phrasing) for phrasing in PHRASINGS]
            if found[0] is not None:
                assert len({question.question for question in found}) == 3
                assert len({question.bare for question in found}) == 1
                assert all(question.bare in question.answer for question in found)


def test_options_are_four_with_the_right_one():
    rng = random.Random(0)
    for task, bare in [
        ("count", "two"),
        ("colour", "red"),
        ("shape", "cross"),
        ("position", "top left"),
        ("height", "one"),
    ]:
        options = options_of(rng, task, bare)
        assert len(set(options)) == 4
        assert bare in options
    assert options_of(rng, "read", "A7") == []


def test_pictures_are_a_function_of_the_scene():
    rng = random.Random(0)
    for kind in KINDS:
        for style in STYLES:
            scene = make_scene(rng, kind, style)
            assert draw(scene).size == (SIZE, SIZE)
            assert draw(scene).tobytes() == draw(scene).tobytes()
    pictures = {draw(Scene("sign", "plain", 7, text=text * 2, ink="red")).tobytes() for text in GLYPHS}
    assert len(pictures) == len(GLYPHS)


@pytest.mark.parametrize(("kind", "style"), [("photo", "plain"), ("shapes", "photo")])
def test_unknown_kinds_and_styles_are_refused(kind, style):
    with pytest.raises(ValueError, match="photo"):
        draw(make_scene(random.Random(0), kind, style))
