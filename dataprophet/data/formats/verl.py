"""verl: prompts for reinforcement learning, ``prompt`` of role/content, ``images``, ``reward_model.ground_truth``."""

from __future__ import annotations

from dataprophet.data.files.rows import BadRow, Row
from dataprophet.data.formats.base import Format, Parsed, lacks, lacks_list
from dataprophet.data.formats.chat import read_messages
from dataprophet.data.formats.conversation import Untrained
from dataprophet.data.formats.literals import unpacked
from dataprophet.data.formats.placeholders import row_images


def _parse(row: Row) -> Parsed:
    """One row: the ground truth answers the prompt, whose own answers are context."""
    messages, inline = read_messages(row["prompt"], "role", "content")
    reward = unpacked(row["reward_model"])
    truth = reward.get("ground_truth") if isinstance(reward, dict) else None
    if not isinstance(truth, str):
        raise BadRow("bad_answer", "reward_model has no ground_truth that is text", "write the answer as text")
    context = [(role, Untrained(text) if role == "assistant" else text) for role, text in messages]
    return Parsed([*context, ("assistant", truth)], row_images(row), inline)


def _mismatch(row: Row, suffix: str) -> str:
    return lacks(row, "prompt", "reward_model") or lacks_list("prompt")(row, suffix)


VERL = Format("verl Parquet: prompt of role/content, images, reward_model.ground_truth", _parse, _mismatch)
