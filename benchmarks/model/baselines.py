"""What our pass over a model is measured against: the obvious loop over transformers, and a tuned padded batch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from dataprophet.data.sample import Sample

# Inputs of the vision tower that forward does not take beside the tower's output.
_VISION_INPUTS = ("pixel_values", "pixel_attention_mask", "image_sizes")
_MARK = "\ue000"

Features = tuple[np.ndarray, dict[str, np.ndarray]]  # negative log-likelihoods (n,), and a field's rows (n, D)


class Peer:
    """A transformers model and processor, and how samples with one image each become text."""

    def __init__(self, network: Any, processor: Any) -> None:
        self.network, self.processor = network, processor
        self.text_prefix = self._template([{"role": "user", "content": [{"type": "text", "text": _MARK}]}])
        self.text_prefix = self.text_prefix.partition(_MARK)[0]

    def text(self, sample: Sample) -> str:
        """The chat up to the end of the answer."""
        messages = []
        for turn in sample.turns():
            images = [{"type": "image"}] * len(turn.image_offsets)
            messages.append({"role": "user", "content": [*images, {"type": "text", "text": turn.question}]})
            messages.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
        return self._template(messages[:-1], add_generation_prompt=True) + sample.answer

    def _template(self, messages: list[dict[str, Any]], **options: Any) -> str:
        return self.processor.apply_chat_template(messages, tokenize=False, **options)

    def count(self, text: str) -> int:
        """Tokens of an answer, or of a text alone without the template."""
        return len(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def encode(self, samples: Sequence[Sample]) -> tuple[dict[str, Any], list[int]]:
        """Inputs of the model, padded on the right, and the answer tokens at the end of each row."""
        inputs = self.processor(
            text=[self.text(sample) for sample in samples],
            images=[list(sample.images) for sample in samples],
            padding=True,
            padding_side="right",
            return_tensors="pt",
        )
        return dict(inputs), [self.count(sample.answer) for sample in samples]

    def encode_texts(self, texts: Sequence[str]) -> tuple[dict[str, Any], list[int]]:
        """Inputs of the decoder for texts alone, and the tokens of the text at the end of each row."""
        inputs = self.processor.tokenizer(
            [self.text_prefix + text for text in texts], padding=True, padding_side="right", return_tensors="pt"
        )
        kept = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        return kept, [self.count(text) for text in texts]

    def to_device(self, inputs: dict[str, Any]) -> dict[str, Any]:
        dtype = self.network.dtype
        return {
            name: value.to(self.network.device, dtype if value.is_floating_point() else None, non_blocking=True)
            for name, value in inputs.items()
        }

    def vision(self, inputs: dict[str, Any]) -> Any:
        """The vision tower's output."""
        taken = ("pixel_values", "pixel_attention_mask", "image_sizes", "image_grid_thw")
        return self.network.base_model.get_image_features(
            **{name: inputs[name] for name in taken if name in inputs}, return_dict=True
        )

    def image_means(self, inputs: dict[str, Any], vision: Any) -> Any:
        """(B, D) float32: the mean of each sample's projected features, which stand in the order of image tokens."""
        rows = vision.pooler_output
        rows = rows if torch.is_tensor(rows) else torch.cat(list(rows))
        counts = (inputs["input_ids"] == self.network.config.image_token_id).sum(1).tolist()
        return torch.stack([part.float().mean(0) for part in rows.reshape(-1, rows.shape[-1]).split(counts)])

    def hidden(self, inputs: dict[str, Any]) -> Any:
        return self.network.get_decoder()(**inputs, use_cache=False).last_hidden_state


class ObviousLoop(Peer):
    """What one writes first: a sample at a time, logits of every position, each image and text embedded on its own."""

    def __call__(self, samples: Sequence[Sample]) -> Features:
        nll, vectors = [], {"question": [], "answer": [], "image": []}
        with torch.inference_mode():
            for sample in samples:
                inputs, (count,) = self.encode([sample])
                inputs = self.to_device(inputs)
                nll.append(self.nll(inputs, count))
                vectors["image"].append(self.image_means(inputs, self.vision(inputs))[0].cpu().numpy())
                vectors["question"].append(self.embedding(sample.question))
                vectors["answer"].append(self.embedding(sample.answer))
        return np.array(nll), {name: np.stack(rows) for name, rows in vectors.items()}

    def nll(self, inputs: dict[str, Any], count: int) -> float:
        logits = self.network(**inputs, use_cache=False).logits[0, -count - 1 : -1]
        targets = inputs["input_ids"][0, -count:]
        return -float(logits.float().log_softmax(-1).gather(1, targets[:, None]).mean())

    def embedding(self, text: str) -> np.ndarray:
        inputs, (count,) = self.encode_texts([text])
        return self.hidden(self.to_device(inputs))[0, -count:].float().mean(0).cpu().numpy()


