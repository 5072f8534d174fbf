"""Distances between sets of embeddings, written from their definitions, and a short form of long gradients."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

FOLDED = 1 << 16


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Squared maximum mean discrepancy (Gretton et al., 2012), unbiased, with a Gaussian kernel of the median width."""
    both = np.concatenate([x, y])
    squared = cdist(both, both, "sqeuclidean")
    kernel = np.exp(-squared / np.median(squared[squared > 0]))
    n, m = len(x), len(y)
    within_x = (kernel[:n, :n].sum() - n) / (n * (n - 1))
    within_y = (kernel[n:, n:].sum() - m) / (m * (m - 1))
    return float(within_x + within_y - 2 * kernel[:n, n:].mean())


def sinkhorn(cost: np.ndarray, *, blur: float = 0.05, rounds: int = 100) -> float:
    """Cost of the entropic transport plan of uniform weights (Cuturi, 2013); ``blur`` is in shares of the mean cost."""
    n, m = cost.shape
    scaled, f, g = -cost / (blur * cost.mean()), np.zeros(n), np.zeros(m)
    for _ in range(rounds):
        f = -np.log(n) - logsumexp(scaled + g, axis=1)
        g = -np.log(m) - logsumexp(scaled + f[:, None], axis=0)
    return float((np.exp(scaled + f[:, None] + g) * cost).sum())


def transport(
    x: np.ndarray, x_answer: np.ndarray, y: np.ndarray, y_answer: np.ndarray, *, weight: float = 1.0
) -> float:
    """Optimal-transport dataset distance (Alvarez-Melis and Fusi, 2020) with answers in the place of labels.

    The cost of a pair of samples is the squared distance of what is asked plus that of their answers' embeddings.
    """
    return sinkhorn(cdist(x, y, "sqeuclidean") + weight * cdist(x_answer, y_answer, "sqeuclidean"))


def evidence(features: np.ndarray, labels: np.ndarray, *, rounds: int = 50) -> float:
    """LogME (You et al., 2021): log evidence per sample of a Bayesian linear regression of labels on features."""
    n, d = features.shape
    values, vectors = np.linalg.eigh(features.T @ features)
    values = values.clip(0)
    total = 0.0
    for y in labels.T:
        z = vectors.T @ (features.T @ y)
        alpha = beta = 1.0
        for _ in range(rounds):
            mean = beta * z / (alpha + beta * values)
            gamma = (beta * values / (alpha + beta * values)).sum()
            size = (mean**2).sum()
            error = max(1e-12, (y**2).sum() - 2 * (mean * z).sum() + (values * mean**2).sum())
            alpha, beta = gamma / max(size, 1e-12), (n - gamma) / error
        mean = beta * z / (alpha + beta * values)
        error = (y**2).sum() - 2 * (mean * z).sum() + (values * mean**2).sum()
        log_evidence = d * np.log(alpha) + n * np.log(beta) - n * np.log(2 * np.pi)
        log_evidence -= beta * error + alpha * (mean**2).sum() + np.log(alpha + beta * values).sum()
        total += log_evidence / 2 / n
    return float(total / labels.shape[1])


def fold(parts: Iterable[np.ndarray], seed: int = 0) -> np.ndarray:
    """(65536,): the parts end to end, with random signs, added up in turns: inner products keep their expectation."""
    flat = [np.asarray(part, np.float32).ravel() for part in parts]
    folded = np.zeros(FOLDED)
    for part, signs in zip(flat, _signs(seed, tuple(map(len, flat))), strict=True):
        signed = np.zeros(-(-len(part) // FOLDED) * FOLDED, np.float32)
        signed[: len(part)] = part * signs
        folded += signed.reshape(-1, FOLDED).sum(0, dtype=np.float64)
    return folded


@lru_cache(maxsize=1)
def _signs(seed: int, sizes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 2, size, dtype=np.int8) * 2 - 1 for size in sizes]
