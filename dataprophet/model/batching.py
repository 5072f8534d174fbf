"""From windows of samples to batches: samples that begin alike in a row, rows of similar length under a token budget.

The model runs what comes out, `cost` counts it. Everything here happens on the CPU.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dataprophet.data.sample import Sample
from dataprophet.errors import first_line
from dataprophet.model.adapter import Adapter
from dataprophet.model.encode import Encoder
from dataprophet.model.memory import Budget
from dataprophet.model.prefetch import Workers, ahead
from dataprophet.model.reader import CellEnd, Item, Refused, Window, read_windows
from dataprophet.model.rows import Batch, Row, assemble
from dataprophet.model.token_tree import common_prefix, sort_key
from dataprophet.model.tokens import Encoded

ROW_TOKENS = 1024  # a row takes no further sample beyond this, or twice its first: attention grows with the square
TEXT_ROW_TOKENS = 256

Bundle = list[list[int]]  # rows with the same pictures, which go through the vision tower together


class Size(NamedTuple):
    """What rows that stay together take of a batch.

    Attributes:
        tokens: of the longest row.
        rows: how many.
        answer_tokens: in all.
        images: whether they have images.
    """

    tokens: int
    rows: int = 1
    answer_tokens: int = 0
    images: bool = False


@dataclass
class Batcher:
    """Makes the batches of samples.

    Args:
        adapter: what the batches are for.
        encoder: the model's encoder.
        share: put samples that begin alike into one row where the model allows it, and each image through the vision
            tower once.
        max_tokens: longest sample that the model takes.
        max_answer_tokens: bound on the answer tokens of a batch.
        budget: of memory.
        mixes: batches hold several samples. Off where the start-up checks have found that they change each other.
    """

    adapter: Adapter
    encoder: Encoder
    share: bool
    max_tokens: int
    max_answer_tokens: int
    budget: Budget
    mixes: bool = True

    def work(
        self, samples: Iterable[Sample | CellEnd], batch_tokens: Callable[[], int], workers: Workers, *, texts: bool
    ) -> Generator[Refused | Batch | Window]:
        """Everything to be done for samples, in order: refusals and batches, and behind those of a window itself.

        With workers, the next windows are read and decoded while the batches of one are made.

        Args:
            samples: read once. What stands between two cell ends depends on nothing outside of them.
            batch_tokens: bound on the padded tokens of a batch, asked when a window has been read.
            workers: decode pictures and encode samples.
            texts: whether questions and answers are embedded.
        """
        limits: dict[str, Any] = {"max_tokens": self.max_tokens, "budget": self.budget}
        windows = read_windows(samples, self.encoder, workers, share=self.share, **limits)
        # two, as the last window of a cell may be small
        with ahead(windows, self.budget.windows if workers.count else 0) as read:
            for window in read:
                yield from window.refused
                budget = batch_tokens() if self.mixes else 1
                yield from self._score_batches(window.items, budget, workers)
                if texts:
                    kept = [item.sample for item in window.items if item.problem is None]
                    unique = {text for sample in kept for text in (sample.question, sample.answer) if text.strip()}
                    window.texts = sorted(unique)
                    yield from self._text_batches(window.texts, budget)
                yield window

    def _score_batches(self, items: Sequence[Item], budget: int, workers: Workers) -> Iterator[Refused | Batch]:
        groups: dict[tuple[object, ...], list[int]] = {}
        for index, item in enumerate(items):
            groups.setdefault(item.group, []).append(index)
        bundles = [part for group in groups.values() for part in self._bundles(items, group, budget)]
        batches = plan([size for _, size in bundles], max_tokens=budget, max_answer_tokens=self.max_answer_tokens)
        started: Iterator[list[tuple[Bundle, Future[list[Row]]]]] = (
            [(bundles[number][0], workers.submit(self._rows, items, bundles[number][0])) for number in chosen]
            for chosen in batches
        )
        if workers.count:  # the next one begins before this one is waited for
            started = (parts for parts, _ in itertools.pairwise(itertools.chain(started, [[]])))
        for parts in started:
            rows: list[Row] = []
            for bundle, future in parts:
                rows += future.result()
                members = [items[index] for row in bundle for index in row]
                yield from (Refused(item.place, item.problem) for item in members if item.problem is not None)
            if rows:
                yield self._ready(assemble(rows, budget=budget, join_images=self.adapter.joins_images))

    def _bundles(self, items: Sequence[Item], group: list[int], budget: int) -> Iterator[tuple[Bundle, Size]]:
        """The samples of a group as rows, those with the same pictures together as long as the budget allows it."""
        pictures = items[group[0]].images
        images = sum(self.encoder.image_tokens(image.height, image.width) for image in pictures)
        rows = self._packed([items[index].ids for index in group], images, ROW_TOKENS, budget)
        bundle: Bundle = []
        size = Size(0, 0, 0, bool(pictures))
        for places, tokens in rows:
            row = [group[place] for place in places]
            answers = sum(items[index].answer_tokens for index in row)
            larger = Size(max(size.tokens, tokens), size.rows + 1, size.answer_tokens + answers, size.images)
            if bundle and (larger.tokens * larger.rows > budget or larger.answer_tokens > self.max_answer_tokens):
                yield bundle, size
                bundle, larger = [], Size(tokens, 1, answers, size.images)
            bundle.append(row)
            size = larger
        yield bundle, size

    def _rows(self, items: Sequence[Item], bundle: Bundle) -> list[Row]:
        """Encodes rows with the same pictures; samples that are refused or too long get their problem instead."""
        members = [items[index] for row in bundle for index in row]
        found, images = self.encoder.group([item.rendered for item in members], members[0].images)
        encoded: dict[int, Encoded] = {}
        for item, index, result in zip(members, itertools.chain(*bundle), found, strict=True):
            item.images = []  # pixels of the whole window would stay in memory until it ends
            if isinstance(result, Exception):
                what = f"the model's processor refuses it ({first_line(result)})"
                item.refuse("unprocessable", what, "replace the image or remove the row")
            elif len(result) > self.max_tokens:
                what = f"it takes {len(result)} tokens, the model at most {self.max_tokens}"
                item.refuse("too_long", what, "shorten it or use a model with more context")
            elif result.mask[0]:
                what = "no token stands before its answer, to predict its first one"
                item.refuse("unprocessable", what, "give a question, or a template with a start")
            elif not (result.mask.any() and self.encoder.spells(result, item.rendered)):
                what = "the tokens that would be scored do not spell its answer to the character"
                item.refuse("text_mismatch", what, "change the answer, or use a tokenizer that keeps all of it")
            else:
                self.adapter.set_positions(result, images)
                encoded[index] = result
        left = [[index for index in row if index in encoded] for row in bundle]
        return [Row.pack(row, [encoded[index] for index in row], images) for row in left if row]

    def _text_batches(self, texts: Sequence[str], budget: int) -> Iterator[Batch]:
        encoded = self.encoder.texts(texts) if texts else []
        rows = self._packed([item.ids for item in encoded], 0, TEXT_ROW_TOKENS, budget)
        for chosen in plan([Size(tokens) for _, tokens in rows], max_tokens=budget):
            places = [rows[number][0] for number in chosen]
            made = [Row.pack(row, [encoded[place] for place in row]) for row in places]
            yield self._ready(assemble(made, texts=True, budget=budget))

    def _packed(
        self, ids: Sequence[NDArray[np.int64]], images: int, row_tokens: int, batch_tokens: int
    ) -> list[tuple[list[int], int]]:
        """Splits sequences into rows of a limited number of tree nodes; without sharing, into a row each.

        Args:
            ids: token ids.
            images: further tokens that each sequence has at its image placeholders.
            row_tokens: most nodes of a row, where twice its first sequence is not more.
            batch_tokens: half of the most nodes of a row of several sequences: better one row beyond the budget than a
                large image twice.

        Returns:
            For each row its sequences, by index, and its number of nodes.
        """
        if not (self.share and self.adapter.branches):
            return [([index], len(each) + images) for index, each in enumerate(ids)]
        rows: list[tuple[list[int], int]] = []
        bound = 0
        for index in sorted(range(len(ids)), key=lambda index: sort_key(ids[index])):
            whole = len(ids[index]) + images
            if rows:
                row, tokens = rows[-1]
                common = common_prefix(ids[row[-1]], ids[index])
                placeholders = ids[index] == self.encoder.placeholder_id
                behind = int(placeholders[common:].sum())  # images that the row must hold once more
                fresh = len(ids[index]) - common + images * behind // max(1, int(placeholders.sum()))
                if tokens + fresh <= bound:
                    rows[-1] = ([*row, index], tokens + fresh)
                    continue
            rows.append(([index], whole))
            bound = min(max(row_tokens, 2 * whole), 2 * batch_tokens)
        return rows

    def _ready(self, batch: Batch) -> Batch:
        """In pinned memory where it goes to a CUDA device, which then copies it while it computes."""
        return batch.tensors(lambda value: value.pin_memory()) if self.adapter.device.type == "cuda" else batch


def plan(sizes: Sequence[Size], *, max_tokens: int, max_answer_tokens: int = sys.maxsize) -> list[list[int]]:
    """Splits rows into batches of similar length. Rows with and without images never share a batch.

    Args:
        sizes: one entry for all rows that must stay together.
        max_tokens: bound on rows times the longest row. What is larger by itself makes a batch of its own.
        max_answer_tokens: bound on the sum of answer tokens, where each needs a row of logits.

    Returns:
        Batches of indices into ``sizes``. They depend on nothing but the arguments.
    """
    batches: list[list[int]] = []
    rows = answers = 0
    for index in sorted(range(len(sizes)), key=lambda index: (sizes[index].images, sizes[index].tokens, index)):
        size = sizes[index]
        rows, answers = rows + size.rows, answers + size.answer_tokens
        fits = rows * size.tokens <= max_tokens and answers <= max_answer_tokens
        if batches and fits and sizes[batches[-1][0]].images == size.images:
            batches[-1].append(index)
        else:
            batches.append([index])
            rows, answers = size.rows, size.answer_tokens
    return batches
