"""The forward passes over a transformers model: vision features, answer log-probabilities, text embeddings."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

from dataprophet.errors import ModelError
from dataprophet.model.encode import Batch

# Inputs of the vision tower that forward must not get again once it is handed the tower's output.
_VISION_INPUTS = ("pixel_values", "pixel_attention_mask", "image_sizes", "batch_num_images", "image_position_ids")


class Adapter:
    """Runs a model of any family that transformers loads as image-text-to-text.

    Args:
        model: the transformers model, in evaluation mode.
        where: the model's name, for messages.
    """

    def __init__(self, model: Any, *, where: str) -> None:
        self.model, self.where = model, where
        self.base = model.base_model
        self.device, self.dtype = model.device, model.dtype
        self.image_token_id: int = model.config.image_token_id
        parameters = inspect.signature(model.forward).parameters
        self._keeps_rows = "logits_to_keep" in parameters
        self._takes_features = "mm_encoder_outputs" in parameters
        self._vision_parameters = frozenset(inspect.signature(self.base.get_image_features).parameters)

    def to_device(self, batch: Batch) -> Batch:
        """The batch on the model's device, pixels in its dtype."""
        inputs = {
            name: value.to(self.device, self.dtype if value.is_floating_point() else None)
            if hasattr(value, "is_floating_point")
            else value
            for name, value in batch.inputs.items()
        }
        return Batch(inputs, batch.answer.to(self.device))

    def vision(self, batch: Batch) -> Any:
        """The model's own output for the images of a batch (one pass of the vision tower), None without images."""
        if "pixel_values" not in batch.inputs:
            return None
        inputs = {name: value for name, value in batch.inputs.items() if name in self._vision_parameters}
        return self.base.get_image_features(**inputs, return_dict=True)

    def image_means(self, batch: Batch, vision: Any) -> Any:
        """(B, D) float32: the mean of each sample's projected vision features.

        Features come per image, per tile or per sample; row after row they stand in the order of the image tokens.

        Raises:
            ModelError: the number of features is not the number of image tokens.
        """
        import torch

        rows = vision.pooler_output
        rows = rows if torch.is_tensor(rows) else torch.cat([part.reshape(-1, part.shape[-1]) for part in rows])
        rows = rows.reshape(-1, rows.shape[-1])
        counts = (batch.inputs["input_ids"] == self.image_token_id).sum(1).tolist()
        if sum(counts) != len(rows):
            raise ModelError(
                f"its vision tower gives {len(rows)} features for {sum(counts)} image tokens",
                where=self.where,
                fix="use the processor files that belong to these weights",
            )
        return torch.stack([part.float().mean(0) for part in rows.split(counts)])

    def logprobs(self, batch: Batch, vision: Any = None) -> list[Any]:
        """For each row, (n,) float32 natural-log probabilities of its n answer tokens.

        Logits are computed only at the positions that predict an answer token.

        Args:
            batch: the batch, on the model's device.
            vision: output of `vision` for this batch, to spare a second pass of the vision tower.
        """
        import torch

        inputs = dict(batch.inputs)
        if vision is not None and self._takes_features:
            inputs = {name: value for name, value in inputs.items() if name not in _VISION_INPUTS}
            inputs["mm_encoder_outputs"] = {"image": vision}
        keep = torch.zeros_like(batch.answer)
        keep[:, :-1] = batch.answer[:, 1:]
        with self._rows_only(keep) as extra:
            logits = self.model(**inputs, **extra, use_cache=False, return_dict=True).logits
        targets = batch.inputs["input_ids"][batch.answer]
        values = token_logprobs(logits.reshape(-1, logits.shape[-1]), targets)
        return list(values.split(batch.answer.sum(1).tolist()))

    def text_means(self, batch: Batch) -> Any:
        """(B, D) float32: the mean of the decoder's last hidden state over the masked tokens of each text."""
        inputs = {name: batch.inputs[name] for name in ("input_ids", "attention_mask")}
        hidden = self.model.get_decoder()(**inputs, use_cache=False, return_dict=True).last_hidden_state.float()
        weights = batch.answer[..., None].float()
        return (hidden * weights).sum(1) / weights.sum(1)

    @contextlib.contextmanager
    def _rows_only(self, keep: Any) -> Iterator[dict[str, Any]]:
        """Gives the output layer the rows of ``keep`` only: by the model's own argument, or by a hook on the layer."""
        if self._keeps_rows:
            yield {"logits_to_keep": keep}
            return
        head = self.model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, args: (args[0][keep][None], *args[1:]))
        try:
            yield {}
        finally:
            hook.remove()


def token_logprobs(logits: Any, targets: Any) -> Any:
    """(n,) float32 log-probabilities of ``targets`` (n,) under ``logits`` (n, V), computed in float32."""
    from dataprophet import ops

    return ops.token_logprobs(logits, targets)