class PaddedBatch(Peer):
    """A tuned loop: batches of similar length, one vision pass for both uses, texts batched, a loader that works ahead.

    Args:
        network: transformers model.
        processor: its processor.
        samples: what every call takes; sorted by length once.
        batch_size: samples of a batch, or twice as many texts.
        answer_rows: logits of the answers' rows only (``logits_to_keep``) in the place of every position's.
        compiled: the decoder under torch.compile.
        workers: processes that encode batches ahead; 0 encodes between the passes.
    """

    def __init__(
        self,
        network: Any,
        processor: Any,
        samples: Sequence[Sample],
        batch_size: int,
        *,
        answer_rows: bool = False,
        compiled: bool = False,
        workers: int = 0,
    ) -> None:
        super().__init__(network, processor)
        self.answer_rows, self.size = answer_rows, len(samples)
        self._decoder = network.get_decoder()
        self._compiled = torch.compile(self._decoder.forward, dynamic=True) if compiled else None
        lengths = [self.encode([sample])[0]["input_ids"].shape[1] for sample in samples]
        batches = [("image", part, self.encode, samples) for part in _batches(lengths, batch_size)]
        for name in ("question", "answer"):
            texts = [getattr(sample, name) for sample in samples]
            parts = _batches([self.count(text) for text in texts], 2 * batch_size)
            batches += [(name, part, self.encode_texts, texts) for part in parts]
        self._loader = torch.utils.data.DataLoader(
            batches,
            batch_size=None,
            collate_fn=_encoded,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.network.device.type == "cuda",
        )

    def __call__(self) -> Features:
        nll: list[Any] = [None] * self.size
        vectors: dict[str, list[Any]] = {name: [None] * self.size for name in ("question", "answer", "image")}
        with torch.inference_mode(), self._decoder_compiled():
            for field, indices, encoded, counts in self._loader:
                inputs = self.to_device(encoded)
                mask = _tail_mask(inputs["attention_mask"], counts)
                if field == "image":
                    vision = self.vision(inputs)
                    means = self.image_means(inputs, vision)
                    for index, value in zip(indices, self._nll(inputs, vision, mask, counts), strict=True):
                        nll[index] = value
                else:
                    means = (self.hidden(inputs).float() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
                for index, row in zip(indices, means, strict=True):
                    vectors[field][index] = row
            return torch.stack(nll).cpu().numpy(), {
                name: torch.stack(rows).cpu().numpy() for name, rows in vectors.items()
            }

    def _nll(self, inputs: dict[str, Any], vision: Any, mask: Any, counts: list[int]) -> list[Any]:
        rest = {name: value for name, value in inputs.items() if name not in _VISION_INPUTS}
        rows = torch.zeros_like(mask)  # the rows that predict an answer's token
        rows[:, :-1] = mask[:, 1:]
        keep = {"logits_to_keep": rows} if self.answer_rows else {}
        logits = self.network(**rest, **keep, mm_encoder_outputs={"image": vision}, use_cache=False).logits
        logits = logits.reshape(-1, logits.shape[-1]) if self.answer_rows else logits[rows]
        values = logits.float().log_softmax(-1).gather(1, inputs["input_ids"][mask][:, None])[:, 0]
        return [-part.mean() for part in values.split(counts)]

    @contextlib.contextmanager
    def _decoder_compiled(self) -> Iterator[None]:
        """The decoder is shared with the other ways: compiled while this one runs."""
        if self._compiled is None:
            yield
            return
        self._decoder.forward = self._compiled
        try:
            yield
        finally:
            del self._decoder.forward


def tuned(make: Callable[[int], PaddedBatch], sizes: Sequence[int]) -> int:
    """The batch size that runs fastest, each once after one to warm up; those that do not fit are out."""
    if len(sizes) == 1:
        return sizes[0]
    seconds = {}
    for size in sizes:
        try:
            peer = make(size)
            peer()
            start = time.perf_counter()
            peer()
            seconds[size] = time.perf_counter() - start
        except torch.OutOfMemoryError:
            break
    return min(seconds, key=seconds.__getitem__)


def _batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return [order[start : start + size] for start in range(0, len(order), size)]


def _encoded(batch: Any) -> Any:
    field, indices, encode, items = batch
    return field, indices, *encode([items[index] for index in indices])


def _tail_mask(attention_mask: Any, counts: list[int]) -> Any:
    """(B, T) bool: the last tokens of each row, before its padding."""
    ends = attention_mask.sum(1, keepdim=True)
    places = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    return (places < ends) & (places >= ends - torch.tensor(counts, device=ends.device)[:, None])
