"""From rendered samples to token ids, with a mask over the answer tokens, and to the vision tower's inputs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.model.chat import Chat, Rendered
from dataprophet.model.token_reuse import Beginning
from dataprophet.model.tokens import Encoded, ImageSet, tail_mask

if TYPE_CHECKING:
    from PIL.Image import Image

# What a processor says of the text, token by token; everything else that it returns goes to the vision tower.
_TEXT_INPUTS = (
    *("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "labels"),
    *("offset_mapping", "text_replacement_offsets"),
)
_KINDS = ("token_type_ids", "mm_token_type_ids")


class Encoder:
    """Turns rendered text and images into tokens and vision inputs with a model's processor.

    Args:
        chat: the renderer, which holds the processor.

    Attributes:
        splices: take over the tokens of another sample with the same images where the texts begin alike. Off until the
            start-up checks have found that the tokens are the same.
    """

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.processor = chat.processor
        self.tokenizer = chat.processor.tokenizer
        self._image_tokens: dict[tuple[int, int], int] = {}
        self.splices = False
        special = [index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special]
        self._special_ids = np.array(special, np.int64)
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
        if not images:
            return [self._whole(self.processor, item, images)[0] for item in rendered], None
        processor = copy.copy(self.processor)
        processor.image_processor = _Once(self.processor.image_processor)
        found: list[Encoded | Exception | None] = [None] * len(rendered)
        shared, beginning = None, None
        for place, item in enumerate(rendered):
            if beginning is not None:
                break
            encoded, inputs = self._whole(processor, item, images)
            found[place] = encoded
            if isinstance(encoded, Encoded) and shared is None:
                vision = {name: value for name, value in inputs.items() if name not in _TEXT_INPUTS}
                shared = ImageSet(vision, int((encoded.ids == image_token_id).sum()))
                replacements = inputs.get("text_replacement_offsets")
                if self.splices and replacements:
                    offsets = np.array(inputs["offset_mapping"][0], np.int64)
                    beginning = Beginning(item.text, encoded, offsets, replacements[0], self._special_ids)
        if beginning is not None:
            self._splice(beginning, rendered, found)
        for place, item in enumerate(rendered):
            if found[place] is None:
                found[place] = self._whole(processor, item, images)[0]
        return [result for result in found if result is not None], shared

    def _splice(
        self, beginning: Beginning, rendered: Sequence[Rendered], found: list[Encoded | Exception | None]
    ) -> None:
        """Fills in the samples that are still missing, as far as they repeat the beginning."""
        cuts = {
            place: cut
            for place, item in enumerate(rendered)
            if found[place] is None and (cut := beginning.cut(item.text, item.tail)) is not None
        }
        if not cuts:
            return
        rests = self.tokenizer(
            [rest for _, rest in cuts.values()],
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
        for (place, (token, _)), ids, offsets in zip(
            cuts.items(), rests["input_ids"], rests["offset_mapping"], strict=True
        ):
            found[place] = beginning.joined(token, ids, offsets, rendered[place].tail)

    def _whole(
        self, processor: Any, item: Rendered, images: Sequence[Image]
    ) -> tuple[Encoded | Exception, dict[str, Any]]:
        """A sample encoded by the processor, and all that this gives; or the error with which it refuses the sample."""
        try:
            inputs = self._process(processor, item, images)
        except (ValueError, TypeError, IndexError, RuntimeError) as error:  # what processors refuse images with
            return error, {}
        return self._encoded(item, inputs), inputs

    def texts(self, rendered: Sequence[Rendered]) -> list[Encoded]:
        """Encodes texts without images; the mask covers the content tokens."""
        text = [item.prompt + item.answer for item in rendered]
        encoded = self.tokenizer(
            text, return_offsets_mapping=True, return_attention_mask=False, **self._special_tokens(text[0])
        )
        return [
            Encoded(np.array(ids, np.int64), tail_mask(np.array(offsets).reshape(-1, 2), len(item.answer)))
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
        text = item.prompt if self.chat.uses_suffix else item.text
        extra: dict[str, Any] = self._special_tokens(text)
        if self.chat.uses_suffix:
            extra["suffix"] = [item.answer]
        elif self.splices and images:
            extra["return_text_replacement_offsets"] = True
        # Images are RGB here, and processors would make a copy of each to make sure.
        convert = {"do_convert_rgb": False} if getattr(processor.image_processor, "do_convert_rgb", False) else {}
        # Text as lists: turning these into tensors takes processors longer than all the rest.
        return dict(
            processor(
                text=[text],
                images=[list(images)] if images else None,
                text_kwargs={"return_offsets_mapping": True, "verbose": False},
                images_kwargs={"return_tensors": "pt", **convert},
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
            mask = tail_mask(np.array(inputs["offset_mapping"][0]), item.tail)
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
