# ruff: noqa: E402 (triton reads TRITON_INTERPRET when it is imported)
"""Every operation once, on small arrays on the GPU, against float64: what device.sh runs under compute-sanitizer.

With --profile three kernels run once at a size that fills a GPU, for ncu. --rehearse runs on the CPU.

    python benchmarks/run.py device_cases [--profile] [--rehearse]
"""

import os
import sys

rehearsal = "--rehearse" in sys.argv
if rehearsal:
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported

import numpy as np
import torch

from dataprophet import ops
from dataprophet.ops import reference

DEVICE = "cpu" if rehearsal else "cuda"


def main() -> None:
    if "--profile" in sys.argv:
        profile()
        return
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for n, d in ((70, 40), (33, 17)):
            rows(n, d, dtype)
    tokens()
    print("fine")


def normal(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype).to(DEVICE)


def close(found, expected, atol):
    np.testing.assert_allclose(found.double().cpu().numpy(), expected, rtol=0, atol=atol)


def rows(n, d, dtype):
    x, y = normal(n, d, dtype=dtype), normal(21, d, dtype=dtype, seed=1)
    wide, other = x.double().cpu().numpy(), y.double().cpu().numpy()
    close(ops.mean_direction(x), reference.mean_direction(wide), 1e-6)
    close(ops.cosine_to(x, y[:5].float()), reference.cosine_to(wide, other[:5]), 2e-5)
    close(ops.nearest(x, y)[0], reference.nearest(wide, other)[0], 1e-6)
    labels = torch.arange(n, device=DEVICE) % 4
    assert ops.kmeans(x, 4, init=wide[:4], max_iter=3).labels.device.type == DEVICE
    for metric in ("euclidean", "sqeuclidean", "cosine"):
        expected = reference.silhouette_samples(wide, labels.cpu().numpy(), metric=metric)
        close(ops.silhouette_samples(x, labels, metric=metric), expected, 5e-4)
    assert ops.cluster_entropy(labels, 5) > 0


def tokens():
    from dataprophet.kernels.linear_logprobs import linear_logprobs
    from dataprophet.kernels.token_logprobs import token_logprobs

    hidden, weight = normal(70, 48, dtype=torch.float16), normal(1_500, 48, dtype=torch.float16, seed=1)
    targets = torch.arange(70, device=DEVICE) * 20
    logits = hidden.double() @ weight.double().T
    expected = logits.log_softmax(1).gather(1, targets[:, None])[:, 0].cpu().numpy()
    close(linear_logprobs(hidden, weight, targets), expected, 5e-5)
    close(token_logprobs(logits.float(), targets), expected, 5e-5)


def profile():
    """One launch each of the kernels that take the longest: after the first run, which compiles."""
    from dataprophet.kernels.linear_logprobs import linear_logprobs

    n, d, vocabulary = (64, 32, 1_100) if rehearsal else (20_000, 1_536, 151_936)
    x, weight = normal(n, d, dtype=torch.float16), normal(vocabulary, d, dtype=torch.float16, seed=1) * 0.05
    targets, labels = torch.arange(n, device=DEVICE) % vocabulary, torch.arange(n, device=DEVICE) % 10
    for _ in range(2):
        ops.silhouette_samples(x, labels)
        ops.mean_direction(x)
        linear_logprobs(x[:8_192], weight, targets[:8_192])


if __name__ == "__main__":
    main()
