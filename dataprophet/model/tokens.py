"""Samples and images as a processor encodes them, and whether tokens spell the text that they stand for.

The encoder makes them, rows and the adapter take them. They know nothing of batches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(slots=True)
class Encoded:
    """T tokens of one sample or text.

    Attributes:
        ids: (T,) int64.
        mask: (T,) bool, True at the answer of a sample, at the content of a text.
        types: (T,) int64 token types, by the name under which the model takes them.
        positions: (A, T) int64 on A axes, None where they are 0, 1, 2 ...
    """

    ids: Ints
    mask: NDArray[np.bool_]
    types: dict[str, Ints] = field(default_factory=dict)
    positions: Ints | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(slots=True, eq=False)
class ImageSet:
    """The images of a sample, as the vision tower takes them, shared by all samples with the same images.

    Attributes:
        inputs: tensors, the first dimension over tiles, patches or images.
        tokens: how many image tokens they fill.
        token_id: the token that vision features stand on.
    """

    inputs: dict[str, Any]
    tokens: int
    token_id: int


def tail_mask(offsets: Ints, tail: int) -> NDArray[np.bool_]:
    """(T,) bool: tokens from the first to the last that hold any of a text's last ``tail`` characters.

    ``offsets`` (T, 2) are the first character of each token and the one behind its last.
    """
    begins, ends = offsets.T
    held = np.flatnonzero((ends > ends.max(initial=0) - tail) & (ends > begins))
    mask = np.zeros(len(offsets), np.bool_)
    if len(held):
        mask[held[0] : held[-1] + 1] = True
    return mask


class Spelling:
    """Tells whether tokens spell a text, to the character.

    What a tokenizer does to every text, in training too, is no fault: its Unicode form (NFC) or case, and a space that
    it puts before the first word. White space that it drops or changes, and characters that it does not know, are.

    Args:
        tokenizer: a transformers tokenizer with a backend.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._decode, self._normalizer = tokenizer.backend_tokenizer.decode, tokenizer.backend_tokenizer.normalizer
        plain = tokenizer.backend_tokenizer.encode("a", add_special_tokens=False).ids
        # Decoders drop the space before the first token: so one stands before those in question.
        self._anchor = plain[-1:]
        self._skipped = len(self._decode(self._anchor, skip_special_tokens=False))
        self._space = " " if self._text(plain) == " a" else ""  # that the tokenizer puts before a text

    def holds(self, ids: Sequence[int], text: str, before: str) -> bool:
        """Whether ``ids`` spell ``text``; the first of them may hold the end of what stands ``before`` it, too."""
        found = self._text(ids)
        start = found[: max(0, len(found) - len(text))]
        if start + text == found:
            spaced = start.removeprefix(self._space)
            return not spaced or (before.endswith(spaced) and len(start) < len(self._text(ids[:1])))
        wanted = {text, self._space + text, before[-1:] + text} if self._normalizer else ()
        return any(self._normal(found) == self._normal(one) for one in wanted)

    def words(self, ids: Sequence[int]) -> list[str]:
        """What each token adds to the text of those before it; half a character adds nothing yet."""
        words, done = list[str](), ""
        for count in range(1, len(ids) + 1):
            text = self._text(ids[:count])
            whole = not text.endswith("\ufffd") or count == len(ids)
            words.append(text[len(done) :] if whole else "")
            done = text if whole else done
        return words

    def _normal(self, text: str) -> list[str]:
        """The words of a text as the tokenizer normalises them, and the white space between them as it is."""
        parts = re.split(r"(\s+)", text)
        return [part if part.isspace() else self._normalizer.normalize_str(part) for part in parts]

    def _text(self, ids: Sequence[int]) -> str:
        decoded: str = self._decode([*self._anchor, *ids], skip_special_tokens=False)
        return decoded[self._skipped :]
