"""From rendered samples to a padded batch of tensors, with a mask over the answer tokens."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataprophet.model.chat import Chat, Rendered

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(slots=True)
class Batch:
    """A padded batch of B rows and T positions.

    Attributes:
        inputs: what the model's forward takes; ``input_ids`` and ``attention_mask`` are (B, T) int64.
        answer: (B, T) bool, True at the tokens whose probability is asked for.
    """

    inputs: dict[str, Any]
    answer: Any

    def lengths(self) -> list[int]:
        """Tokens of each row, without padding."""
        lengths: list[int] = self.inputs["attention_mask"].sum(1).tolist()
        return lengths


class Encoder:
    """Turns rendered text and images into batches with a model's processor.

    Args:
        chat: the renderer, which holds the processor.
        padding_side: ``right`` or ``left``. Results do not depend on it.
    """

    def __init__(self, chat: Chat, *, padding_side: str = "right") -> None:
        self.chat = chat
        self.processor = chat.processor
        self.tokenizer = chat.processor.tokenizer
        self.padding_side = padding_side
        self._image_tokens: dict[tuple[int, int], int] = {}

    def samples(self, rendered: Sequence[Rendered], images: Sequence[Sequence[Image]]) -> Batch:
        """Encodes samples with their images; either every sample has images or none has.

        Answer tokens are found by character offsets counted from the end of the text, so that the expansion of the
        image tokens does not matter. A token that holds any character of the answer is an answer token.
        """
        text = [item.prompt if self.chat.uses_suffix else item.prompt + item.answer + item.end for item in rendered]
        extra: dict[str, Any] = self._special_tokens(text[0])
        if self.chat.uses_suffix:
            extra["suffix"] = [item.answer for item in rendered]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # PaliGemma's processor makes NumPy warn of torch
            encoded = self.processor(
                text=text,
                images=[list(group) for group in images] if images[0] else None,
                return_tensors="pt",
                padding=True,
                padding_side=self.padding_side,
                text_kwargs={"return_offsets_mapping": True, "verbose": False},
                **extra,
            )
        inputs = dict(encoded)
        offsets, labels = inputs.pop("offset_mapping"), inputs.pop("labels", None)
        if self.chat.uses_suffix:
            return Batch(inputs, self._suffix_mask(inputs, labels))
        tails = [len(item.answer) + len(item.end) for item in rendered]
        return Batch(inputs, _tail_mask(offsets, inputs["attention_mask"], tails))

    def texts(self, rendered: Sequence[Rendered]) -> Batch:
        """Encodes texts without images; the mask covers the content tokens."""
        text = [item.prompt + item.answer for item in rendered]
        encoded = self.tokenizer(
            text,
            return_tensors="pt",
            padding=True,
            padding_side="right",
            return_offsets_mapping=True,
            **self._special_tokens(text[0]),
        )
        inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        mask = _tail_mask(encoded["offset_mapping"], inputs["attention_mask"], [len(item.answer) for item in rendered])
        return Batch(inputs, mask)

    def text_lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as it stands, special tokens left as they are: for planning batches."""
        # not verbose: what is too long is reported by the scorer, and never runs into the indexing errors warned of
        ids = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return [len(row) for row in ids]

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

    def _special_tokens(self, text: str) -> dict[str, Any]:
        """A template that writes the beginning-of-sequence token itself must not get a second one."""
        bos = self.tokenizer.bos_token
        return {"add_special_tokens": False} if bos and text.startswith(bos) else {}

    def _suffix_mask(self, inputs: dict[str, Any], labels: Any) -> Any:
        """The suffix's tokens, without the end-of-sequence token that the processor puts behind it, unless scored."""
        mask = (labels != -100) & (inputs["attention_mask"] == 1)
        if not self.chat.score_terminator:
            later = mask.flip(1).cumsum(1).flip(1)
            mask &= later > 1
        return mask


def _tail_mask(offsets: Any, attention_mask: Any, tails: Sequence[int]) -> Any:
    """(B, T) bool: tokens that hold any of the last ``tails[i]`` characters of text i.

    ``offsets`` (B, T, 2) are the first character of each token and the one behind its last.
    """
    import torch

    ends = offsets[..., 1].amax(1, keepdim=True)
    starts = ends - torch.tensor(tails)[:, None]
    return (offsets[..., 1] > starts) & (offsets[..., 1] > offsets[..., 0]) & (attention_mask == 1)
