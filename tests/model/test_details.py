"""Mean rank and entropy of answers against full logits of plain transformers, shared, in batches and alone."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from family_reference import make_samples, predictions

from dataprophet.data.sample import Sample


def expected(model, sample):
    logprobs, targets, _ = predictions(model, sample)
    own = logprobs[np.arange(len(targets)), targets]
    return (logprobs > own[:, None]).sum(1).mean(), -(np.exp(logprobs) * logprobs).sum(1).mean()


@pytest.mark.parametrize(
    ("family", "options"),
    [("internvl", {}), ("internvl", {"share": False}), ("internvl", {"fused": False}), ("paligemma", {})],
    ids=["shared", "batches", "logits", "paligemma"],
)
def test_details_are_those_of_full_logits(family, options, tiny_model):
    model = tiny_model(family, **options)
    samples = make_samples(family)
    assert model.sharing == ("nothing" if options.get("share") is False else model.sharing)
    together, *alone = model.cells([samples, *([sample] for sample in samples[:4])], details=True)
    parts = [(found.features, index) for found, count in ((together, len(samples)),) for index in range(count)]
    parts += [(found.features, 0) for found in alone]
    ranks = 0
    for (features, index), sample in zip(parts, [*samples, *samples[:4]], strict=True):
        rank, entropy = expected(model, sample)
        assert features.ids[index] == sample.id
        assert features.mean_rank[index] == pytest.approx(rank, abs=1e-6)
        assert features.mean_entropy[index] == pytest.approx(entropy, abs=1e-5)
        ranks += rank
    assert ranks > 0  # a model of random weights is not always right


def test_details_are_told_where_they_are_asked_for(tiny_model):
    model = tiny_model("internvl")
    (plain,) = model.cells([make_samples("internvl")[:2]])
    assert plain.features.mean_rank is plain.features.mean_entropy is None
    (nothing,) = model.cells([[Sample("empty", [], "what?", " ")]], details=True)
    assert nothing.features.mean_rank.shape == nothing.features.mean_entropy.shape == (0,)
