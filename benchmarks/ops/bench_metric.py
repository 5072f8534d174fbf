"""The transfer matrix over profiles, against the formula pair by pair, and what a profile takes per sample."""

import numpy as np
from harness import Bench, Way, options

from dataprophet import Features, Profile, transfer_matrix
from dataprophet.features.features import FIELDS

SETTINGS = {"template": "bench"}


def main() -> None:
    args = options(__doc__)
    bench = Bench("metric", args)
    update(bench, args.quick)
    for size, width in ((14, 1536), (100, 1536)) if args.quick else ((14, 1536), (100, 1536), (1000, 128)):
        matrix(bench, size, width)
    bench.write()


def features(rng, n, width, first=0):
    shift = rng.standard_normal(width) * 0.3 + 1
    return Features(
        ids=[f"sample-{first + i}" for i in range(n)],
        nll=rng.gamma(2.0, 0.5, n),
        embeddings={name: (rng.standard_normal((n, width)) + shift).astype(np.float32) for name in FIELDS},
        n_tokens=rng.integers(1, 20, n),
    )


def update(bench, quick):
    rng = np.random.default_rng(0)
    n, width = (2_048 if quick else 8_192), 1536
    batches = [features(rng, 256, width, first) for first in range(0, n, 256)]

    def ours():
        profile = Profile.empty("bench", "model", SETTINGS)
        for batch in batches:
            profile.update(batch)
        return profile

    def plain():
        total = {name: np.zeros(width) for name in FIELDS}
        for batch in batches:
            for name in FIELDS:
                rows = batch.embeddings[name].astype(np.float64)
                total[name] += (rows / np.linalg.norm(rows, axis=1, keepdims=True)).sum(0)
        return {name: value / n for name, value in total.items()}

    directions, expected = ours().directions, plain()
    for name in FIELDS:
        np.testing.assert_allclose(directions[name], expected[name], rtol=0, atol=1e-12)
    ways = [Way("ours: groups, sketch and sums", ours), Way("numpy: the mean directions alone", plain)]
    bench.task(f"Profile.update, {n:,} samples, 3 fields x {width}, batches of 256", ways, counts=[1], items=n)


def matrix(bench, size, width):
    rng = np.random.default_rng(1)
    profiles = []
    for index in range(size):
        profile = Profile.empty(f"set-{index:04d}", "model", SETTINGS)
        profile.update(features(rng, 128, width))
        _ = profile.diversity  # computed once and kept, as in a profile that was saved
        profiles.append(profile)
    ways = [Way("ours, without errors", lambda: transfer_matrix(profiles, profiles, errors=False))]
    if size <= 100:
        ways.append(Way("ours, with standard errors", lambda: transfer_matrix(profiles, profiles, errors=True)))
        ways.append(Way("numpy, pair by pair", lambda: pair_by_pair(profiles)))
        np.testing.assert_allclose(ways[0].run().values, ways[2].run(), rtol=1e-12)
    bench.task(f"transfer_matrix, {size} x {size} profiles, 3 fields x {width}", ways, counts=[1], items=size * size)


def pair_by_pair(profiles):
    known = [(p.directions, p.perplexity, p.diversity) for p in profiles]
    values = np.empty((len(profiles), len(profiles)))
    for i, (source, source_ppl, diversity) in enumerate(known):
        for j, (target, target_ppl, _) in enumerate(known):
            similarity = 1.0
            for name in FIELDS:
                similarity *= source[name] @ target[name]
            values[i, j] = similarity * source_ppl * diversity / target_ppl
    return values


if __name__ == "__main__":
    main()
