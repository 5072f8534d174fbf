# ruff: noqa: E402 (torch and transformers are optional)
"""One sample that fails on the device gets a status; the others are scored, also when the run is resumed."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import fault_pools as faults

from dataprophet import score


def test_samples_that_fail_on_the_device_get_a_status(tmp_path, monkeypatch):
    model = faults.demo_model()
    questions = {"plain": "what is it?", "nan": "what Q7 is it?", "long": "what is it? " * 25, "last": "and this?"}
    tokens = {name: set(model._encoder.texts([question])[0].ids) for name, question in questions.items()}
    [broken, *_] = tokens.pop("nan") - set.union(*tokens.values())
    layer = model._adapter.model.get_input_embeddings()
    layer.register_forward_hook(lambda _, ids, out: out.masked_fill((ids[0] == broken)[..., None], float("nan")))
    rows = [{"id": name, "question": question, "answer": "a red square"} for name, question in questions.items()]
    pool = tmp_path / "pool.jsonl"
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
    alone = tmp_path / "alone.jsonl"
    alone.write_text("".join(json.dumps(row) + "\n" for row in rows if row["id"] in ("plain", "last")))
    expected = score(alone, (), model, out=tmp_path / "alone").read(["id", "mean_nll"]).to_pylist()

    states = model._adapter.states

    def small(batch, *rest):
        if batch.ids.numel() > 90:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return states(batch, *rest)

    monkeypatch.setattr(model._adapter, "states", small)
    for _ in range(2):  # the second one resumes: there is nothing left to do
        monkeypatch.setattr(model, "batch_tokens", 1024)  # which memory halves, as a new process would have it
        scored = score(pool, (), model, out=tmp_path / "out", max_bad=1)
        assert scored.complete
        assert scored.statuses == {"ok": 2, "not_finite": 1, "out_of_memory": 1}
    found = {row["id"]: row for row in scored.read(["id", "status", "detail", "mean_nll"]).to_pylist()}
    assert {name: row["status"] for name, row in found.items()} == {
        "plain": "ok",
        "nan": "not_finite",
        "long": "out_of_memory",
        "last": "ok",
    }
    assert "does not fit into the memory" in found["long"]["detail"]
    for row in expected:
        assert found[row["id"]]["mean_nll"] == pytest.approx(row["mean_nll"], abs=2e-6)
