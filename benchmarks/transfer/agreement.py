"""How well predicted scores rank what was measured: Kendall's tau-b, regret, ceilings, and intervals.

A column in which a predictor says nothing (all equal) has tau 0: it ranks no better than chance. `dataprophet evaluate`
refuses such a column instead.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

DRAWS = 2000


def tau(x: np.ndarray, y: np.ndarray) -> float:
    """Tau-b of two vectors, 0 where one of them is constant."""
    first, second = np.triu_indices(len(x), 1)
    dx, dy = np.sign(x[first] - x[second]), np.sign(y[first] - y[second])
    scale = np.sqrt(np.abs(dx).sum() * np.abs(dy).sum())
    return float((dx * dy).sum() / scale) if scale else 0.0


def taus(predicted: np.ndarray, gains: np.ndarray, used: np.ndarray) -> np.ndarray:
    """(T,) tau over sources of each target, among the cells that are used."""
    return np.array([tau(predicted[u, t], gains[u, t]) for t, u in enumerate(used.T)])


def regret(predicted: np.ndarray, gains: np.ndarray, used: np.ndarray, top: int) -> np.ndarray:
    """(T,) gain lost by training on the best of the ``top`` predicted sources in place of the best of all.

    Where predictions tie at the edge, what is lost is the mean over the ways to break the tie.
    """
    lost = []
    for t, u in enumerate(used.T):
        score, gain = predicted[u, t], gains[u, t]
        edge = np.sort(score)[::-1][min(top, len(score)) - 1]
        sure, tied = gain[score > edge], gain[score == edge]
        ways = itertools.combinations(tied, min(top, len(score)) - len(sure))
        bests = [max([*sure, *way]) for way in itertools.islice(ways, 5000)]
        lost.append(gain.max() - float(np.mean(bests)))
    return np.array(lost)


def cells(sources: Sequence[str], targets: Sequence[str], diagonal: bool) -> np.ndarray:
    """(S, T) which cells take part."""
    return np.array([[diagonal or source != target for target in targets] for source in sources])


def agreement(
    predicted: np.ndarray, gains: np.ndarray, used: np.ndarray, columns: Sequence[int], *, draws: int = DRAWS
) -> dict[str, Any]:
    """Taus and regrets of a predictor over some targets.

    Args:
        predicted: (S, T).
        gains: (seeds, S, T).
        used: (S, T) cells.
        columns: targets that count.
        draws: bootstrap draws over targets and seeds, together.
    """
    predicted, gains, used = predicted[:, columns], gains[:, :, columns], used[:, columns]
    mean = gains.mean(0)
    rows = [tau(predicted[s, u], mean[s, u]) for s, u in enumerate(used) if u.sum() > 1]
    found = taus(predicted, mean, used)
    low, high = _interval(predicted, gains, used, draws)
    return {
        "tau": round(float(found.mean()), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "tau_source": round(float(np.mean(rows)), 4) if rows else None,
        "per_target": [round(float(each), 4) for each in found],
        **{f"regret_{top}": round(float(regret(predicted, mean, used, top).mean()), 5) for top in (1, 3)},
    }


def _interval(predicted: np.ndarray, gains: np.ndarray, used: np.ndarray, draws: int) -> tuple[float, float]:
    """95% of the mean tau over draws of targets and of seeds, with replacement."""
    seeds, rng = len(gains), np.random.default_rng(0)
    known = {}  # taus depend on how often each seed was drawn, of which there are few ways
    found = []
    for _ in range(draws):
        drawn = Counter(rng.integers(seeds, size=seeds).tolist())
        key = tuple(sorted(drawn.items()))
        if key not in known:
            known[key] = taus(predicted, sum(gains[seed] * times for seed, times in key), used)
        found.append(known[key][rng.integers(len(known[key]), size=len(known[key]))].mean())
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def ceilings(
    gains: np.ndarray, halves: Sequence[np.ndarray], used: np.ndarray, columns: Sequence[int]
) -> dict[str, Any]:
    """What a perfect predictor of the one measurement could reach on another.

    Args:
        gains: (seeds, S, T).
        halves: the same from the even and from the odd test items.
        used: (S, T) cells.
        columns: targets that count.
    """
    pairs = list(itertools.combinations(range(len(gains)), 2))
    seeds = [taus(gains[a], gains[b], used)[list(columns)].mean() for a, b in pairs]
    items = [taus(halves[0][k], halves[1][k], used)[list(columns)].mean() for k in range(len(gains))]
    both = [taus(halves[0][a], halves[1][b], used)[list(columns)].mean() for a, b in pairs]
    named = {"seed_against_seed": seeds, "item_halves": items, "seed_and_half_against_others": both}
    return {name: round(float(np.mean(each)), 4) if each else None for name, each in named.items()}


def interval(cells: np.ndarray, draws: int = DRAWS) -> list[float]:
    """Mean of (T, seeds), and 95% of it over draws of targets and of seeds, with replacement."""
    rng, (t, s) = np.random.default_rng(0), cells.shape
    found = [cells[rng.integers(t, size=t)][:, rng.integers(s, size=s)].mean() for _ in range(draws)]
    return [round(float(each), 5) for each in (cells.mean(), *np.percentile(found, [2.5, 97.5]))]


def points(found: Sequence[float], scale: float = 100, digits: int = 1) -> str:
    """A mean with its interval, as text."""
    mean, low, high = (f"{scale * each:+.{digits}f}" for each in found)
    return f"{mean} ({low} to {high})"
