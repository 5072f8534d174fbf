"""Finds where work for a CUDA device waits for it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def nothing_waits(torch: Any) -> Iterator[None]:
    """What waits for the device raises. torch warns that this is a prototype, and tests take warnings for errors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode")
        try:
            torch.cuda.set_sync_debug_mode("error")
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
