"""What the benchmarks of token log-probabilities share: the truth in float64, and peers that may not run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from harness import Target, Way, optional

VOCABULARY = 151_936  # of the Qwen2 and InternVL3 families
EXACT = 2e-5  # nats
TRUNCATED = 2.8e-8  # for each of D: tensor cores of NVIDIA round sums towards 0, those of cuBLAS alike
_COLUMNS = 8_192


def exact_nats(depth: int, device: str) -> float:
    """The largest error that the log-probabilities of a head of that depth may have: 1e-4 at D=3584 on CUDA."""
    return max(EXACT, TRUNCATED * depth) if device == "cuda" else EXACT


def gathered(logs: Any, targets: Any) -> Any:
    return logs.gather(1, targets[:, None])[:, 0]


def eager(logits: Any, targets: Any) -> Any:
    """What one writes first, in the dtype of the logits."""
    return gathered(logits.log_softmax(dim=-1), targets)


def negative(run: Callable[..., Any], *given: Any, **options: Any) -> Callable[[], Any]:
    """A peer that returns losses, as log-probabilities."""
    return lambda: -run(*given, **options)


def truth(block: Callable[[slice], Any], size: int, targets: Any) -> np.ndarray:
    """Log-probabilities float64 of targets (n,) from blocks of columns of logits float64."""
    torch = optional("torch")
    sums, chosen = [], torch.empty(len(targets), dtype=torch.float64, device=targets.device)
    for start in range(0, size, _COLUMNS):
        z = block(slice(start, start + _COLUMNS))
        sums.append(z.logsumexp(dim=1))
        here = ((targets >= start) & (targets < start + z.shape[1])).nonzero()[:, 0]
        chosen[here] = z[here, targets[here] - start]
    return (chosen - torch.stack(sums).logsumexp(dim=0)).cpu().numpy()


def usable(ways: Iterable[Way], expected: np.ndarray, sample: Any) -> list[Way]:
    """The ways that run, with their errors on a sample of rows. Ours comes first, and must."""
    found: list[Way] = []
    for way in ways:
        try:
            values = way.run()
        except Exception as error:  # a peer may lack a compiler, memory or this GPU
            if not found:
                raise
            print(f"left out: {way.name}: {type(error).__name__}: {str(error).splitlines()[:1]}", file=sys.stderr)
            continue
        values = values.logprobs if hasattr(values, "logprobs") else values
        if values.ndim == 1:  # not a product alone
            way.error = float(np.abs(values[sample].double().cpu().numpy() - expected).max())
        found.append(way)
    return found


def if_present(target: Target, ways: Iterable[Way], peer: str) -> Target:
    """The target, or not measured where the peer is not there."""
    return (
        target
        if any(way.name.startswith(peer) for way in ways)
        else Target(target.text, target.bound, None, target.least)
    )


def at_most_times(text: str, bound: float, peer: str, kind: str = "wall") -> Target:
    """Ours takes at most so many times as long as a peer."""
    return Target(text, bound, lambda rows: 1.0 / rows[peer][f"{kind}_ratio"], least=False)


def megabytes(rows: dict[str, dict[str, Any]]) -> float:
    return float(rows["ours"]["extra_mb"])
