"""Features made up for tests: four loose clusters, some rows without an image."""

from __future__ import annotations

import numpy as np

from dataprophet.features.features import Features


def make_features(n: int, d: int = 6, seed: int = 0, *, text_only: float = 0.0, prefix: str = "s") -> Features:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((4, d))
    rows = {name: (centres[rng.integers(4, size=n)] + 0.5 * rng.standard_normal((n, d)) + 1) for name in dp_fields()}
    present = {name: np.ones(n, bool) for name in rows}
    present["image"] = rng.random(n) >= text_only
    rows["image"][~present["image"]] = 0
    return Features(
        [f"{prefix}{i}" for i in range(n)],
        rng.exponential(1.0, n),
        {name: part.astype(np.float32) for name, part in rows.items()},
        present,
        rng.integers(1, 9, n),
    )


def dp_fields() -> tuple[str, ...]:
    return ("question", "answer", "image")


def take(features: Features, rows: list[int]) -> Features:
    assert features.n_tokens is not None
    return Features(
        [features.ids[i] for i in rows],
        features.nll[rows],
        {name: part[rows] for name, part in features.embeddings.items()},
        {name: part[rows] for name, part in features.present.items()},
        features.n_tokens[rows],
    )
