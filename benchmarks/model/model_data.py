"""Drawn images and generated questions of the size that a pool has: about 600 tokens in all, 5 of them the answer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from PIL import Image

from dataprophet.data.sample import Sample

_TEXT = """
what which where how many the a of is are there does on in left right above below between image picture chart
table figure shape circle square triangle line bar axis label title number value total largest smallest first
second third red blue green yellow black white grey orange purple person dog cat car house tree street sign book
cup chair window door clock answer with one word or short phrase please describe compare read count name give
yes no two three four five six seven eight nine ten
"""
WORDS = tuple(_TEXT.split())
ANSWER_WORDS = 5
QUESTION_WORDS = (15, 45)  # fewest and most


def samples(sizes: Sequence[tuple[int, int]], n_images: int, *, questions: int = 1, seed: int = 0) -> list[Sample]:
    """Samples about drawn images, those of one image next to each other and with the same image object.

    Args:
        sizes: widths and heights of the images in pixels, taken in turn.
        n_images: how many images.
        questions: how many questions about each of them.
        seed: of all that is drawn.

    Returns:
        ``n_images * questions`` samples. Each word of an answer and of a question is one token.
    """
    rng = np.random.default_rng(seed)
    found = []
    for index, size in enumerate(itertools.islice(itertools.cycle(sizes), n_images)):
        image = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
        for number in range(questions):
            words = rng.choice(WORDS, rng.integers(*QUESTION_WORDS, endpoint=True))
            answer = rng.choice(WORDS, ANSWER_WORDS)
            found.append(Sample(f"{index}#{number}", [image], " ".join(words), " ".join(answer)))
    return found
