"""From rendered samples to token ids, with a mask over the answer tokens, and to the vision tower's inputs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.model.chat import Chat, Rendered

if TYPE_CHECKING:
    from PIL.Image import Image

# What a processor says of the text, token by token; everything else that it returns goes to the vision tower.
_TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "offset_mapping", "labels")
_KINDS = ("token_type_ids", "mm_token_type_ids")


@dataclass(slots=True)
class Encoded:
    """T tokens of one sample or text.

    Attributes:
        ids: (T,) int64.
        mask: (T,) bool, True at the answer of a sample, at the content of a text.
        kinds: (T,) int64 token types, by the name under which the model takes them.
        positions: (A, T) int64 on A axes, None where they are 0, 1, 2 ...
    """

    ids: NDArray[np.int64]
    mask: NDArray[np.bool_]
    kinds: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    positions: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(slots=True, eq=False)
class ImageSet:
    """The images of a sample, as the vision tower takes them, shared by all samples with the same images.

    Attributes:
        inputs: tensors, the first dimension over tiles, patches or images.
        tokens: how many image tokens they fill.
    """

    inputs: dict[str, Any]
    tokens: int


class Encoder:
    """Turns rendered text and images into tokens and vision inputs with a model's processor.

    Args:
        chat: the renderer, which holds the processor.
    """

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.processor = chat.processor
        self.tokenizer = chat.processor.tokenizer
        self._image_tokens: dict[tuple[int, int], int] = {}
        # A tokenizer forgets the padding that it was saved with at its first use, and must not while threads use it.
        self.tokenizer("")

    def group(
        self, rendered: Sequence[Rendered], images: Sequence[Image], image_token_id: int
    ) -> tuple[list[Encoded | Exception], ImageSet | None]:
        """Encodes samples with the same images. The pixels are processed once, for the first sample.

        Answer tokens are found by character offsets counted from the end of the text, so that the expansion of the
        image tokens does not matter. A token that holds any character of the answer is an answer token.

        Returns:
            For each sample its tokens, or the error with which the processor refused it; and the images' inputs, None
            without images or where every sample was refused.
        """
        processor = copy.copy(self.processor)
        if images:
            processor.image_processor = _Once(self.processor.image_processor)
        found: list[Encoded | Exception] = []
        shared = None
        for item in rendered:
            try:
                inputs = self._process(processor, item, images)
            except (ValueError, TypeError, IndexError, RuntimeError) as error:  # what processors refuse images with
                found.append(error)
                continue
            encoded = self._encoded(item, inputs)
            found.append(encoded)
            if images and shared is None:
                vision = {name: value for name, value in inputs.items() if name not in _TEXT_INPUTS}
                shared = ImageSet(vision, int((encoded.ids == image_token_id).sum()))
        return found, shared

    def texts(self, rendered: Sequence[Rendered]) -> list[Encoded]:
        """Encodes texts without images; the mask covers the content tokens."""
        text = [item.prompt + item.answer for item in rendered]
        encoded = self.tokenizer(
            text, return_offsets_mapping=True, return_attention_mask=False, **self._special_tokens(text[0])
        )
        return [
            Encoded(np.array(ids, np.int64), _tail_mask(np.array(offsets).reshape(-1, 2), len(item.answer)))
            for ids, offsets, item in zip(encoded["input_ids"], encoded["offset_mapping"], rendered, strict=True)
        ]

    def text_ids(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Tokens of each text as it stands, image tokens not expanded: for planning batches."""
        # not verbose: what is too long is reported by the reader, and never runs into the indexing errors warned of
        ids = self.tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
        return [np.array(row, np.int64) for row in ids["input_ids"]]

    def image_tokens(self, image: Image) -> int:
        """Positions that an image takes in the text, to within a few: for planning batches."""
        size = (image.height, image.width)
        if size not in self._image_tokens:
            if len(self._image_tokens) > 4096:
                self._image_tokens.clear()
            self._image_tokens[size] = self._count_image_tokens(image)
        return self._image_tokens[size]

    def _count_image_tokens(self, image: Image) -> int:
        try:
            counts = self.processor._get_num_multimodal_tokens(image_sizes=[(image.height, image.width)])
            return int(counts["num_image_tokens"][0])
        except Exception:  # a processor without the estimate, or one that refuses this size: encoding says why
            try:
                encoded = self.processor(text=[self.chat.image_token], images=[[image]])
            except Exception:
                return 1
            return len(encoded["input_ids"][0])

    def _process(self, processor: Any, item: Rendered, images: Sequence[Image]) -> dict[str, Any]:
        text = item.prompt if self.chat.uses_suffix else item.prompt + item.answer + item.end
        extra: dict[str, Any] = self._special_tokens(text)
        if self.chat.uses_suffix:
            extra["suffix"] = [item.answer]
        # Text as lists: turning these into tensors takes processors longer than all the rest.
        return dict(
            processor(
                text=[text],
                images=[list(images)] if images else None,
                text_kwargs={"return_offsets_mapping": True, "verbose": False},
                images_kwargs={"return_tensors": "pt"},
                **extra,
            )
        )

    def _encoded(self, item: Rendered, inputs: dict[str, Any]) -> Encoded:
        ids = np.array(inputs["input_ids"][0], np.int64)
        if self.chat.uses_suffix:
            mask = np.array(inputs["labels"][0]) != -100
            if not self.chat.score_terminator:  # the processor puts an end-of-sequence token behind the suffix
                mask[np.flatnonzero(mask)[-1:]] = False
        else:
            mask = _tail_mask(np.array(inputs["offset_mapping"][0]), len(item.answer) + len(item.end))
        kinds = {name: np.array(inputs[name][0], np.int64) for name in _KINDS if name in inputs}
        return Encoded(ids, mask, kinds)

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


def _tail_mask(offsets: NDArray[np.int64], tail: int) -> NDArray[np.bool_]:
    """(T,) bool: tokens that hold any of a text's last ``tail`` characters.

    ``offsets`` (T, 2) are the first character of each token and the one behind its last.
    """
    begins, ends = offsets.T
    return np.asarray((ends > ends.max(initial=0) - tail) & (ends > begins))
