"""Data that several benchmarks share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from harness import exact, optional

DTYPES = ("float32", "bfloat16", "float16")
SHAPES = {  # of what is read once, by device and quickness; on CUDA so large that calls from Python do not count
    ("cpu", False): (200_000, 768),
    ("cpu", True): (20_000, 768),
    ("cuda", False): (1_000_000, 1_536),
    ("cuda", True): (20_000, 1_536),
}


def cast(rows: Any, dtype: str, device: str = "cpu") -> Any:
    """Rows as a torch tensor of a dtype; without torch as a NumPy array, of which there is no bfloat16."""
    torch = optional("torch")
    if torch is None:
        return rows.astype(dtype)
    return torch.as_tensor(rows).to(device, getattr(torch, dtype))


def dtypes(wanted: list[str] | None = None) -> tuple[str, ...]:
    """Those that this machine has, or the wanted ones of them."""
    known = DTYPES if optional("torch") else ("float32", "float16")
    return tuple(name for name in known if wanted is None or name in wanted)


def normal_rows(n: int, d: int, device: str, *, shift: float = 0.0) -> Any:
    """Rows (n, d) float32 drawn where they are used: an array on the CPU, a tensor on CUDA."""
    if device == "cpu":
        return np.random.default_rng(0).standard_normal((n, d), np.float32) + np.float32(shift)
    torch = optional("torch")
    rows = torch.empty(n, d, device=device)
    return rows.normal_(generator=torch.Generator(device).manual_seed(0)).add_(shift)


def directions_of(x: Any) -> Iterator[Any]:
    """The rows of x over their lengths in float64, by parts: arrays, or tensors where x is on CUDA."""
    if getattr(getattr(x, "device", None), "type", "cpu") == "cpu":
        wide = exact(x)
        yield wide / np.linalg.norm(wide, axis=1, keepdims=True)
        return
    for part in x.split(1 << 16):
        yield part.double() / part.double().norm(dim=1, keepdim=True)


def blobs(n: int, d: int, k: int = 10, noise: float = 2.0, seed: int = 0) -> np.ndarray:
    """Unit rows (n, d) float32 around 3 k overlapping centres, far from the origin, as embeddings are."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((3 * k, d), np.float32)[rng.integers(3 * k, size=n)]
    x += noise * rng.standard_normal((n, d), np.float32) + 1
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def hard_rows(n: int, d: int, base: np.ndarray | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Names and rows (n, d) float32 on which sums and differences lose digits easily, made of `base` or at random."""
    x = np.random.default_rng(1).standard_normal((n, d)) if base is None else base.astype(np.float64)
    yield "near-collinear", (x[:1] + 1e-3 * x).astype(np.float32)
    yield "shifted by 100", (x + 100).astype(np.float32)
    yield "times 1e6", (x * 1e6).astype(np.float32)
    yield "lengths from 1e-15 to 1e15", (x * 10.0 ** (np.arange(len(x))[:, None] % 31 - 15)).astype(np.float32)


def demo_embeddings(count: int) -> np.ndarray | None:
    """(n, d) float32: the question, answer and image embeddings of the demo model, averaged as for the diversity, of up
    to `count` samples of each of its eight drawn datasets. None where the model cannot run."""
    from dataprophet import load_model, open_dataset
    from dataprophet.errors import MissingDependencyError

    try:
        model = load_model("demo", device="cpu")
    except MissingDependencyError as error:
        print(f"demo model: left out: {error}")
        return None
    from dataprophet.demo.datasets import write_datasets

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        drawn = write_datasets(f"{folder}/data", n_source=count, n_target=1)
        for written in drawn.sources:
            for part in model.features(open_dataset(written.path, name=written.spec.name)):
                rows.append(_joined(part))
    return np.concatenate(rows)


def _joined(part: Any) -> np.ndarray:
    total = 0.0
    for name, values in part.embeddings.items():
        length = np.linalg.norm(values, axis=1, keepdims=True)
        present = part.present.get(name, np.ones(len(values), bool))[:, None]
        total = total + np.where(present, values / np.where(length > 0, length, 1.0), 0.0)
    return (total / np.linalg.norm(total, axis=1, keepdims=True)).astype(np.float32)
