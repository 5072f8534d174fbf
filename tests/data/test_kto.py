"""Rows for KTO, of which some answers are ones to avoid."""

import json

from dataprophet.data import open_dataset


def test_answers_that_kto_is_to_avoid_are_refused(tmp_path):
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    rows = [{"messages": messages, "label": label} for label in (True, False)]
    (tmp_path / "kto.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    good, bad = open_dataset(tmp_path / "kto.jsonl").rows()
    assert good.turns[0].answer == "A"
    assert (bad.code, bad.message) == ("untrained", "label is false: the answer is one to avoid")
