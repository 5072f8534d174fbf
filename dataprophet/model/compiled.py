"""torch.compile over the layers of a model, one kind of layer at a time."""

from __future__ import annotations

import inspect
import types
from typing import Any


def compile_layers(network: Any) -> int:
    """Compiles the repeated layers of a transformers model, in place: those of the decoder and of the vision tower.

    Layers of a kind share their compiled code, so that it takes about as long as one layer of each kind does. Shapes
    are symbolic; some variants (a single row, rows without padding, and so on) are compiled when they first come.

    Returns:
        How many layers are compiled from now on.
    """
    import torch

    found = 0
    for module in network.modules():
        layers = list(module) if isinstance(module, torch.nn.ModuleList) else []
        if len(layers) < 2 or len({type(layer) for layer in layers}) > 1:
            continue
        for layer in layers:
            # transformers wraps the forward of all kinds in one function, whose compiled variants would get mixed up.
            forward = inspect.unwrap(type(layer).forward)
            layer.forward = torch.compile(types.MethodType(forward, layer), dynamic=True)
            found += 1
    return found
