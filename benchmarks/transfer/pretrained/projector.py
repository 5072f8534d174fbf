"""The projector's first training, without the language model.

Each image token regresses onto the sum of the word embeddings of what is drawn in its cell, and of where the cell is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from transfer.pretrained.drawing import SIZE, Part
from transfer.pretrained.language import Projector
from transfer.pretrained.tower import GRID, WIDTH

_EPOCHS, _BATCH, _RATE = 8, 128, 1e-3
_DOWN, _ACROSS = ("top", "middle", "middle", "bottom"), ("left", "center", "center", "right")
_LEAST = 0.15  # share of a part, or of a cell, that must be there for the cell to show it


def targets(parts: Sequence[Part], word: Callable[[str], torch.Tensor]) -> torch.Tensor:
    """(16, D): what each image token of a picture should be."""
    side = SIZE / GRID
    cells = []
    for cell in range(GRID * GRID):
        top, left = cell // GRID * side, cell % GRID * side
        made, shown = 0.5 * (word(_DOWN[cell // GRID]) + word(_ACROSS[cell % GRID])), 0.0
        for part in parts:
            x0, y0, x1, y1 = part.box
            wide, high = min(x1, left + side) - max(x0, left), min(y1, top + side) - max(y0, top)
            area = min((x1 - x0) * (y1 - y0) + 1, side * side)
            share = max(0.0, wide) * max(0.0, high) / area
            if share > _LEAST:
                made = made + share * sum(word(each) for each in part.words)
                shown += share
        cells.append(made + max(0.0, 1 - shown) * word("nothing"))
    return torch.stack(cells)


def train(maps: torch.Tensor, wanted: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    """The weights of a projector from maps (P, 16, 1408) to targets (P, 16, D)."""
    torch.manual_seed(seed)
    x, y = maps.float().reshape(-1, WIDTH), wanted.reshape(-1, wanted.shape[-1])
    mean, spread, scale = x.mean(0), x.std(0) + 1e-2, y.std()
    x, y = (x - mean) / spread, y / scale
    projector = Projector(y.shape[1])
    optimiser = torch.optim.AdamW(projector.parameters(), lr=_RATE, weight_decay=0.05)
    for epoch in range(_EPOCHS):
        optimiser.param_groups[0]["lr"] = _RATE * (1 - epoch / _EPOCHS)
        for chosen in torch.randperm(len(x)).split(_BATCH):
            first = functional.gelu(projector.first(x[chosen]))
            loss = functional.mse_loss(projector.second(first), y[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():  # what was standardised goes into the weights
        projector.first.weight /= spread
        projector.first.bias -= projector.first.weight @ mean
        projector.second.weight *= scale
        projector.second.bias *= scale
    return projector.state_dict()
