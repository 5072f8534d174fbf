"""Triton kernels: in the interpreter against float64, compiled ahead of time, and on a GPU where there is one."""

import importlib.util
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from dataprophet import ops

# Each in a process of its own: TRITON_INTERPRET is read when triton is imported, and rules out compiling.
PROGRAMS = {"triton_cases.py": {"TRITON_INTERPRET": "1"}, "triton_compile.py": {}}


@pytest.mark.parametrize("program", PROGRAMS)
def test_kernels(program, tmp_path):
    for module in ("triton", "torch"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    if tuple(map(int, metadata.version("triton").split(".")[:2])) < (3, 9):
        pytest.skip("Triton's interpreter before 3.9 does not run with NumPy 2.4")
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(program))],
        env={**kept, "TRITON_CACHE_DIR": str(tmp_path), **PROGRAMS[program]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "fine", done.stderr


@pytest.mark.gpu
def test_operations_on_cuda():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 48, generator=generator) for n in (700, 300))
    logits, weight = torch.randn(700, 5003, generator=generator) * 4, torch.randn(5003, 48, generator=generator)
    targets = torch.randint(0, 5003, (700,), generator=generator)
    offsets = torch.tensor([0, 10, 11, 700])
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        low = [tensor.to(dtype) for tensor in (x, y, logits, weight)]
        high = [tensor.cuda() for tensor in low]
        calls = [
            (lambda a: ops.mean_direction(a[0]), 2e-7),
            (lambda a: ops.cosine_to(a[0], a[1]), 2e-5),
            (lambda a: ops.nearest(a[0], a[1])[0], 1e-6),
            (lambda a: ops.token_logprobs(a[2], targets.to(a[2].device)), 5e-6),
            (lambda a: ops.linear_logprobs(a[0], a[3], targets, softcap=20.0), 2e-5),
            (lambda a: ops.segment_means(a[2][:, 0], offsets.to(a[2].device)), 1e-6),
            (lambda a: ops.kmeans(a[0], 5).centroids, 1e-5),
        ]
        for call, tolerance in calls:
            found, expected = call(high), call(low)
            assert found.device.type == "cuda"
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found.cpu().numpy(), expected.numpy(), atol=tolerance)
        assert ops.expected_cosine(high[0], high[1]) == pytest.approx(ops.expected_cosine(low[0], low[1]), abs=1e-6)
    outside = ops.token_logprobs(logits.cuda(), torch.full((700,), 9999).cuda())
    assert bool(outside.isnan().all())
