"""Training and evaluation batches for the demo model: scenes, their questions, and what each token may attend to."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprophet.demo.questions import Question, ask, options_of, tasks_of
from dataprophet.demo.scenes import Scene, draw, make_scene
from demo_model.architecture import IMAGE_TOKENS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

KIND_WEIGHTS = {"shapes": 0.5, "sign": 0.27, "bars": 0.2, "words": 0.03}
STYLE_WEIGHTS = {"plain": 0.42, "dark": 0.33, "noise": 0.2, "stripes": 0.05}
PHRASING_WEIGHTS = {"plain": 0.5, "terse": 0.38, "chatty": 0.12}
DESCRIBE_SHARE = 0.35
OPTIONS_SHARE = 0.06
APART_SHARE = 0.8
ROW_TOKENS = 110


@dataclass
class Row:
    """One picture, or none, and the questions about it."""

    scene: Scene | None
    questions: list[Question]
    apart: bool


@dataclass
class Batch:
    """Model inputs, the positions that predict answer tokens (B, L), and the tokens they should predict."""

    inputs: dict[str, Any]
    keep: torch.Tensor
    targets: torch.Tensor


class Batcher:
    """Turns rows into padded batches. A row is one sequence: its picture once, then its turns.

    In rows that are set apart, each turn sees the picture and itself only, and its positions continue those of the
    picture: the same computation as one sequence per question, with the picture shared. Other rows are ordinary chats.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.special = {
            name: tokenizer.convert_tokens_to_ids(f"<{name}>") for name in ("s", "pad", "image", "user", "assistant")
        }
        self.special["end"] = tokenizer.convert_tokens_to_ids("</s>")

        @lru_cache(maxsize=20_000)
        def encode(text: str) -> tuple[int, ...]:
            return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

        self.encode = encode

    def __call__(self, rows: list[Row]) -> Batch:
        import torch

        layouts = [self._layout(row) for row in rows]
        shape = (len(rows), max(len(layout[0]) for layout in layouts))
        ids = np.full(shape, self.special["pad"])
        positions = np.zeros(shape, np.int64)
        segments = np.full(shape, -1)
        answers = np.zeros(shape, bool)
        for index, (row_ids, row_positions, row_segments, row_answers) in enumerate(layouts):
            length = len(row_ids)
            ids[index, :length], positions[index, :length] = row_ids, row_positions
            segments[index, :length], answers[index, :length] = row_segments, row_answers
        same = segments[:, :, None] == segments[:, None, :]
        allowed = np.tril(same | ((segments == 0)[:, None, :] & (segments >= 0)[:, :, None]))
        pictures = [np.asarray(draw(row.scene)) for row in rows if row.scene is not None]
        inputs: dict[str, Any] = {
            "input_ids": torch.from_numpy(ids),
            "position_ids": torch.from_numpy(positions),
            "attention_mask": torch.from_numpy(allowed)[:, None],
        }
        if pictures:
            pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
            inputs["pixel_values"] = pixels.float().div(127.5).sub(1)
        keep = np.zeros(shape, bool)
        keep[:, :-1] = answers[:, 1:]
        return Batch(inputs, torch.from_numpy(keep), torch.from_numpy(ids[answers]))

    def _layout(self, row: Row) -> tuple[list[int], list[int], list[int], list[bool]]:
        special = self.special
        ids = [special["s"], special["user"]] + [special["image"]] * (IMAGE_TOKENS if row.scene else 0)
        start = len(ids)
        positions, segments, answers = list(range(start)), [0] * start, [False] * start
        for index, question in enumerate(row.questions):
            head = [*self.encode(question.question), special["assistant"]]
            if index and not row.apart:
                head.insert(0, special["user"])
            tail = [*self.encode(question.answer), special["end"]]
            count = len(head) + len(tail)
            first = start if row.apart else len(ids)
            ids += head + tail
            positions += range(first, first + count)
            segments += [index + 1 if row.apart else 0] * count
            answers += [False] * len(head) + [True] * len(tail)
        return ids, positions, segments, answers


def training_rows(rng: random.Random, count: int, batcher: Batcher) -> list[Row]:
    """Rows of the broad training mixture. The style "sketch" is left out of it, and "stripes" and "chatty" are rare."""
    return [_training_row(rng, batcher) for _ in range(count)]


def _training_row(rng: random.Random, batcher: Batcher) -> Row:
    kind = _pick(rng, KIND_WEIGHTS)
    scene = None if kind == "words" else make_scene(rng, kind, _pick(rng, STYLE_WEIGHTS))
    apart = scene is not None and rng.random() < APART_SHARE
    tasks = ["words"] if scene is None else [task for task in tasks_of(kind) if task != "describe"]
    room = ROW_TOKENS - IMAGE_TOKENS
    last = (
        ask(rng, scene, "describe", _pick(rng, PHRASING_WEIGHTS)) if scene and rng.random() < DESCRIBE_SHARE else None
    )
    if last:
        room -= len(batcher.encode(last.question)) + len(batcher.encode(last.answer)) + 3
    questions: list[Question] = []
    for _ in range(12):
        found = ask(rng, scene, rng.choice(tasks), _pick(rng, PHRASING_WEIGHTS))
        if found is None or found in questions:
            continue
        if rng.random() < OPTIONS_SHARE and (options := options_of(rng, found.task, found.answer)):
            lines = (f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=True))
            found = replace(found, question="\n".join([found.question, *lines]))
        room -= len(batcher.encode(found.question)) + len(batcher.encode(found.answer)) + 3
        if room < 0:
            break
        questions.append(found)
    return Row(scene, questions + ([last] if last else []), apart)


def _pick(rng: random.Random, weights: dict[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
