"""A CUDA device that the CPU plays: tensors that say that they lie on it, and operations that the emulator runs.

Nothing of the package is replaced but the compiled module: it asks these tensors as it asks real ones. They refuse what
tensors of a device refuse: to become NumPy arrays, and to be mixed with those of the host. They leave by ``cpu`` or
``to("cpu")`` alone, and shapes and dtypes are noted when they do.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace

import cuda_emulated
import numpy as np
import torch

from dataprophet.ops import backend

DEVICE = torch.device("cuda", 0)
_FACTORIES = ("arange", "empty", "full", "ones", "tensor", "zeros")
_MIXED = ("__get__", "__getitem__", "__setitem__", "copy_")  # take indices and values of the host
_to = torch.Tensor.to


class OnDevice(torch.Tensor):
    """A tensor on the device."""

    left: list[tuple[tuple[int, ...], torch.dtype]]

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") not in _MIXED:
            flat = [each for given in args for each in (given if isinstance(given, list | tuple) else [given])]
            others = [each for each in flat if isinstance(each, torch.Tensor) and each.ndim]
            if not all(isinstance(each, OnDevice) for each in others):
                raise RuntimeError(f"{func}: expected all tensors to be on the same device")
        return super().__torch_function__(func, types, args, kwargs)

    device = property(lambda self: DEVICE)
    is_cuda = property(lambda self: True)

    def __iter__(self):
        return (self[row] for row in range(len(self)))

    def cpu(self):
        OnDevice.left.append((tuple(self.shape), self.as_subclass(torch.Tensor).dtype))
        return self.as_subclass(torch.Tensor).clone()

    def to(self, *given, **options):
        target = options.pop("device", None) or next(
            (each for each in given if isinstance(each, str | torch.device)), DEVICE
        )
        kinds = [each for each in given if isinstance(each, torch.dtype)]
        moved = self.cpu() if torch.device(target).type == "cpu" else self
        return _to(moved, *kinds) if kinds else moved

    def numpy(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    __array__ = numpy


def put(array):
    """An array or a tensor of the host on the device."""
    return torch.as_tensor(array).clone().as_subclass(OnDevice)


def _is_cuda(device):
    return device is not None and not isinstance(device, torch.dtype) and torch.device(device).type == "cuda"


def _moving(tensor, *given, **options):
    """``Tensor.to`` of a tensor of the host."""
    target = options.pop("device", None) or next((each for each in given if isinstance(each, str | torch.device)), None)
    if not _is_cuda(target):
        return _to(tensor, *given, **options, **({"device": target} if target and target not in given else {}))
    kinds = [each for each in given if isinstance(each, torch.dtype)]
    return put(_to(tensor, *kinds) if kinds else tensor)


def _making(make):
    def made(*given, device=None, **options):
        return put(make(*given, **options)) if _is_cuda(device) else make(*given, device=device, **options)

    return made


def _memory(tensor):
    """A NumPy view of a tensor on the device, bfloat16 as its bits."""
    assert isinstance(tensor, OnDevice), "the CUDA module was given memory of the host"
    plain = tensor.as_subclass(torch.Tensor)
    return plain.view(torch.int16).numpy().view(np.uint16) if plain.dtype == torch.bfloat16 else plain.numpy()


class _Module:
    """What dataprophet._cuda is to dataprophet.ops.cuda. One thread at a time: the emulator knows no more."""

    def __init__(self, emulated):
        self._emulated, self._lock = emulated, threading.Lock()

    def __getattr__(self, name):
        if name.endswith("_workspace_bytes"):
            operation = name.removesuffix("_workspace_bytes")

            def size(*sizes):
                numbers = [cuda_emulated.METRICS.index(s) if isinstance(s, str) else s for s in sizes]
                return len(self._emulated.workspace(operation, *numbers))

            return size

        def call(*given):
            *arguments, stream = given
            assert stream == 7
            with self._lock:
                self._emulated.run(name, *map(_argument, arguments))

        return call


def _argument(value):
    if isinstance(value, list):
        return [_memory(each) for each in value]
    return _memory(value) if isinstance(value, torch.Tensor) else value


def install(emulated, monkeypatch):
    """Have the package find the device, for one test. Returns shapes and dtypes of what leaves it, as they come."""
    OnDevice.left = []
    for name in _FACTORIES:
        monkeypatch.setattr(torch, name, _making(getattr(torch, name)))
    monkeypatch.setattr(torch.Tensor, "to", _moving)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    stream = SimpleNamespace(cuda_stream=7, synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: stream)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(backend, "cuda", _Module(emulated), raising=False)
    monkeypatch.setattr(backend, "cuda_devices", lambda: 1)
    monkeypatch.setattr(backend, "architectures", lambda: ("80-real",))
    return OnDevice.left
