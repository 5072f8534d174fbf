"""The output layer: log-probabilities straight from hidden states, without a row of logits for each.

The adapter owns it. It knows the layer's weights and the model's configuration, no batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dataprophet import ops
from dataprophet.errors import ModelError

# Factors of the logits in configurations, and the power in which models of Cohere, Granite, Inkling and Muse use it.
_SCALES = {"logit_scale": 1, "output_multiplier": 1, "logits_scaling": -1, "logits_mup_width_multiplier": -1}


class Head:
    """A linear output layer and what the model does to its logits, read from the model's configuration.

    The start-up checks compare what comes out with the model's own logits.

    Args:
        model: the transformers model.
        where: the model's name, for messages.

    Attributes:
        scale: factor of the logits.
        softcap: bound of the logits after the factor, None without.
        rows: how many tokens have a logit; the layer may be padded.
    """

    def __init__(self, model: Any, *, where: str) -> None:
        import torch

        layer = output_layer(model)
        if not isinstance(layer, torch.nn.Linear) or not layer.weight.is_floating_point():
            what = f"its output layer is a {type(layer).__name__}, not a plain linear layer"
            fix = "load it with fused=False, which uses the model's own logits"
            raise ModelError(what, where=where, fix=fix)
        config = model.config.get_text_config()
        self._layer = layer
        factors = (float(getattr(config, name, None) or 1.0) ** power for name, power in _SCALES.items())
        self.scale = math.prod(factors)
        softcap = getattr(config, "final_logit_softcapping", None)  # Gemma
        self.softcap = None if softcap is None else float(softcap)
        self.rows = int(getattr(config, "unpadded_vocab_size", None) or len(layer.weight))  # Inkling

    def logprobs(self, states: Any, targets: Any, run: Callable[..., Any] = ops.linear_logprobs) -> Any:
        """(n,) float32 natural-log probabilities of targets (n,) behind hidden states (n, D), accumulated in fp32.

        Or what another operation ``run`` on a linear head gives of the same.
        """
        weight, bias = self._layer.weight[: self.rows], self._layer.bias
        bias = None if bias is None else bias[: self.rows]
        return run(states, weight, targets, bias=bias, softcap=self.softcap, scale=self.scale)


def output_layer(model: Any) -> Any:
    """A transformers model's output layer, which may belong to a language model in it (Nemotron Omni)."""
    return model.get_output_embeddings() or model.get_decoder().get_output_embeddings()
