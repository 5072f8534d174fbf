# ruff: noqa: E402 (torch and transformers are optional)
"""The output layer against the logits of networks that scale, cap or cut them."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import tiny_models

from dataprophet.model.head import Head
from dataprophet.ops import torch_ops


@pytest.mark.parametrize(
    ("family", "scale"),
    [("muse_glimmer", 0.5), ("inkling_mm_model", 0.5), ("inkling2", 1.0), ("granite4_vision", 0.5)],
)
def test_log_probabilities_are_those_of_the_networks_own_logits(family, scale):
    config = tiny_models.BUILDERS[family]()["config"]
    torch.manual_seed(0)
    network = transformers.AutoModelForImageTextToText.from_config(config).eval()
    with torch.no_grad():
        network.get_output_embeddings().weight.mul_(20)  # logits far from 0, so that a cap is seen
        ids = torch.randint(0, len(tiny_models.BUILDERS[family]()["tokenizer"]), (1, 12))
        states = network.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
        expected = network(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
    head = Head(network, where="tiny")
    assert head.scale == scale
    assert head.rows == expected.shape[-1]
    targets = ids[0].roll(-1)
    with torch.no_grad():
        found = head.logprobs(states, targets, torch_ops.linear_logprobs)
    wanted = expected.gather(-1, targets[:, None])[:, 0].float()
    torch.testing.assert_close(found, wanted, rtol=0, atol=5e-6)
    assert wanted.std() > 0.05
