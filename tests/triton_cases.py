"""Triton kernels in the interpreter, on CPU tensors: run as a program with TRITON_INTERPRET=1 by test_kernels.py."""

import itertools

import numpy as np
import torch
from dataprophet.kernels.segment_means import segment_means
from dataprophet.kernels.token_logprobs import token_logprobs
from scipy.special import log_softmax


def check_token_logprobs() -> None:
    generator = torch.Generator().manual_seed(0)
    for n, vocabulary in [(1, 1), (3, 17), (4, 4096), (3, 4097), (2, 9001), (0, 5)]:
        for dtype in (torch.float32, torch.float16):
            wide = torch.randn(n, vocabulary + 3, generator=generator).mul(6).to(dtype)
            logits = wide[:, :vocabulary]  # rows with a stride
            targets = torch.randint(0, vocabulary, (n,), generator=generator)
            found = token_logprobs(logits, targets)
            expected = log_softmax(logits.double().numpy(), axis=1)[np.arange(n), targets.numpy()]
            np.testing.assert_allclose(found.numpy(), expected, atol=5e-6)
            columns = logits.T.contiguous().T
            assert torch.equal(token_logprobs(columns, targets.int()), found)


def check_infinities() -> None:
    inf, nan = float("inf"), float("nan")
    logits = torch.tensor([[0, -inf, 1], [0, -inf, 1], [-inf] * 3, [0, inf, 1], [0, nan, 1], [0, 1, 2], [0, 1, 2]])
    targets = torch.tensor([0, 1, 0, 0, 0, 3, -1])
    expected = [-np.log(1 + np.e), -inf, nan, nan, nan, nan, nan]
    np.testing.assert_allclose(token_logprobs(logits, targets).numpy(), expected, rtol=1e-6)
    late = torch.zeros(2, 5000)
    late[0, :4096], late[1, 4500] = -inf, nan
    found = token_logprobs(late, torch.tensor([4999, 0])).numpy()
    np.testing.assert_allclose(found, [-np.log(904), nan], rtol=1e-6)


def check_segment_means() -> None:
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    offsets = torch.tensor([3, 4, 260, 600, 600, 2000])
    for given in (values, values.half()):
        found = segment_means(given, offsets).numpy()
        exact = given.double().numpy()
        for i, (start, stop) in enumerate(itertools.pairwise(offsets)):
            expected = exact[start:stop].mean() if stop > start else np.nan
            np.testing.assert_allclose(found[i], expected, atol=1e-6)
    assert segment_means(values, offsets[:1]).shape == (0,)


if __name__ == "__main__":
    check_token_logprobs()
    check_infinities()
    check_segment_means()
    print("fine")
