"""The presets: what "miniature", "pretrained" and "custom" measure.

The split into development and held-out datasets is written down in `pretrained/datasets.py`, and stood there before the
first result: predictors are chosen on development datasets and the first base, and the rest is told once.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import dataprophet as dp
from dataprophet.data.sample import Sample
from dataprophet.demo.datasets import Spec, make_items
from dataprophet.demo.scenes import draw
from transfer.cache import Cache, digest
from transfer.exchange import exchanged
from transfer.learner import Learner, Training
from transfer.stages import Lab


def _spec(name: str, task: str, style: str, phrasing: str) -> Spec:
    return Spec(name, (task,), (style,), phrasing, "", "")


_MINIATURE = (
    _spec("colour-plain", "colour", "plain", "plain"),
    _spec("colour-sketch", "colour", "sketch", "chatty"),
    _spec("position-dark", "position", "dark", "terse"),
    _spec("position-noise", "position", "noise", "chatty"),
    _spec("read-noise", "read", "noise", "plain"),
    _spec("read-stripes", "read", "stripes", "chatty"),
    _spec("height-plain", "height", "plain", "chatty"),
    _spec("height-sketch", "height", "sketch", "terse"),
)


@dataclass(frozen=True)
class Miniature:
    """Sizes of the preset "miniature"; the smoke form of the tests takes smaller ones."""

    datasets: int = 8
    seeds: int = 2
    train: int = 320
    test: int = 150
    training: Training = field(default_factory=partial(Training, rate=5e-4, epochs=2.0, rows=16))
    weaken: float = 0.25
    bases: tuple[str, ...] = ("first",)


SMOKE = Miniature(datasets=4, train=24, test=12, training=Training(rate=1e-3, epochs=0.5, rows=8))


def _drawn(specs: tuple[Spec, ...], train: int, test: int, name: str, split: str) -> list[Sample]:
    spec = next(spec for spec in specs if spec.name == name)
    if split.startswith("test"):
        return _samples(spec, 100 + int(split.removeprefix("test")), test)
    samples = _samples(spec, 0, train)
    return samples if split == "train" else list(exchanged(samples, name).values())


@lru_cache(maxsize=64)
def _samples(spec: Spec, seed: int, count: int) -> list[Sample]:
    items = make_items(spec, seed, count)
    return [
        Sample(item.id, [draw(item.scenes[0])], item.questions[0].question, item.questions[0].answer) for item in items
    ]


def _miniature_learner(sizes: Miniature, cache: Cache, base: str) -> Learner:
    from transfer.transformers_learner import TransformersLearner

    specs = _MINIATURE[: sizes.datasets]
    return TransformersLearner(
        "demo",
        partial(_drawn, specs, sizes.train, sizes.test),
        {spec.name: [str(spec), sizes.train, sizes.test] for spec in specs},
        sizes.training,
        weaken=sizes.weaken,
        seed=sizes.bases.index(base),
        gradient=min(100, sizes.test),
        options={"device": "cpu"},
    )


def miniature(sizes: Miniature = Miniature()) -> Lab:  # frozen
    """The demo's model, trained from scratch, with noise in its weights so that it has something left to learn."""
    names = tuple(spec.name for spec in _MINIATURE[: sizes.datasets])
    tasks = {spec.name: spec.tasks[0] for spec in _MINIATURE}
    seeds = tuple(range(sizes.seeds))
    return Lab("miniature", names, names, tasks, (), sizes.bases, seeds, partial(_miniature_learner, sizes))


def _pretrained_learner(training: Training, cache: Cache, base: str) -> Learner:
    from transfer.pretrained.learner import PretrainedLearner

    return PretrainedLearner(cache, base, training=training)


def pretrained(datasets: int = 15, seeds: int = 3, average: float = 1.0) -> Lab:
    """Pretrained parts, drawn pictures: the first so many datasets of the list."""
    from transfer.pretrained.datasets import DATASETS
    from transfer.pretrained.learner import BASES

    names = tuple(DATASETS)[:datasets]
    tasks = {name: DATASETS[name].task for name in names}
    held = tuple(name for name in names if DATASETS[name].held_out)
    training = Training(epochs=3.0, average=average)  # with one epoch, gains hardly repeat: docs/evidence.md
    learner = partial(_pretrained_learner, training)
    name = "pretrained" if average == 1 else "averaged"
    return Lab(name, names, names, tasks, held, tuple(BASES), tuple(range(seeds)), learner)


def _opened(sources: dict[str, str], targets: dict[str, str], name: str, split: str) -> list[Sample]:
    return _read((sources if split == "train" else targets)[name])


@lru_cache(maxsize=256)
def _read(path: str) -> list[Sample]:
    return list(dp.open_dataset(path))


def _custom_learner(
    model: str,
    sources: dict[str, str],
    targets: dict[str, str],
    training: Training,
    lora: int,
    options: dict[str, Any],
    cache: Cache,
    base: str,
) -> Learner:
    from transfer.transformers_learner import TransformersLearner, identity_of

    opened = partial(_opened, sources, targets)
    identities = {name: identity_of(opened(name, "train")) for name in sources}
    identities |= {name: digest([identities.get(name), identity_of(opened(name, "test0"))]) for name in targets}
    return TransformersLearner(model, opened, identities, training, lora=lora, gradient=100, options=options)


def custom(arguments: argparse.Namespace) -> Lab:
    """Any model that `load_model` takes, any datasets that `open_dataset` takes.

    Every seed draws its own part of a source; the test items are the same for all, for there are no others.
    """
    sources, targets, tasks = (_pairs(getattr(arguments, name)) for name in ("source", "target", "task"))
    if not (arguments.model and sources and targets):
        raise SystemExit("--preset custom needs --model, --source NAME=PATH ... and --target NAME=PATH ...")
    training = Training(arguments.rate, arguments.epochs, arguments.rows, average=arguments.average)
    names = {name: tasks.get(name, name) for name in (*sources, *targets)}
    options = {"device": arguments.device}
    learner = partial(_custom_learner, arguments.model, sources, targets, training, arguments.lora, options)
    seeds = tuple(range(arguments.seeds or 2))
    return Lab("custom", tuple(sources), tuple(targets), names, (), ("base",), seeds, learner)


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = dict(text.split("=", 1) for text in texts if "=" in text)
    if len(pairs) < len(texts):
        raise SystemExit("give each as NAME=VALUE, and each name once")
    return pairs
