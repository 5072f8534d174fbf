"""Loads a model in a process of its own and tells what it is, so that the driver holds neither weights nor a device."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from dataprophet.errors import DataProphetError, ModelError


def origin_of(model: Any) -> dict[str, Any]:
    """Fingerprint, settings and rounding of a loaded model."""
    from dataprophet.scoring.worker import numbers_of

    return {"fingerprint": model.fingerprint, "settings": model.settings, "numbers": numbers_of(model)}


def probe(arguments: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """What ``origin_of`` gives for a model that a child process loads and forgets.

    Args:
        arguments: of ``load_model``.
        threads: threads of the CPU that it computes with.

    Raises:
        ModelError: the model cannot be loaded; the message is the child's.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "dataprophet.scoring.model_origin"],
        input=json.dumps([dict(arguments), threads]),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ModelError(f"it cannot be loaded ({last})", where=str(arguments.get("name"))) from None
    if "what" in answer:
        raise ModelError(answer["what"], where=answer["where"], fix=answer["fix"])
    return answer


def main() -> None:
    """Read arguments as JSON from standard input, write the answer, or the error, to standard output."""
    from dataprophet.scoring.worker import open_model

    arguments, threads = json.load(sys.stdin)
    try:
        answer = origin_of(open_model(arguments, {"threads": str(threads)}))
    except DataProphetError as error:
        answer = {"what": error.what, "where": error.where, "fix": error.fix}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
