"""The demo's data: nine source datasets and four target benchmarks, each a real file in a format found in the wild.

Task, style and phrasing vary independently, so that two datasets can share one and differ in the others. Eight sources
are drawn and asked so that the demo's model finds them about equally hard (perplexities within 15%): similarity decides
their order. The ninth is of the kind of captions, with wrong answers: its perplexity is that of noise.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dataprophet.demo.questions import TASKS, Question, ask, options_of
from dataprophet.demo.scenes import KINDS, Scene, make_scene
from dataprophet.demo.writers import Item, write_items
from dataprophet.files import MANIFEST, atomic_folder


@dataclass(frozen=True, slots=True)
class Spec:
    """What one dataset holds and how it is stored.

    Attributes:
        name: unique among sources and targets.
        tasks: tasks drawn from, each as often as the others.
        styles: of its pictures, row by row in turn.
        phrasing: wording of its questions and answers.
        format: a key of ``_WRITERS`` in `dataprophet.demo.writers`.
        path: what `open_dataset` is given, relative to the folder of all datasets.
        turns: most questions about one picture.
        options: whether each question that has a closed set of answers comes with four options.
        variety: whether some rows have no picture, and some have two.
        wrong: of so many rows the first has the answers of other pictures; 0 where all answers are right.
    """

    name: str
    tasks: tuple[str, ...]
    styles: tuple[str, ...]
    phrasing: str
    format: str
    path: str
    turns: int = 1
    options: bool = False
    variety: bool = False
    wrong: int = 0


_MIXED = ("count", "colour", "shape", "position", "exist", "height", "read")

SOURCES = (
    Spec("counting", ("count", "exist"), ("plain",), "plain", "llava", "counting/counting.json", turns=2),
    Spec("colours", ("colour",), ("dark",), "chatty", "llamafactory", "colours", turns=3),
    Spec("places", ("position",), ("noise",), "plain", "swift", "places/places.jsonl", turns=2),
    Spec("signs", ("read",), ("noise",), "chatty", "finevision", "signs/signs.parquet", turns=3),
    Spec("charts", ("height", "compare"), ("plain", "plain", "sketch"), "plain", "vqa", "charts/charts.parquet"),
    Spec("outlines", ("colour", "exist"), ("sketch",), "chatty", "webdataset", "outlines/outlines.tar"),
    Spec("captions", ("describe",), ("noise",), "chatty", "llava", "captions/captions.json"),
    Spec("chats", _MIXED, ("stripes",), "chatty", "swift", "chats/chats.jsonl", turns=3, variety=True),
    Spec("mislabelled", ("describe",), ("noise",), "chatty", "llava", "mislabelled/mislabelled.json", wrong=12),
)

TARGETS = (
    Spec("count-bench", ("count",), ("noise",), "plain", "vqa", "count-bench/count-bench.parquet"),
    Spec("sign-bench", ("read",), ("dark",), "terse", "vqa-answers", "sign-bench/sign-bench.parquet"),
    Spec("chart-bench", ("height", "compare"), ("dark",), "plain", "vlmeval", "chart-bench/chart-bench.tsv"),
    Spec("scene-bench", ("position",), ("plain",), "plain", "vlmeval", "scene-bench/scene-bench.tsv", options=True),
)


@dataclass(frozen=True, slots=True)
class Written:
    """One dataset as written: its specification, the path to open, and how much it holds."""

    spec: Spec
    path: Path
    rows: int
    samples: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The datasets of one call of `write_datasets`, in the order of `SOURCES` and `TARGETS`."""

    folder: Path
    seed: int
    sources: tuple[Written, ...]
    targets: tuple[Written, ...]


def write_datasets(
    folder: str | os.PathLike[str], *, seed: int = 0, n_source: int = 300, n_target: int = 150, overwrite: bool = False
) -> Manifest:
    """Write all datasets of the demo into a folder, which appears whole or not at all.

    Args:
        folder: gets one folder for each dataset, and a manifest.
        seed: the same seed gives the same bytes.
        n_source: samples (answered questions) in each source dataset.
        n_target: samples in each target benchmark.
        overwrite: replace what an earlier call wrote there.

    Raises:
        DataProphetError: the folder holds something else, or cannot be written.
    """
    final = Path(folder)
    written: dict[str, Written] = {}
    with atomic_folder(final, overwrite=overwrite) as temporary:
        for spec in (*SOURCES, *TARGETS):
            items = make_items(spec, seed, n_source if spec in SOURCES else n_target)
            write_items(temporary / spec.path, spec.name, spec.format, items)
            samples = sum(len(item.questions) for item in items)
            written[spec.name] = Written(spec, final / spec.path, len(items), samples)
        entries = [{**asdict(w.spec), "rows": w.rows, "samples": w.samples} for w in written.values()]
        text = json.dumps({"seed": seed, "datasets": entries}, indent=2) + "\n"
        (temporary / MANIFEST).write_text(text, encoding="utf-8", newline="")
    sources, targets = (tuple(written[spec.name] for spec in specs) for specs in (SOURCES, TARGETS))
    return Manifest(final, seed, sources, targets)


def make_items(spec: Spec, seed: int, samples: int) -> list[Item]:
    """The rows of a dataset, holding exactly ``samples`` questions between them."""
    items: list[Item] = []
    while samples > 0:
        rng = random.Random(f"{seed}/{spec.name}/{len(items)}")
        item = _make_item(rng, spec, len(items), samples)
        items.append(item)
        samples -= len(item.questions)
    return items


def _make_item(rng: random.Random, spec: Spec, index: int, most: int) -> Item:
    name, style = f"{spec.name}-{index:05d}", spec.styles[index % len(spec.styles)]
    draw = rng.random() if spec.variety else 1.0
    if draw < 0.05:
        found = ask(rng, None, "words", spec.phrasing)
        assert found is not None  # words need no picture
        return Item(name, (), (found,))
    task = rng.choice(spec.tasks)
    kind = rng.choice(KINDS) if TASKS[task] == "any" else TASKS[task]
    if draw < 0.1:
        return _pair(rng, spec, name, style)
    questions: list[Question] = []
    while not questions:
        scene = make_scene(rng, kind, style)
        tasks = [task for task in spec.tasks if TASKS[task] in (kind, "any")]
        for _ in range(min(most, rng.randint(1, spec.turns))):
            found = ask(rng, scene, rng.choice(tasks), spec.phrasing)
            if found and found not in questions:
                questions.append(found)
    if spec.wrong and index % spec.wrong == 0:
        questions = [_mislabelled(rng, spec, scene, question) for question in questions]
    options = tuple(options_of(rng, questions[0].task, questions[0].answer)) if spec.options else ()
    return Item(name, (scene,), tuple(questions), options)


def _mislabelled(rng: random.Random, spec: Spec, scene: Scene, question: Question) -> Question:
    """A question with the answer to one about another picture, which says something else."""
    while True:
        other = ask(rng, make_scene(rng, scene.kind, scene.style), question.task, spec.phrasing)
        if other and other.answer != question.answer:
            return replace(question, answer=other.answer, bare=other.bare)


def _pair(rng: random.Random, spec: Spec, name: str, style: str) -> Item:
    """A row with two pictures, asked whether something is in either of them."""
    first, second = (make_scene(rng, "shapes", style) for _ in range(2))
    found = ask(rng, replace(first, things=first.things + second.things), "exist", spec.phrasing)
    assert found is not None  # there is always something to ask for
    return Item(name, (first, second), (found,))
