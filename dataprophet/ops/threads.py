"""How many threads the compiled core uses."""

from __future__ import annotations

import os

from dataprophet.errors import DataProphetError


def thread_count() -> int:
    """The value of DATAPROPHET_THREADS, or the number of processors that this process may use.

    Raises:
        DataProphetError: DATAPROPHET_THREADS is not a positive integer.
    """
    wanted = os.environ.get("DATAPROPHET_THREADS", "")
    if not wanted:
        return processors()
    if not wanted.isdecimal() or int(wanted) < 1:
        raise DataProphetError(
            f"expected a positive integer, got {wanted!r}", where="DATAPROPHET_THREADS", fix="correct or unset it"
        )
    return int(wanted)


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
