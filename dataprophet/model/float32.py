"""A model of half precision run in float32, a layer at a time: what rounding would hide is then seen.

The start-up checks use it. It knows modules and tensors alone.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from dataprophet.model.adapter import Adapter


@contextlib.contextmanager
def in_float32(adapter: Adapter) -> Iterator[None]:
    """Within it, the model computes in float32 with the weights that it has, those of one layer widened at a time.

    Layers that `torch.compile` has compiled run as they were before. TF32 is off.
    """
    import torch

    half = (torch.bfloat16, torch.float16)
    dtype = adapter.dtype

    def widen(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: widen(part) for name, part in value.items()}
        if isinstance(value, list | tuple) and type(value) in (list, tuple):
            return type(value)(map(widen, value))
        return value.float() if torch.is_tensor(value) and value.dtype in half else value

    def hooks(layer: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
        kept: list[tuple[Any, Any]] = []

        def before(_: Any, args: Any, kwargs: Any) -> Any:
            for tensor in (*layer.parameters(), *layer.buffers()):
                if tensor.dtype in half:
                    kept.append((tensor, tensor.data))
                    tensor.data = tensor.data.float()
            return widen(args), widen(kwargs)

        def after(*_: Any) -> None:
            while kept:
                tensor, data = kept.pop()
                tensor.data = data

        return before, after

    with contextlib.ExitStack() as undo:
        undo.enter_context(torch.no_grad())  # weights take no tensors of inference mode
        undo.enter_context(torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False))
        matmul = torch.backends.cuda.matmul
        undo.callback(setattr, matmul, "allow_tf32", matmul.allow_tf32)
        matmul.allow_tf32 = False
        if "torch._dynamo" in sys.modules:  # which takes long to import
            undo.enter_context(torch.compiler.set_stance("force_eager"))
        if dtype in half:
            undo.callback(setattr, adapter, "dtype", dtype)
            adapter.dtype = torch.float32
            for layer in _layers(adapter.model):
                before, after = hooks(layer)
                undo.callback(layer.register_forward_pre_hook(before, with_kwargs=True).remove)
                undo.callback(layer.register_forward_hook(after, always_call=True).remove)
        yield


def _layers(module: Any) -> Iterator[Any]:
    """The layers of a module, and what stands beside them."""
    import torch

    for child in module.children():
        lists = (isinstance(part, torch.nn.ModuleList) for part in child.modules())
        if isinstance(module, torch.nn.ModuleList) or not any(lists):
            yield child
        else:
            yield from _layers(child)
