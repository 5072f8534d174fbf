"""Floating-point operations of the models' passes, counted from their configurations.

Counted are matrix products and attention, two operations for each multiply-add: what a model needs, not what a way of
running it does. Padding, logits of rows that are no answer, and work done twice are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from baselines import Peer

from dataprophet.data.sample import Sample


@dataclass
class Work:
    """What the features of some samples take.

    Attributes:
        tokens: of all samples, image tokens, questions and answers; those that samples share count in each.
        answer_tokens: of all samples.
        flops: by part. Each image goes through the vision tower once, each token that follows the same tokens on the
            same image through the decoder once, each question and answer alone through the decoder once, and each
            answer token through the head.
    """

    tokens: int = 0
    answer_tokens: int = 0
    flops: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("vision", "decoder", "texts", "head"), 0.0))

    @property
    def total(self) -> float:
        return sum(self.flops.values())


def features_work(config: Any, samples: Sequence[Sample], peer: Peer) -> Work:
    """The work of samples with one image each, those of one image next to each other, as the peer encodes them."""
    work = Work()
    text = config.get_text_config()
    last: tuple[Any, list[int]] = (None, [])
    for sample in samples:
        inputs, (answer_tokens,) = peer.encode([sample])
        image, ids = sample.images[0], inputs["input_ids"][0].tolist()
        if image is not last[0]:
            work.flops["vision"] += vision_flops(config, inputs)
        shared = _common(ids, last[1]) if image is last[0] else 0
        work.flops["decoder"] += decoder_flops(text, shared, len(ids))
        work.flops["head"] += 2.0 * answer_tokens * text.hidden_size * text.vocab_size
        for words in (sample.question, sample.answer):
            work.flops["texts"] += decoder_flops(text, 0, peer.encode_texts([words])[0]["input_ids"].shape[1])
        work.tokens += len(ids)
        work.answer_tokens += answer_tokens
        last = (image, ids)
    return work


def decoder_flops(config: Any, start: int, stop: int) -> float:
    """Layers of the decoder over the tokens start..stop of a sequence; a token sees itself and those before it."""
    width, inner = config.hidden_size, config.intermediate_size
    heads, shared_heads = config.num_attention_heads, config.num_key_value_heads
    size = getattr(config, "head_dim", None) or width // heads
    weights = 2 * width * heads * size + 2 * width * shared_heads * size + 3 * width * inner
    seen = (stop * (stop + 1) - start * (start + 1)) / 2
    return config.num_hidden_layers * (2.0 * weights * (stop - start) + 4.0 * heads * size * seen)


def vision_flops(config: Any, inputs: Any) -> float:
    """The vision tower and the projection onto the decoder's width, for the images in a forward's inputs."""
    vision, out = config.vision_config, config.get_text_config().hidden_size
    if config.model_type == "qwen2_5_vl":
        return sum(_qwen_image(vision, *grid) for grid in inputs["image_grid_thw"].tolist())
    *_, height, width = inputs["pixel_values"].shape
    tiles = inputs["pixel_values"].shape[:-3].numel()
    patch = vision.patch_size[0] if isinstance(vision.patch_size, list | tuple) else vision.patch_size
    patches = (height // patch) * (width // patch)
    hidden, layers, rows = vision.hidden_size, vision.num_hidden_layers, patches
    if config.model_type == "internvl":
        features, rows = patches * config.downsample_ratio**2, patches + 1  # and the class token
        projection = features * (hidden / config.downsample_ratio**2 * out + out * out)
    elif config.model_type == "llava":
        layers, rows = layers + config.vision_feature_layer + 1, patches + 1
        projection = patches * (hidden * out + out * out)
    elif config.model_type == "idefics3":
        projection = patches * hidden * out  # scale_factor**2 patches are one row
    else:
        raise ValueError(f"no count of operations for the family {config.model_type!r}; add it to model_flops.py")
    weights = 4 * hidden * hidden + 2 * hidden * vision.intermediate_size
    embedding = patches * 3 * patch * patch * hidden
    return tiles * (2.0 * (embedding + projection + layers * rows * weights) + layers * 4.0 * rows * rows * hidden)


def _qwen_image(vision: Any, frames: int, height: int, width: int) -> float:
    """One image of ``height`` x ``width`` patches; most layers attend within windows."""
    patches, hidden, merged = frames * height * width, vision.hidden_size, vision.spatial_merge_size**2
    weights = 4 * hidden * hidden + 3 * hidden * vision.intermediate_size
    embedding = patches * vision.in_channels * vision.temporal_patch_size * vision.patch_size**2 * hidden
    merger = patches / merged * (merged * hidden) * (merged * hidden + vision.out_hidden_size)
    window = vision.window_size // vision.patch_size
    windowed = frames * _squares(height, window) * _squares(width, window)  # pairs of patches in a window
    whole = len(vision.fullatt_block_indexes)
    pairs = whole * patches**2 + (vision.depth - whole) * windowed
    return 2.0 * (embedding + merger + vision.depth * patches * weights) + 4.0 * pairs * hidden


def _squares(length: int, window: int) -> int:
    """Sum of the squared lengths of the windows that cover a length."""
    return length // window * window**2 + (length % window) ** 2


def _common(a: list[int], b: list[int]) -> int:
    length = min(len(a), len(b))
    return next((index for index in range(length) if a[index] != b[index]), length)
