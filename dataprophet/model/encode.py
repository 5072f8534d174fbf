"""From rendered samples to token ids, with a mask over the answer tokens, and to the vision tower's inputs.

Reading asks it for estimates, batching for tokens. It knows the processor and its tokenizer, not the model.
"""

from __future__ import annotations

import copy
import functools
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.model.chat import Chat, Rendered
from dataprophet.model.token_reuse import EncodedPrefix
from dataprophet.model.tokens import Encoded, ImageSet, Spelling, tail_mask

if TYPE_CHECKING:
    from PIL.Image import Image

_TYPES = "token_type_ids"  # how names of token types end
# What a processor says of the text; everything else that it returns, but token types, goes to the vision tower.
_TEXT_INPUTS = ("input_ids", "attention_mask", "labels", "offset_mapping", "text_replacement_offsets")
# Not verbose: what is too long is reported by batching, and never runs into the indexing errors warned of.
_PIECE, _CUT = 1 << 16, 16  # characters that are tokenised at a time, and tokens that a cut may add
_COMPOSED = 16  # characters, at most, that a tokenizer makes one of
_PLAIN = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}


class Encoder:
    """Turns rendered text and images into tokens and vision inputs with a model's processor.

    Args:
        chat: the renderer, which holds the processor.
        image_token_id: the token that vision features stand on.

    Attributes:
        placeholder_id: the token that stands for one image before the processor expands it.
        splices: take over the tokens of another sample with the same images where the texts begin alike. Off
            until the start-up checks have found that the tokens are the same.
    """

    def __init__(self, chat: Chat, image_token_id: int) -> None:
        self.chat = chat
        self.processor = chat.processor
        self.tokenizer = chat.processor.tokenizer
        self.placeholder_id = int(self.tokenizer.convert_tokens_to_ids(chat.image_token))
        self.splices = False
        # Cosmos 3 Edge needs token types, and its processor leaves them out unless asked.
        named = "mm_token_type_ids" in self.processor.model_input_names
        self._asked = {"return_mm_token_type_ids": True} if named and not self.chat.uses_suffix else {}
        self._spelling = Spelling(self.tokenizer)
        self._image_token_id = image_token_id
        # Positions that an image of a height and width takes in the text, to within a few: for planning batches.
        self.image_tokens = functools.lru_cache(4096)(self._image_tokens)
        special = [index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special]
        self._special_ids = np.array(special, np.int64)
        # A tokenizer forgets the padding that it was saved with at its first use, and must not while threads use it.
        self.tokenizer("")

    def group(
        self, rendered: Sequence[Rendered], images: Sequence[Image]
    ) -> tuple[list[Encoded | Exception], ImageSet | None]:
        """Encodes samples with the same images. The pixels are processed once, for the first sample.

        Answer tokens are found by character offsets counted from the end of the text, so that the expansion of the
        image tokens does not matter. A token that holds any character of the answer is an answer token.

        Returns:
            For each sample its tokens, or the error with which the processor refused it; and the images' inputs, None
            without images or where every sample was refused.
        """
        processor = copy.copy(self.processor)
        processor.image_processor = _Once(self.processor.image_processor)
        found: dict[int, Encoded | Exception] = {}
        shared: ImageSet | None = None
        for index, item in enumerate(rendered):
            if index in found:  # tokens were taken over
                continue
            try:
                inputs = self._process(processor, item, images)
            except (ValueError, TypeError, IndexError, RuntimeError) as error:  # what processors refuse images with
                found[index] = error
                continue
            found[index] = encoded = self._encoded(item, inputs)
            if images and shared is None:
                names = (name for name in inputs if name not in _TEXT_INPUTS and not name.endswith(_TYPES))
                vision = {name: inputs[name] for name in names}
                shared = ImageSet(vision, int((encoded.ids == self._image_token_id).sum()), self._image_token_id)
                replacements = inputs.get("text_replacement_offsets")
                if self.splices and replacements:
                    offsets = np.array(inputs["offset_mapping"][0], np.int64)
                    prefix = EncodedPrefix(item.text, encoded, offsets, replacements[0], self._special_ids)
                    found.update(self._reused(prefix, {k: rendered[k] for k in range(index + 1, len(rendered))}))
        return [found[index] for index in range(len(rendered))], shared

    def spells(self, encoded: Encoded, item: Rendered) -> bool:
        """Whether the tokens that are scored spell the answer, to the character."""
        ids, text = encoded.ids[encoded.mask].tolist(), item.answer + item.end
        if self.chat.uses_suffix and self.chat.score_terminator:  # which the processor wrote
            ids = ids[:-1]
        return self._spelling.holds(ids, text, item.prompt)

    def words(self, encoded: Encoded) -> list[str]:
        """The text of each token that is scored; characters of several tokens are the last one's."""
        return self._spelling.words(encoded.ids[encoded.mask].tolist())

    def _reused(self, prefix: EncodedPrefix, rendered: dict[int, Rendered]) -> dict[int, Encoded]:
        """Those samples that repeat the prefix, only the rest of each tokenised."""
        cuts = {index: cut for index, item in rendered.items() if (cut := prefix.cut(item.text, item.tail)) is not None}
        if not cuts:
            return {}
        rests = self.tokenizer([rest for _, rest in cuts.values()], return_offsets_mapping=True, **_PLAIN)
        found = {}
        for index, ids, offsets in zip(cuts, rests["input_ids"], rests["offset_mapping"], strict=True):
            encoded = prefix.joined(cuts[index][0], ids, offsets, self._tail(rendered[index]))
            if encoded is not None:
                found[index] = encoded
        return found

    def texts(self, texts: Sequence[str]) -> list[Encoded]:
        """Encodes texts as messages of a user, without images; the mask covers the tokens of each text."""
        rendered = [self.chat.text(text) for text in texts]
        whole, options = [item.text for item in rendered], self._special_tokens(rendered[0].text)
        encoded = self.tokenizer(whole, return_offsets_mapping=True, return_attention_mask=False, **options)
        return [
            Encoded(np.array(ids, np.int64), tail_mask(np.array(offsets).reshape(-1, 2), self._tail(item)))
            for ids, offsets, item in zip(encoded["input_ids"], encoded["offset_mapping"], rendered, strict=True)
        ]

    def text_ids(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Tokens of each text as it stands, image tokens not expanded: for planning batches."""
        return [np.array(ids, np.int64) for ids in self.tokenizer(list(texts), **_PLAIN)["input_ids"]]

    def takes_more(self, texts: Sequence[str], most: int) -> bool:
        """Whether texts certainly take more tokens: piece by piece, and no further than until that is known."""
        if sum(bool(text.strip()) for text in texts) > most:  # one at least for each turn of a long conversation
            return True
        least = 0
        for text in texts:
            for start in range(0, len(text), _PIECE):
                least += max(len(self.text_ids([text[start : start + _PIECE]])[0]) - _CUT, 0)
                if least > most:
                    return True
        return False

    def _image_tokens(self, height: int, width: int) -> int:
        from PIL import Image

        with suppress(Exception):  # a processor without the estimate
            return int(self.processor._get_num_multimodal_tokens(image_sizes=[(height, width)])["num_image_tokens"][0])
        with suppress(Exception):  # one that refuses this size: encoding says why
            blank = Image.new("RGB", (width, height))
            return len(self.processor(text=[self.chat.image_token], images=[[blank]])["input_ids"][0])
        return 1

    def _process(self, processor: Any, item: Rendered, images: Sequence[Image]) -> dict[str, Any]:
        text = item.prompt if self.chat.uses_suffix else item.text
        extra: dict[str, Any] = self._special_tokens(text) | self._asked
        if self.chat.uses_suffix:
            extra["suffix"] = [item.answer]
        elif self.splices and images:
            extra["return_text_replacement_offsets"] = True
        # Images are RGB here, and processors would make a copy of each to make sure.
        convert = {"do_convert_rgb": False} if getattr(processor.image_processor, "do_convert_rgb", False) else {}
        # Text as lists: turning these into tensors takes processors longer than all the rest.
        whole = {"return_offsets_mapping": True, "truncation": False, "padding": False, "verbose": False}
        texts = {"text": [text], "text_kwargs": whole}
        pictures = {"images": [list(images)] if images else None, "images_kwargs": {"return_tensors": "pt", **convert}}
        return dict(processor(**texts, **pictures, **extra))

    def _encoded(self, item: Rendered, inputs: dict[str, Any]) -> Encoded:
        ids = np.array(inputs["input_ids"][0], np.int64)
        if self.chat.uses_suffix:
            mask = np.array(inputs["labels"][0]) != -100
            if not self.chat.score_terminator:  # the processor puts an end-of-sequence token behind the suffix
                mask[np.flatnonzero(mask)[-1:]] = False
        else:
            mask = tail_mask(np.array(inputs["offset_mapping"][0]), self._tail(item))
        types = {name: np.array(inputs[name][0], np.int64) for name in inputs if name.endswith(_TYPES)}
        return Encoded(ids, mask, types)

    def _tail(self, item: Rendered) -> int:
        """How many of the last characters are scored, up to the last one that a token holds.

        Characters that a tokenizer composes with the one before (NFC), or drops, stand behind it: no token holds them.
        """
        text = item.answer + item.end
        if text.isascii() or (text[-1].isprintable() and unicodedata.is_normalized("NFKC", text[-_COMPOSED:])):
            return item.tail
        found = self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        return max((end for _, end in found.offsets), default=0)

    def _special_tokens(self, text: str) -> dict[str, Any]:
        """A template that writes the beginning-of-sequence token itself must not get a second one."""
        bos = self.tokenizer.bos_token
        return {"add_special_tokens": False} if bos and text.startswith(bos) else {}


class _Once:
    """An image processor that processes the images of its first call only, and gives all further calls that result."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._result: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._result is None:
            self._result = self._inner(*args, **kwargs)
        return copy.copy(self._result)
