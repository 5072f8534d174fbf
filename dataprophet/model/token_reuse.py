"""Tokens of a sample from those of another that begins alike: the image tokens are not written out and read again.

The encoder uses it for samples with the same images. It knows texts, offsets and token ids alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonprefix
from typing import Any

import numpy as np

from dataprophet.model.tokens import Encoded, Ints, tail_mask


class EncodedPrefix:
    """A sample encoded whole, as far as others with the same images repeat it.

    Tokenizers split text at special tokens, and what stands behind one is tokenised alike whatever stands before it.
    So the tokens up to a special token that two texts have in common can be taken over, where all images stand in what
    they have in common. The start-up checks compare the result with a sample that is encoded whole.

    Args:
        text: the sample's text, one image token for each image.
        encoded: its tokens.
        offsets: (T, 2) int64, the first character of each token and the one behind its last, in the expanded text.
        replacements: what the processor put in the place of each image token, as it reports them.
        special_ids: token ids at which the tokenizer splits.
    """

    def __init__(
        self, text: str, encoded: Encoded, offsets: Ints, replacements: Sequence[dict[str, Any]], special_ids: Ints
    ) -> None:
        self._text, self._encoded, self._offsets = text, encoded, offsets
        self._expanded, self._images_end = "", 0  # the text up to the end of its images, and that end
        for replacement in replacements:
            start, end = replacement["span"]
            self._expanded += text[self._images_end : start] + replacement["replacement"]
            self._images_end = end
        self._special = np.flatnonzero(np.isin(encoded.ids, special_ids))

    def cut(self, text: str, tail: int) -> tuple[int, str] | None:
        """How many tokens another text takes over, and its rest from the special token behind them on; None if nothing.

        Args:
            text: the other sample's text.
            tail: how many of its last characters are the answer, which is not cut.
        """
        common = min(len(commonprefix([self._text, text])), len(text) - tail)  # noqa: RUF071 (of characters it is)
        if common < self._images_end:
            return None
        limit = len(self._expanded) + common - self._images_end
        inside = self._special[self._offsets[self._special, 1] <= limit]
        if not len(inside):
            return None
        token = int(inside[-1])
        return token, (self._expanded + text[self._images_end :])[self._offsets[token, 0] :]

    def joined(self, token: int, ids: Sequence[int], offsets: Sequence[tuple[int, int]], tail: int) -> Encoded | None:
        """The tokens of the other sample; None where its rest does not begin with the special token it was cut at.

        Args:
            token: how many tokens it takes over.
            ids: tokens of its rest.
            offsets: their characters in the rest.
            tail: as in `cut`.
        """
        if not len(ids) or ids[0] != self._encoded.ids[token]:
            return None
        later = (0, len(ids) - 1)
        mask = np.pad(tail_mask(np.array(offsets, np.int64).reshape(-1, 2), tail), (token, 0))
        types = {name: np.pad(types[: token + 1], later) for name, types in self._encoded.types.items()}
        return Encoded(np.concatenate([self._encoded.ids[:token], np.array(ids, np.int64)]), mask, types)
