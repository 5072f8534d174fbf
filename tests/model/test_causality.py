# ruff: noqa: E402 (torch and transformers are optional)
"""A decoder whose tokens depend on those behind them is refused."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import tiny_families
from tiny_parts import TEXT

from dataprophet.errors import ModelError
from dataprophet.model import from_transformers
from dataprophet.model.processor import load_processor


@pytest.mark.parametrize(("window", "refused"), [(16, True), (2048, False)])
def test_keys_that_are_picked_among_all_tokens(window, refused, tiny_folder):
    """Doge keeps the keys with the highest scores: beyond its window, tokens behind others take their place."""
    given = tiny_families.BUILDERS["llava"]()["config"].to_dict()
    text = {**TEXT, "model_type": "doge", "vocab_size": given["text_config"]["vocab_size"], "keep_window_size": window}
    names = ("vision_config", "image_token_index", "image_seq_length", "vision_feature_layer")
    config = transformers.LlavaConfig(text_config=text, **{name: given[name] for name in names})
    torch.manual_seed(0)
    network = transformers.AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():  # random initial weights are so small that every token is equally likely
        for name, weight in network.named_parameters():
            if weight.ndim > 1 and "embed" not in name:
                weight.mul_(4)
    processor = load_processor(str(tiny_folder("llava")), network.config)
    if refused:
        with pytest.raises(ModelError, match="an answer token sees the tokens behind it"):
            from_transformers(network, processor)
    else:
        from_transformers(network, processor)
