"""Runs the emulated operations, or a planted fault, in a library built with sanitizers. Prints "fine"."""

import sys
from pathlib import Path

import cuda_emulated
import numpy as np

emulated = cuda_emulated.Emulated(Path(sys.argv[1]))
if sys.argv[2] != "none":
    emulated.planted(sys.argv[2])
    sys.exit()

rng = np.random.default_rng(0)
for n, d, dtype in ((1, 1, np.float32), (130, 13, np.float32), (20, 72, np.float16)):
    x = rng.standard_normal((n, d)).astype(dtype)
    emulated.mean_direction(x)
    emulated.cosine_to(x, rng.standard_normal((17, d)).astype(np.float32))
    emulated.measure_rows(x, rng.standard_normal((3, d)).astype(np.float32), np.arange(n) % 7 - 1, 6)
    emulated.average_directions([x, x], np.arange(0, n, 2), np.ones((2, len(range(0, n, 2)) * 2), np.float32))
    emulated.nearest(x, x)
    k = min(n, 5)
    emulated.kmeans(x, k, draws=rng.random(4 * k), max_iter=2)
    labels = np.arange(n) % k
    for metric in cuda_emulated.METRICS:
        emulated.silhouettes(x, labels, metric, np.arange(0, n, 3))
    emulated.silhouettes(x, labels, "euclidean")
    emulated.cluster_counts(labels, k)
print("fine")
