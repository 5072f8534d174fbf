"""The forward passes over a transformers model: vision features, states that predict answers, text embeddings.

Results and the start-up checks call it. It knows tensors alone: no samples, texts or files.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any, NamedTuple

import numpy as np

from dataprophet import ops
from dataprophet.errors import ModelError
from dataprophet.model.head import Head, output_layer
from dataprophet.model.rows import Batch
from dataprophet.model.tokens import Encoded, ImageSet

_MASKABLE = ("sdpa", "eager")  # kinds of attention that take any mask
_LAYERS = {"full_attention", "sliding_attention"}  # kinds of layers that look through a mask and nothing else
# Those that see the keys with the highest scores alone: which of several with equal scores depends on the padding.
_PICKING = {
    "indexed_attention",
    "minimax_m3_sparse",
    "compressed_sparse_attention",
    "heavily_compressed_attention",
}


class Vision(NamedTuple):
    """What one pass of the vision tower gives.

    Attributes:
        output: the model's own output.
        rows: (F, D) projected features, in the order of the image tokens of the batch's image sets.
    """

    output: Any
    rows: Any


class Adapter:
    """Runs a model of any family that transformers loads as image-text-to-text.

    Args:
        model: the transformers model, in evaluation mode.
        where: the model's name, for messages.
        fused: take log-probabilities from hidden states and the output layer's weights, rather than from logits.

    Attributes:
        masks: whether layers and attention are of kinds that can keep sequences of one row apart. Convolutions,
            recurrences and linear attention, which see what stands before them in the row, are not.
        picks: whether layers pick the keys that they see, so that samples in one batch may change each other.
        branches: whether rows may hold sequences that part, each seeing its own beginning alone. Off until the start-up
            checks have found that they do.
        masks_padding: whether padding behind a row is masked. Where tokens see nothing behind them it need not be, and
            attention without a mask has faster kernels on a GPU. On until the checks have found it without use.
        joins_images: whether one call of the vision tower takes the images of several samples. Off until the checks
            have found that they come out as alone; else it is called once for each image set.
    """

    def __init__(self, model: Any, *, where: str, fused: bool = True) -> None:
        self.model, self.where = model, where
        self.base = model.base_model
        self.device, self.dtype = model.device, model.dtype
        self.image_token_id: int = model.config.image_token_id
        self.head = Head(model, where=where) if fused else None
        config = model.config.get_text_config()
        self._attention = str(getattr(config, "_attn_implementation", None) or "")
        # How far layers see: those of the kind "sliding_attention" or, where layers have no kinds, all of them.
        layers, window = getattr(config, "layer_types", None), getattr(config, "sliding_window", None)
        self._windowed_layers = "sliding_attention" in (layers or ())
        slides = self._windowed_layers if layers else getattr(config, "use_sliding_window", True)
        self._window = int(window) if slides and window is not None else None
        self._vision_parameters = frozenset(inspect.signature(self.base.get_image_features).parameters)
        self._rope_index = getattr(self.base, "get_rope_index", None)
        self._rope_parameters = inspect.signature(self._rope_index).parameters if self._rope_index else {}
        known = set(layers or ()) <= _LAYERS and self._windowed_layers <= (self._window is not None)
        self.masks = self._attention in _MASKABLE and known
        self.picks = not _PICKING.isdisjoint(layers or ())
        self.branches = self.joins_images = False
        self.masks_padding = True

    def to_device(self, batch: Batch) -> Batch:
        """The batch on the model's device, pixels in its dtype."""
        return batch.tensors(
            lambda value: value.to(self.device, self.dtype if value.is_floating_point() else None, non_blocking=True)
        )

    def set_positions(self, encoded: Encoded, images: ImageSet | None) -> None:
        """Gives a sample with images its positions, where the model does not count them token by token."""
        import torch

        if self._rope_index is None or images is None:
            return
        given = {"input_ids": encoded.ids, **encoded.types, "attention_mask": np.ones_like(encoded.ids)}
        rows = {name: torch.from_numpy(value)[None] for name, value in given.items()} | images.inputs
        taken = {name: value for name, value in rows.items() if name in self._rope_parameters}
        encoded.positions = self._rope_index(**taken)[0][:, 0].numpy()

    def vision(self, batch: Batch) -> Vision | None:
        """The image sets of a batch through the vision tower; None without images.

        Raises:
            ModelError: the number of features is not the number of image tokens.
        """
        import torch

        outputs = []
        for pixels in batch.pixels:
            inputs = {name: value for name, value in pixels.items() if name in self._vision_parameters}
            outputs.append(self.base.get_image_features(**inputs, return_dict=True))
            if not _layers(outputs[-1]):
                what = "its vision tower gives no features as the text model takes them: it projects them later"
                raise ModelError(what, where=self.where, fix="use one of the families the manual names")
        if not outputs:
            return None
        # Features come per image, per tile or per sample; row after row they stand in the order of the image tokens.
        parts = [_rows(_layers(output)[0]) for output in outputs]
        for rows, tokens in zip(parts, batch.call_tokens, strict=True):
            if len(rows) != tokens:
                what = f"its vision tower gives {len(rows)} features for {tokens} image tokens"
                raise ModelError(what, where=self.where, fix="use the processor files that belong to these weights")
        return Vision(outputs[0] if len(outputs) == 1 else _merged(outputs), torch.cat(parts))

    def image_means(self, batch: Batch, vision: Vision) -> Any:
        """(S, D) float32: the mean of the projected vision features of each image set."""
        import torch

        return torch.stack([part.float().mean(0) for part in vision.rows.split(batch.image_tokens)])

    def states(self, batch: Batch, vision: Vision | None) -> Any:
        """(n, D): the last hidden states at the batch's spots."""
        hidden = self.base(**self._inputs(batch, vision), use_cache=False, return_dict=True).last_hidden_state
        return hidden.reshape(-1, hidden.shape[-1])[batch.spots]

    def logprobs(self, states: Any, targets: Any) -> Any:
        """(n,) float32 natural-log probabilities of ``targets``, from `states` (fused) or `logits`."""
        return ops.token_logprobs(states, targets) if self.head is None else self.head.logprobs(states, targets)

    def details(self, states: Any, targets: Any) -> Any:
        """TokenDetails of ``targets``, from what `logprobs` takes."""
        head = self.head
        return (
            ops.token_details(states, targets) if head is None else head.logprobs(states, targets, ops.linear_details)
        )

    def logits(self, batch: Batch, vision: Vision | None) -> Any:
        """(n, V): the model's own logits at the batch's spots, the output layer given those states alone."""

        def at_spots(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return args[0].reshape(-1, args[0].shape[-1])[batch.spots][None], *args[1:]

        hook = output_layer(self.model).register_forward_pre_hook(at_spots)
        try:
            return self.model(**self._inputs(batch, vision), use_cache=False, return_dict=True).logits[0]
        finally:
            hook.remove()

    def text_means(self, batch: Batch) -> Any:
        """(M, D) float32: the mean of the decoder's last hidden states over the spots of each text."""
        import torch

        inputs = {name: value for name, value in self._inputs(batch, None).items() if name not in batch.types}
        decoder = self.model.get_decoder().base_model  # without the output layer that some have in it
        hidden = decoder(**inputs, use_cache=False, return_dict=True).last_hidden_state
        rows = hidden.reshape(-1, hidden.shape[-1])[batch.spots].float()
        lengths = torch.tensor(batch.counts, device=rows.device)
        return torch.segment_reduce(rows, "mean", lengths=lengths, axis=0, unsafe=True)

    def _inputs(self, batch: Batch, vision: Vision | None) -> dict[str, Any]:
        import torch

        nodes = torch.arange(batch.ids.shape[1], device=batch.ids.device)
        inputs = {"input_ids": batch.ids, **batch.types}
        if batch.ends is None:
            if self.masks_padding:
                inputs["attention_mask"] = (nodes < batch.lengths[:, None]).long()
        else:
            inputs["attention_mask"] = self._tree_mask(batch, nodes)
            inputs["position_ids"] = batch.depth
        if batch.positions is not None:
            inputs["position_ids"] = batch.positions
        if vision is not None:
            inputs["mm_encoder_outputs"] = {"image": self._arranged(vision, batch.features)}
        return inputs

    def _tree_mask(self, batch: Batch, nodes: Any) -> Any:
        """Each node sees the nodes before it on its own path; image tokens that see each other do so here, too."""
        # Depth first, a subtree is one piece: node q sees node k where k <= q < ends[k]. Padding sees itself.
        seen = (nodes[None, :] <= nodes[:, None]) & (nodes[:, None] < batch.ends[:, None, :])
        if "token_type_ids" in batch.types:  # Gemma 3: the tokens of an image see each other
            images = batch.types["token_type_ids"] == 1
            follows = batch.depth == _shifted(batch.depth) + 1  # on the same path as the node before it
            # an image begins where no image token stands before, in the row or on the path: numbers of images
            block = (images & ~(_shifted(images) & follows)).cumsum(1)
            seen |= (block[:, None, :] == block[:, :, None]) & images[:, None, :] & images[:, :, None]
        if self._window is None:
            return self._mask(seen)
        # A window reaches back so many places of the sequence, which are depths of the tree, not nodes of the row.
        near = batch.depth[:, :, None] - batch.depth[:, None, :] < self._window
        if not self._windowed_layers:  # all of them, as in Mistral
            return self._mask(seen & near)
        return {"full_attention": self._mask(seen), "sliding_attention": self._mask(seen & near)}

    def _mask(self, seen: Any) -> Any:
        """(B, 1, N, N), as the model's kind of attention takes it."""
        import torch

        if self._attention == "eager":
            seen = torch.zeros_like(seen, dtype=self.dtype).masked_fill_(~seen, torch.finfo(self.dtype).min)
        return seen[:, None]

    def _arranged(self, vision: Vision, features: Any | None) -> Any:
        """The vision tower's output with its features as they stand on the image tokens of the batch."""
        if features is None:
            return vision.output
        return _with_layers(vision.output, [_picked(values, features) for values in _layers(vision.output)])


def _layers(output: Any) -> list[Any]:
    """Features on the image tokens: those that stand for them, if any, and those that further layers add (Qwen3-VL).

    Granite 4 has the latter alone, each with the number of its layer.
    """
    first = getattr(output, "pooler_output", None)
    more = getattr(output, "deepstack_features", None) or []
    return [*([] if first is None else [first]), *(layer[1] if _is_numbered(layer) else layer for layer in more)]


def _with_layers(output: Any, values: list[Any]) -> Any:
    """A copy of the output with other features, in the order of `_layers`."""
    output, left = copy.copy(output), iter(values)
    if getattr(output, "pooler_output", None) is not None:
        output.pooler_output = next(left)
    if more := getattr(output, "deepstack_features", None):
        output.deepstack_features = [(layer[0], next(left)) if _is_numbered(layer) else next(left) for layer in more]
    return output


def _is_numbered(layer: Any) -> bool:
    return isinstance(layer, tuple) and isinstance(layer[0], int)


def _rows(values: Any) -> Any:
    """Features (F, D), in the order in which they come: as one tensor, or in a list."""
    import torch

    if torch.is_tensor(values):
        return values.reshape(-1, values.shape[-1])
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in values])


def _merged(outputs: list[Any]) -> Any:
    """The outputs of several calls of the vision tower as one call would give them."""
    import torch

    def joined(values: tuple[Any, ...]) -> Any:
        rows = torch.cat([_rows(value) for value in values])
        return rows if torch.is_tensor(values[0]) else [rows]

    return _with_layers(outputs[0], [joined(layer) for layer in zip(*map(_layers, outputs), strict=True)])


def _shifted(values: Any) -> Any:
    """Values (B, N), each moved to the next place of its row."""
    import torch

    return torch.nn.functional.pad(values[:, :-1], (1, 0))


def _picked(values: Any, features: Any) -> Any:
    """Rows of features by number, in the form in which they came: one tensor, or a list of one for each image."""
    import torch

    picked = _rows(values)[features]
    return picked.reshape(-1, *values.shape[1:]) if torch.is_tensor(values) else [picked]
